"""int8 on a CPU that adds products of uint8 and int8 in 16 bits, as x86 without VNNI does: there they saturate, and answers change.

onnxruntime has slower kernels that don't (session.x64quantprecision), and weights of 7 bits can't: 2 x 255 x 64 is less than 2^15. Which a graph
gets is settled by its golden answers at its first start on such a machine, and remembered in the user's cache folder, so that later starts cost
nothing. Elsewhere nothing of this is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from edgecnn.device import host
from edgecnn.device.engines.ort import runtime
from edgecnn.device.golden import Golden, read_golden
from edgecnn.device.remembered import cpu, keep, recall
from edgecnn.device.session import Session, open_session
from edgecnn.device.validate import Step, check_answers
from edgecnn.errors import CpuUnfit

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle
    from edgecnn.artifact.manifest import Manifest

Mode = Literal["fast", "precise"]
_INT8 = ("int8", "dynamic")
_LAYOUT = 1


def precise_for(bundle: Bundle) -> bool | None:
    """`precise` for opening the graph of an open artifact: what was settled, else what its record lets expect; None where nothing saturates."""
    if not _concerns(bundle.manifest):
        return None
    known = _remembered(bundle.manifest)
    return not _has_seven_bits(bundle) if known is None else known == "precise"


def settle(bundle: Bundle, *, threads: int | None) -> tuple[Session, str | None]:
    """The graph of an open artifact, in the mode that gives its golden answers; and at the first start what there is to say of it, without its
    full stop.

    Raises CpuUnfit where neither mode does, ArtifactRejected for golden members that can't be used, and what `open_session` raises.
    """
    manifest = bundle.manifest
    if not _concerns(manifest):
        return open_session(bundle.graph_source(), manifest.spec, threads=threads), None
    known = _remembered(manifest)
    if known is not None:
        return _open(bundle, known, threads), None
    golden = read_golden(bundle)
    fast = _open(bundle, "fast", threads)
    saturated = _failures(bundle, golden, fast)
    if _has_seven_bits(bundle) and not saturated:
        _remember(manifest, "fast")
        return fast, None
    precise = _open(bundle, "precise", threads)
    failures = _failures(bundle, golden, precise)
    if failures:
        raise CpuUnfit(
            f"{bundle.path} doesn't give its golden answers on {_cpu()}, where int8 products saturate, not even in onnxruntime's precise mode "
            f"({failures[0]}); export it with --target x86-64, or in float32."
        )
    _remember(manifest, "precise")
    return precise, _told(bundle, saturated)


def _told(bundle: Bundle, saturated: Sequence[str]) -> str:
    """What is said of the precise mode. saturated: how the golden answers fell short without it."""
    made_for = bundle.report().target
    subject = f"{bundle.path}, exported for {made_for}," if made_for else f"{bundle.path}"
    do, seen = ("saturate", f" (without it, {saturated[0]})") if saturated else ("may saturate", "")
    return (
        f"int8 products {do} on {_cpu()}, so {subject} runs in onnxruntime's precise mode, which is slower and gives its golden answers{seen}; "
        f"an export with --target x86-64 needs none"
    )


def _cpu() -> str:
    return host.processor() or "this CPU"


def _concerns(manifest: Manifest) -> bool:
    return manifest.quantization in _INT8 and host.may_saturate()


def _open(bundle: Bundle, mode: Mode, threads: int | None) -> Session:
    return open_session(bundle.graph_source(), bundle.manifest.spec, threads=threads, precise=mode == "precise")


def _failures(bundle: Bundle, golden: Golden, session: Session) -> Sequence[str]:
    steps: Sequence[Step] = check_answers(bundle, golden, session)
    return [f"{step.name}: {step.message}" for step in steps if not step.passed]


def _has_seven_bits(bundle: Bundle) -> bool:
    """Whether the quantizer kept its weights within 7 bits, as it recorded."""
    return any(stage.configuration.get("reduce_range") is True for stage in bundle.report().stages)


def _remembered(manifest: Manifest) -> Mode | None:
    word = recall("int8", _hangs_on(manifest), words=("fast", "precise"))
    return "fast" if word == "fast" else "precise" if word == "precise" else None


def _remember(manifest: Manifest, mode: Mode) -> None:
    keep("int8", _hangs_on(manifest), mode)


def _hangs_on(manifest: Manifest) -> tuple[object, ...]:
    return (_LAYOUT, manifest.member("model.onnx").sha256, runtime().__version__, *cpu())

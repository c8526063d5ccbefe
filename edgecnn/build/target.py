"""An export for a device: what its profile or its probe makes of the arguments, and what it forbids.

Which int8 is best where was measured: Arm's dot product takes int8 activations with fewer instructions than uint8 ones (ResNet-8 2.74 million
against 3.09, MobileNetV1-0.25 3.34 against 3.53), an Arm without it the other way round (ResNet-8 5.52 against 5.30), and on x86 uint8 takes half
of the time (ResNet-8 132 to 190 us against 290). x86 without VNNI adds two products of uint8 and int8 in 16 bits, so that weights of more than 7
bits saturate (reduce_range), unless onnxruntime's slower kernels are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.build.conform import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET
from edgecnn.build.quantize import configure, options
from edgecnn.device.host import available_cores, describe, may_saturate
from edgecnn.errors import UsageError
from edgecnn.targets import Target, find

_REDUCED = "reduce_range"
# IR versions that graphs are written in, by the newest opset that goes with each: see build.conform
_OPSET_OF_IR = ((9, MAX_OPSET), (8, 18))


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """An export's arguments, as its target would have them where the user says nothing else. target: None where none was named."""

    target: Target | None
    config: Mapping[str, Any] | None = None
    opset: int | None = None
    threads: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str | None:
        """For the provenance."""
        return None if self.target is None else self.target.name

    def check(self, *, quantize: str, config: Mapping[str, Any], opset: int | None) -> None:
        """Whether what is to be exported after all, be it said by the user or by a recipe, runs there. Raises UsageError."""
        if self.target is None:
            return
        _check_opset(self.target, opset)
        if self.target.saturates and _has_range(quantize) and not configure(quantize, config)[_REDUCED]:
            raise UsageError(
                f"{quantize} with weights of 8 bits saturates on {self.target.title}, and its answers change; take --config {_REDUCED}=true, "
                f"or leave --target away: edgecnn's own run then takes onnxruntime's slower kernels there."
            )


def aim(target: str | Path | None, *, quantize: str, config: Mapping[str, Any] | None, opset: int | None, threads: int | None, replays: bool) -> Aim:
    """What `target`, a profile's name or the path of a probe, makes of the arguments of an export; replays: whether a recipe says them.

    Raises UsageError for an unknown target or one where nothing runs, and what reading a probe raises.
    """
    if target is None:
        return Aim(target=None, config=config, opset=opset, threads=threads)
    found = find(target)
    if found.fault is not None:
        raise UsageError(f"nothing can be exported for {found.title}: {found.fault}.")
    most = _newest(found)
    if opset is None and not replays and most < MAX_OPSET:
        opset = min(DEFAULT_OPSET, most)
    scheme = {} if replays else {**_scheme(found, quantize), **(config or {})}
    notes: tuple[str, ...] = ()
    if quantize == "auto":
        threads = min(found.cores, available_cores()) if threads is None else threads
        notes = _of_search(found)
    return Aim(target=found, config=scheme if scheme else config, opset=opset, threads=threads, notes=notes)


def _newest(target: Target) -> int:
    """The newest opset of ours that the target's onnxruntime reads. Raises UsageError where it reads none."""
    assert target.opset is not None
    assert target.ir_version is not None
    of_ir = next((opset for ir, opset in _OPSET_OF_IR if target.ir_version >= ir), 0)
    found = min(target.opset, of_ir, MAX_OPSET)
    if found < MIN_OPSET:
        raise UsageError(
            f"the onnxruntime of {target.title} reads opset {target.opset} and IR {target.ir_version} at most, "
            f"opset {MIN_OPSET} and IR {_OPSET_OF_IR[-1][0]} are wanted; install a newer onnxruntime there."
        )
    return found


def _check_opset(target: Target, opset: int | None) -> None:
    most = _newest(target)
    if opset is not None and opset > most:
        raise UsageError(
            f"opset {opset} was asked for, and the onnxruntime of {target.title} reads opset {target.opset} and IR {target.ir_version} at most; "
            f"take --opset {most} or lower, or install a newer onnxruntime there."
        )


def _scheme(target: Target, quantizer: str) -> dict[str, Any]:
    """The options of a quantizer that fit the target's CPU."""
    if not _has_range(quantizer):
        return {}
    found: dict[str, Any] = {_REDUCED: target.saturates}
    if quantizer == "int8":
        found["activation_type"] = "int8" if target.dot_product else "uint8"
    return found


def _has_range(quantizer: str) -> bool:
    return quantizer not in ("none", "auto") and any(option.name == _REDUCED for option in options(quantizer))


def _of_search(target: Target) -> tuple[str, ...]:
    here = describe()
    alike = target.saturates == may_saturate() and target.dot_product == ("asimddp" in here.isa)
    if target.machine == here.machine and alike:
        return ()
    return (f"what is fastest was measured on this machine ({here.machine}), not on {target.title}; measure there with edgecnn bench",)

"""Try a model in a process of its own, so that one that crashes, hangs or eats the machine's memory is refused and the caller lives on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact.codec import CodecError, strict_json
from edgecnn.device.limits import Outcome, run_limited
from edgecnn.errors import ModelRejected
from edgecnn.sign import open_trusted

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle

TIMEOUT_S = 120.0
BASE_MB = 384
"""What Python, numpy, Pillow, onnxruntime and the decoding of a golden image ask for: 72 MiB with the shipped models, and room for other versions."""
MOST_MB = 4096

_CHILD = Path(__file__).with_name("_trial_child.py")
_LONGEST = 300


def try_model(path: Path | str, *, timeout_s: float = TIMEOUT_S, memory_mb: int | None = None, trust_key: Path | str | None = None) -> None:
    """Load the model of an artifact (a file) or of an unpacked version (a folder) in a child process, and check its golden answers there.

    The child runs on one thread, without standard input, under limits of time, memory, size of files and their number, and is killed with whatever
    it started. memory_mb: MiB of private memory; where not given, `wanted_memory_mb` of what the graph states. Memory can be limited on Linux only;
    elsewhere the time alone is.
    trust_key: see edgecnn.sign.open_trusted; the graph that was tried is then the one that was signed.
    Raises ModelRejected, in one sentence, where the child crashed, hung, ran out of memory, or its answers fall short of the golden ones or aren't
    finite; what `open_trusted` and `Bundle.check_graph` do where the artifact is refused before anything is tried.
    """
    path = Path(path)
    with open_trusted(path, trust_key) as bundle:
        digest = bundle.manifest.member("model.onnx").sha256
        if memory_mb is None:
            memory_mb = wanted_memory_mb(bundle)
    command = [sys.executable, str(_CHILD), str(path.absolute())]
    outcome = run_limited(command, timeout_s=timeout_s, memory_mb=memory_mb, file_mb=1)
    failure = _failure(outcome, digest, memory_mb)
    if failure is not None:
        raise ModelRejected(f"{path} failed when its model was tried in a process of its own: {failure}; don't use it, get or export another.")


def wanted_memory_mb(bundle: Bundle) -> int:
    """MiB of private memory for a trial: BASE_MB, eight times the graph's bytes (the file, its parsed form, weights packed anew for the CPU), and
    sixteen bytes for each element of the tensors that live at the same time, for as many images as run at once; at most MOST_MB, and three
    quarters of this machine's memory.

    Raises what `Bundle.check_graph` does.
    """
    from edgecnn.artifact.shapes import infer_shapes
    from edgecnn.device.host import memory_bytes

    elements = infer_shapes(bundle.check_graph()).most_elements
    sizes = {member.name: member.size for member in bundle.manifest.members}
    spec = bundle.manifest.spec
    # where the batch is open all golden inputs run at once
    images = 1 if spec.batch else sizes.get("golden/outputs.npy", 0) // (4 * len(spec.labels)) + 1
    wanted = BASE_MB + (8 * sizes["model.onnx"] + 16 * elements * images >> 20)
    here = memory_bytes()
    return min(wanted, MOST_MB, *([] if here is None else [max(BASE_MB, here * 3 // 4 >> 20)]))


def _failure(outcome: Outcome, digest: str, memory_mb: int) -> str | None:
    """What went wrong, None when all went well. The child ran hostile input, so nothing that it says is taken for more than words."""
    if outcome.failure is not None:
        return _words(outcome.failure)
    said = _said(outcome.output)
    if said == {"passed": digest}:
        return None
    if said == {"memory": True}:
        return f"it ran out of memory, of which {memory_mb} MiB were allowed"
    if set(said) == {"failure"} and isinstance(said["failure"], str):
        return _words(said["failure"])
    return "it ended without a result"


def _said(output: str) -> dict[str, Any]:
    """The last line, where it is JSON of an object."""
    lines = output.splitlines()
    try:
        said = strict_json(lines[-1].encode()) if lines else None
    except CodecError:
        return {}
    return said if isinstance(said, dict) else {}


def _words(text: str) -> str:
    """`text` without control characters, in one line, not too long, and without its full stop."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * _LONGEST])
    plain = " ".join(plain.split())
    return (plain[: _LONGEST - 3] + "..." if len(plain) > _LONGEST else plain).rstrip(".")

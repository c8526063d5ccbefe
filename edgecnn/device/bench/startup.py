"""Start-up, memory and the way to the network's input, measured in a process that does nothing else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact.codec import CodecError, decode, strict_json
from edgecnn.device.limits import run_limited

if TYPE_CHECKING:
    from edgecnn.device.bench.opening import Shapes

TIMEOUT_S = 300.0
_UNLIMITED_MB = 1 << 20  # what is measured isn't to be limited
_CHILD = Path(__file__).with_name("_startup_child.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Startup:
    """Of a process of its own; None: not known here.

    python_ms: from its start to its first line; import_ms: numpy, the runtime and edgecnn; load_ms: from the file to the open graph; first_ms: the
    first inference; total_ms: from its start to the first answer. loaded_mib: resident after that; peak_mib: the most until twenty inferences later;
    base_loaded_mib, base_peak_mib: the same of a graph of one node. decode_ms, preprocess_ms: medians of an image over the originals in the
    artifact, `images` of them, whose golden/NN.png has `original` as its size, width x height.
    """

    python_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float
    loaded_mib: float | None = None
    peak_mib: float | None = None
    base_loaded_mib: float | None = None
    base_peak_mib: float | None = None
    decode_ms: float | None = None
    preprocess_ms: float | None = None
    images: int = 0
    original: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a child told nothing, without a full stop."""

    reason: str


def measure_startup(
    path: Path | None,
    *,
    threads: int,
    trust_key: Path | None = None,
    engine: str = "ort",
    provider: str | None = None,
    shapes: Shapes | None = None,
    base: Startup | None = None,
) -> Startup | Failure:
    """Start a child that opens the file and runs it, and takes the time of each step. No path: a graph of one node.

    base: what that one gave, on as many threads.
    """
    asked: dict[str, Any] = {
        "path": None if path is None else str(path.absolute()),
        "threads": threads,
        "trust_key": None if trust_key is None else str(trust_key.absolute()),
        "engine": engine,
        "provider": provider,
        "shapes": {name: list(sizes) for name, sizes in (shapes or {}).items()},
        "begun": time.perf_counter_ns(),  # CLOCK_MONOTONIC and its like, which all processes share
    }
    outcome = run_limited([sys.executable, str(_CHILD), json.dumps(asked)], timeout_s=TIMEOUT_S, memory_mb=_UNLIMITED_MB)
    told = _last_line(outcome.output)
    if "failure" in told:
        return Failure(reason=str(told["failure"])[:300].rstrip("."))
    try:
        found = {**told, "base_loaded_mib": base and base.loaded_mib, "base_peak_mib": base and base.peak_mib}
        return decode(Startup, found)
    except CodecError:
        return Failure(reason=outcome.failure or "the process that measures it ended without a result")


def _last_line(output: str) -> Mapping[str, Any]:
    lines = output.splitlines()
    try:
        told = strict_json(lines[-1].encode()) if lines else {}
    except (CodecError, UnicodeError):
        return {}
    return told if isinstance(told, dict) else {}

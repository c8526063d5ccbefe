"""Whether a model fits into a device's memory: what `inspect` and `export` say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.memory import Memory, memory
from edgecnn.artifact.model_proto import Graph
from edgecnn.cli._options import note
from edgecnn.errors import GraphRejected

PROCESS_BYTES = 75_000_000
"""At most resident of `edgecnn run` with a model of 0.2 MB and onnxruntime 1.31, on x86-64 Linux."""
OPENING = 4.3
"""Times the graph's bytes that are added while its session is opened: the file, its parsed form and the weights as the CPU wants them. 3.7 was
measured for an int8 EfficientNet-Lite0, 3.8 for MobileNetV2, 4.3 for ResNet-18."""
OPEN = 2
"""Times the graph's bytes that stay once it is open: 1.0 to 1.9 was measured on the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a graph needs, in bytes. memory: None where it can't be told, for the reason `unknown`."""

    graph_bytes: int
    memory: Memory | None
    unknown: str | None = None

    @property
    def process(self) -> int | None:
        """About the most that a process takes which opens the model and answers with it."""
        if self.memory is None:
            return None
        return PROCESS_BYTES + round(max(OPENING * self.graph_bytes, OPEN * self.graph_bytes + self.memory.activations))

    def line(self) -> str:
        if self.memory is None or self.process is None:
            return f"can't be told: {self.unknown}"
        return f"{_mb(self.memory.activations)} for activations, most at {self.memory.at}; about {_mb(self.process)} for the whole process"

    def facts(self) -> dict[str, Any]:
        found = self.memory
        sizes = (None, None, None) if found is None else (found.activations, found.alive, found.at)
        return {**dict(zip(("activations_bytes", "alive_bytes", "at"), sizes, strict=True)), "process_bytes": self.process, "unknown": self.unknown}


def need(graph: Graph, graph_bytes: int) -> Need:
    """Of a graph whose file has so many bytes. Raises nothing."""
    try:
        return Need(graph_bytes=graph_bytes, memory=memory(graph))
    except GraphRejected as error:
        return Need(graph_bytes=graph_bytes, memory=None, unknown=str(error))


Limit = tuple[int, str]
"""Bytes, and whose they are."""


def limits(memory_limit: int | None, target: str | None) -> tuple[Limit, ...]:
    """What --memory-limit and --target allow. Raises what edgecnn.targets.find does for what is no target."""
    found = [] if memory_limit is None else [(memory_limit, f"of --memory-limit ({_mb(memory_limit)})")]
    if target is not None:
        from edgecnn.targets import find

        device = find(target)
        if device.memory_mb is not None:
            size = device.memory_mb << 20
            found.append((size, f"of {device.title} ({_mb(size)})"))
    return tuple(found)


def warn(need: Need, limits: tuple[Limit, ...]) -> None:
    """A line on standard error for each of the limits that the model doesn't fit in."""
    for size, whose in limits:
        if need.process is None:
            note(f"whether it fits into the memory {whose} can't be told: {need.unknown}")
        elif need.process > size:
            note(
                f"a process needs about {_mb(need.process)} to run it, more than the memory {whose}: it won't fit; "
                "quantize it, take a smaller input or network, or a device with more memory."
            )


def warn_of(path: Path, memory_limit: int | None, target: str | None) -> None:
    """`warn` of the artifact at `path`. Raises what `open_bundle` and `limits` raise."""
    allowed = limits(memory_limit, target)
    if allowed:
        with open_bundle(path) as bundle:
            found = need(bundle.check_graph(), bundle.manifest.member("model.onnx").size)
        warn(found, allowed)


def _mb(size: int) -> str:
    """In MB with one digit after the point, in kB where that would be less than 0.1."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"

"""Which layers of a quantized graph hurt most: those that alone, with all others in float, make its answers noisiest.

Errors of layers add up nearly as independent noise does. Alone a layer rounds its input as well as its weights and its output: so of a tensor
with a hostile range, the layer that makes it and those that read it come first together, and all of them must return for it to stay in float.
(One at a time back in float, none of them would help.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._graph import load
from edgecnn.build.search.answers import sqnr
from edgecnn.build.search.candidates import KEEPS_FLOAT
from edgecnn.build.search.lab import Lab
from edgecnn.build.search.records import Candidate

HEAVY = ("Conv", "Gemm", "MatMul")

IMAGES = 64
"""Calibration images that the layers are compared on, at the least: noise is a mean over all logits, so few will do to tell large from small."""

TOGETHER = 8
"""Graphs in memory at a time."""


def most_sensitive(lab: Lab, candidate: Candidate) -> tuple[str, ...]:
    """The names of the layers that the candidate quantizes, the noisiest first.

    Raises what making a candidate and reading the images raises.
    """
    task = lab.task
    names = [node.name for node in load(task.model).graph.node if node.op_type in HEAVY and not node.domain]
    found: dict[str, float] = {}
    for start in range(0, len(names), TOGETHER):
        group = names[start : start + TOGETHER]
        lab.tell("measuring what each layer costs", start, len(names))
        graphs = [lab.quantized(candidate.with_option(KEEPS_FLOAT, tuple(other for other in names if other != name))) for name in group]
        found |= dict(zip(group, sqnr(task.model, graphs, task.spec, _some(task.calibration)), strict=True))
    return tuple(sorted(found, key=lambda name: found[name]))


def _some(calibration: Calibration) -> Calibration:
    """The first batches, until they hold IMAGES."""

    def read() -> Iterator[NDArray[Any]]:
        count = 0
        for batch in calibration():
            yield batch
            count += len(batch)
            if count >= IMAGES:
                return

    return read

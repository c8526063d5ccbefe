"""What a graph's tensors are on calibration images: their extremes, and how their values spread between them.

onnxruntime's own calibrators keep something of every batch they have seen (its histograms every value), pass over NaN, and pick their
threads themselves. These keep two numbers a tensor, and where histograms are asked for, one of a fixed size: a first pass finds the
extremes, a second one counts between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._runs import batch, feeds
from edgecnn.device.engines import Engine
from edgecnn.device.engines.ort import open_graph
from edgecnn.errors import DataRejected, SourceRejected

BINS = 4096
"""Of a histogram: 16 to each of the 256 levels, where the range is the whole one."""

TINY = 1e-30
"""Values less than this apart have no histogram: the width of a bin would be beyond float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Statistics:
    """Of the float tensors `names` over all calibration images.

    low, high: their extremes, float64 (tensors,). counts: of the values other than 0 in BINS equal bins from low to high, int64 (tensors, BINS),
    none where they are less than TINY apart; None where they weren't asked for; zeros: how many values are exactly 0, int64 (tensors,).
    flat: whether every image is of one colour all over; alike: whether there are several and they are all the same.
    """

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64] | None = None
    zeros: NDArray[np.int64] | None = None
    flat: bool = False
    alike: bool = False


def measure(proto: ModelProto, tensors: Sequence[str], calibration: Calibration, *, histograms: bool) -> Statistics:
    """What the tensors are over all calibration images, with graph optimization off; the images are gone through twice for histograms.

    Raises DataRejected where there are no images, SourceRejected where a tensor is NaN or infinite on one.
    """
    found = _extremes(proto, tensors, calibration)
    if not histograms:
        return found
    counts, zeros = _histograms(proto, tensors, calibration, found.low, found.high)
    return replace(found, counts=counts, zeros=zeros)


def _extremes(proto: ModelProto, tensors: Sequence[str], calibration: Calibration) -> Statistics:
    images = _Images()
    engine = _open(proto, tensors, ("ReduceMin", "ReduceMax", "ReduceSum"))
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for feed, real in feeds(calibration(), batch(engine)):
        images.look(feed[:real])
        found = np.array([float(value) for value in engine.run({engine.inputs[0].name: feed})])
        low, high = np.minimum(low, found[0::3]), np.maximum(high, found[1::3])
        broken = ~(np.isfinite(low) & np.isfinite(high)) | np.isnan(found[2::3])  # onnxruntime's extremes pass over a NaN, sums don't
        if broken.any():
            raise SourceRejected(
                f"{tensors[int(np.argmax(broken))]} is NaN or infinite on a calibration image, so it has no range to quantize; "
                "look for exploding activations, or take --quantize none."
            )
    if np.isinf(low).all():
        raise DataRejected("the calibration set holds no images; give some hundred real ones with --calibration.")
    return Statistics(names=tuple(tensors), low=low, high=high, flat=images.flat, alike=images.count > 1 and images.alike)


class _Images:
    """What is wrong with images as a whole."""

    def __init__(self) -> None:
        self.count, self.flat, self.alike = 0, True, True
        self._first: NDArray[np.float32] | None = None

    def look(self, images: NDArray[np.float32]) -> None:
        if not len(images):
            return
        self._first = images[0].copy() if self._first is None else self._first
        self.count += len(images)
        self.flat = self.flat and bool((images == images[:, :, :1, :1]).all())
        self.alike = self.alike and bool((images == self._first).all())


def _histograms(
    proto: ModelProto, tensors: Sequence[str], calibration: Calibration, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image by image where the batch is open, because all tensors of a feed are in memory at once."""
    engine = _open(proto, tensors, ("Identity",))
    counts, zeros = np.zeros((len(tensors), BINS), dtype=np.int64), np.zeros(len(tensors), dtype=np.int64)
    spread = high - low > TINY
    size = batch(engine) or 1
    for feed, real in feeds(calibration(), size):
        for row, values in enumerate(engine.run({engine.inputs[0].name: feed})):
            part = values[:real] if values.ndim and len(values) == size else values
            zeros[row] += part.size - int(np.count_nonzero(part))
            if spread[row]:
                counts[row] += np.bincount(_bins(part.reshape(-1), low[row], high[row]), minlength=BINS)
    for place in np.flatnonzero((low <= 0) & (high >= 0) & spread):
        counts[place, _bins(np.zeros(1, dtype=np.float32), low[place], high[place])] -= zeros[place]
    return counts, zeros


def _bins(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.intp]:
    half = np.float32(0.5)  # of all, because values may be as far apart as float32 reaches
    places = ((values * half - np.float32(low) * half) * np.float32(BINS / (high / 2 - low / 2))).astype(np.intp)
    return np.clip(places, 0, BINS - 1, out=places)


def _open(proto: ModelProto, tensors: Sequence[str], operators: Sequence[str]) -> Engine:
    """The graph with other outputs: what each of the operators makes of each of the tensors."""
    watched: ModelProto = ModelProto.FromString(proto.SerializeToString())
    graph = watched.graph
    del graph.output[:]
    for position, tensor in enumerate(tensors):
        for operator in operators:
            output = f"edgecnn/{operator}/{position}"
            scalar = operator.startswith("Reduce")
            attributes: dict[str, Any] = {"keepdims": 0} if scalar else {}
            graph.node.append(helper.make_node(operator, [tensor], [output], name=output, **attributes))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [] if scalar else None))
    return open_graph(watched.SerializeToString(), optimize=False)

"""The ranges that a graph's tensors take on calibration images.

onnxruntime's own calibrator keeps something of every batch it has seen, passes over NaN, and picks its threads itself; this one keeps two
numbers a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgecnn.build.quantize import Calibration
from edgecnn.device.engines.ort import open_graph
from edgecnn.errors import DataRejected, SourceRejected


def minimum_maximum(proto: ModelProto, tensors: Sequence[str], calibration: Calibration) -> Mapping[str, tuple[float, float]]:
    """The least and the greatest value of each of the float tensors over all calibration images, with graph optimization off.

    Raises DataRejected where there are no images, SourceRejected where a tensor is NaN or infinite on one.
    """
    engine = open_graph(_watched(proto, tensors).SerializeToString(), optimize=False)
    name, shape = engine.inputs[0].name, engine.inputs[0].shape
    size = shape[0] if isinstance(shape[0], int) else None
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for feed in _feeds(calibration(), size):
        found = np.array([float(value) for value in engine.run({name: feed})[-2 * len(tensors) :]])
        low, high = np.minimum(low, found[0::2]), np.maximum(high, found[1::2])  # both keep a NaN
        broken = ~(np.isfinite(low) & np.isfinite(high))
        if broken.any():
            raise SourceRejected(
                f"{tensors[int(np.argmax(broken))]} is NaN or infinite on a calibration image, so it has no range to quantize; "
                "look for exploding activations, or take --quantize none."
            )
    if np.isinf(low).all():
        raise DataRejected("the calibration set holds no images; give some hundred real ones with --calibration.")
    return {tensor: (float(low[i]), float(high[i])) for i, tensor in enumerate(tensors)}


def _watched(proto: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy of the graph with two more outputs for each tensor: its least and its greatest value."""
    watched: ModelProto = ModelProto.FromString(proto.SerializeToString())
    graph = watched.graph
    for position, tensor in enumerate(tensors):
        for operator in ("ReduceMin", "ReduceMax"):
            output = f"edgecnn/{operator}/{position}"
            graph.node.append(helper.make_node(operator, [tensor], [output], name=output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return watched


def _feeds(batches: Iterable[NDArray[np.float32]], size: int | None) -> Iterator[NDArray[np.float32]]:
    """The images in batches of `size`, the last one filled up with its last image; as they come where size is None."""
    for batch in batches:
        step = size or len(batch)
        for start in range(0, len(batch), max(step, 1)):
            part = batch[start : start + step]
            if len(part) < step:
                part = np.concatenate([part, np.repeat(part[-1:], step - len(part), axis=0)])
            yield np.ascontiguousarray(part, dtype=np.float32)

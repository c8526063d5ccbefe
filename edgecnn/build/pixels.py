"""A graph that takes the image's bytes: normalization, the last step of preprocessing, moves from the device's code into the graph.

It costs a device less there (no float32 copy of the image), and what feeds the graph can't get it wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.onnx_io import parse, serialize
from edgecnn.errors import UsageError

NORMALIZED = "edgecnn/normalized"
"""The tensor that the graph took before: x = (pixel * rescale_factor - image_mean) / image_std."""


def pixel_spec(spec: ModelSpec) -> ModelSpec:
    """The spec of the same model with uint8 pixels (n, channels, height, width) for its input. Raises UsageError for a float16 input."""
    if spec.input.dtype != "float32":
        raise UsageError(f"{spec.name} takes {spec.input.dtype}; only a float32 input can be changed to uint8.")
    return replace(spec, input=replace(spec.input, dtype="uint8"), preprocess=replace(spec.preprocess, normalized_by="graph"))


def take_pixels(model: bytes, spec: ModelSpec) -> bytes:
    """`model`, a graph of `spec`, as one of `pixel_spec(spec)`.

    A DequantizeLinear with a scale for each channel multiplies, an Add shifts: float32 rounds each once, so x is that of
    device.image.normalize to within two units in the last place, and the same on every CPU. Raises UsageError for a float16 input.
    """
    pixel_spec(spec)
    proto = parse(model)
    graph, pre = proto.graph, spec.preprocess
    source = next(value for value in graph.input if value.name == spec.input.name)
    source.type.tensor_type.elem_type = TensorProto.UINT8
    for node in graph.node:
        node.input[:] = [NORMALIZED if name == source.name else name for name in node.input]
    mean, std = np.array(pre.image_mean), np.array(pre.image_std)
    constants = {
        "scale": (pre.rescale_factor / std).astype(np.float32),
        "zero_point": np.zeros(pre.depth, dtype=np.uint8),
        "shift": (-mean / std).astype(np.float32).reshape(1, -1, 1, 1),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{NORMALIZED}/{name}") for name, value in constants.items())
    scaled = f"{NORMALIZED}/scaled"
    multiply = helper.make_node(
        "DequantizeLinear", [source.name, f"{NORMALIZED}/scale", f"{NORMALIZED}/zero_point"], [scaled], name=f"{NORMALIZED}/DequantizeLinear", axis=1
    )
    shift = helper.make_node("Add", [scaled, f"{NORMALIZED}/shift"], [NORMALIZED], name=f"{NORMALIZED}/Add")
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([multiply, shift, *nodes])
    for name in (scaled, NORMALIZED):
        graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(spec.input.shape)))
    return serialize(proto)

"""The convolutions and matrix products of a QDQ graph, with the constants that a correction may change: integers of weights and biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgecnn.build.quantize._choice import HEAVY
from edgecnn.build.quantize._graph import attribute, constant


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeavyLayer:
    """weights, bias: the initializers that hold the integers, bias "" where there is none; scale: of the weights, float64 () or (channels,)
    along their `axis`; bias_scale: float64 () or (channels,)."""

    node: NodeProto
    weights: str
    scale: NDArray[np.float64]
    axis: int
    bias: str = ""
    bias_scale: NDArray[np.float64] | None = None


def heavy_layers(proto: ModelProto) -> tuple[HeavyLayer, ...]:
    """Those with quantized constant weights, in the graph's order."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    values = {entry.name for entry in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        back = makers.get(node.input[1]) if node.op_type in HEAVY else None
        if back is None or back.op_type != "DequantizeLinear" or back.input[0] not in values:
            continue
        bias = makers.get(node.input[2]) if len(node.input) > 2 else None
        found.append(
            HeavyLayer(
                node=node,
                weights=back.input[0],
                scale=np.asarray(constant(proto, back.input[1]), dtype=np.float64),
                axis=attribute(back, "axis", 1),
                bias=bias.input[0] if bias is not None else "",
                bias_scale=np.asarray(constant(proto, bias.input[1]), dtype=np.float64) if bias is not None else None,
            )
        )
    return tuple(found)


def replace_constant(proto: ModelProto, name: str, values: NDArray[np.generic]) -> None:
    """Give the initializer `name` other values, of the type that it has."""
    entry = next(entry for entry in proto.graph.initializer if entry.name == name)
    kind = numpy_helper.to_array(entry).dtype
    entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype=kind), name))


def own_constants(proto: ModelProto) -> None:
    """Give each convolution and product weights and a bias that nothing else reads, and a bias of zeros where it may have one and has none,
    so that they can be corrected one by one. Weights that aren't constant stay as they are."""
    graph = proto.graph
    floats = {entry.name: entry for entry in graph.initializer if entry.data_type == TensorProto.FLOAT}
    seen = {value.name for value in graph.output}
    for node in graph.node:
        heavy = node.op_type in HEAVY and not node.domain
        weights = floats.get(node.input[1]) if heavy else None
        for place, name in enumerate(node.input):
            if heavy and place and name in seen and name in floats:
                graph.initializer.add().CopyFrom(floats[name])
                graph.initializer[-1].name = node.input[place] = f"{name}/{node.name}"
            seen.add(name)
        if weights is not None and node.op_type != "MatMul" and not any(node.input[2:]):
            zeros = np.zeros(outputs_of(node, tuple(weights.dims)), dtype=np.float32)
            graph.initializer.append(numpy_helper.from_array(zeros, f"{node.name}/bias"))
            node.input[:] = [*node.input[:2], graph.initializer[-1].name]


def outputs_of(node: NodeProto, shape: tuple[int, ...]) -> int:
    """How many channels a heavy node with weights of this shape makes."""
    return shape[0] if node.op_type == "Conv" or attribute(node, "transB", 0) else shape[-1]

"""What a quantized graph quantizes: its constants and activations, layer by layer, each with the float tensor that it stands for.

They are found by the graph's structure (what stands behind QuantizeLinear, DequantizeLinear and Cast), not by the endings that a quantizer gives
to names: a tool that goes by names reports nothing, and says nothing, as soon as another quantizer or type is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgecnn.build.onnx_io import serialize
from edgecnn.build.pixels import NORMALIZED
from edgecnn.build.quantize._graph import attribute, consumers

Float32 = NDArray[np.float32]

_MOVING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "MaxPool", "Identity"})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Constant:
    """Weights or a bias. tensor: the float graph's initializer, or where it has none of this layer the quantized graph's own name;
    values: what they are worth in the quantized graph; scale, zero_point: () or (channels,), None where they are only rounded (float16);
    axis: of the channels; reference: the float graph's values, None where it has none of this shape there."""

    tensor: str
    values: Float32
    integers: NDArray[np.integer] | None = None
    scale: Float32 | None = None
    zero_point: NDArray[np.integer] | None = None
    axis: int = 0
    reference: Float32 | None = None

    @property
    def live(self) -> NDArray[np.bool_]:
        """Of each scale, whether it stands for anything but zeros."""
        if self.scale is None or self.scale.size <= 1:
            return np.atleast_1d(np.asarray(self.values.any()))
        return np.asarray(self.values.any(axis=tuple(i for i in range(self.values.ndim) if i != self.axis)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Activation:
    """A tensor that is rounded to integers and back. tensor: its name in the float graph, None where that has none; restored: in the quantized
    graph, behind the pair; scale, zero_point: one each; lowest, highest: the integers' ends."""

    tensor: str | None
    restored: str
    scale: float
    zero_point: int
    lowest: int
    highest: int

    @property
    def dtype(self) -> str:
        return {(0, 255): "uint8", (-128, 127): "int8", (0, 65535): "uint16"}.get((self.lowest, self.highest), "int16")

    @property
    def range(self) -> tuple[float, float]:
        """What it can hold; what lies beyond is saturated."""
        return (self.lowest - self.zero_point) * self.scale, (self.highest - self.zero_point) * self.scale


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuantizedLayer:
    """A node whose constants, outputs or both are quantized, by its name; the graph's input counts as one, with the operator "input".

    readers: the names of the nodes that compute with its output, behind what only rounds or moves it."""

    name: str
    operator: str
    constants: tuple[Constant, ...] = ()
    activations: tuple[Activation, ...] = ()
    readers: tuple[str, ...] = ()


def quantized_layers(reference: ModelProto, quantized: ModelProto) -> tuple[QuantizedLayer, ...]:
    """The layers of `quantized` in its order, held against the float graph `reference`; empty where it has none."""
    graph = quantized.graph
    sides = _Sides(reference.graph, graph)
    names = [*(value.name for value in graph.input), *(node.name for node in graph.node)]
    operators = {**{value.name: "input" for value in graph.input}, **{node.name: node.op_type for node in graph.node}}
    outputs = {node.name: node.output for node in graph.node}
    constants: dict[str, list[Constant]] = {}
    activations: dict[str, list[Activation]] = {}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "Cast") and node.input[0] in sides.values:
            for reader, place in sides.readers_of(node.output[0])[:1]:
                constants.setdefault(reader.name, []).append(sides.constant(node, reader, place))
        elif node.op_type == "QuantizeLinear" and node.input[0] not in sides.values:
            activation = sides.activation(node)
            if activation is not None:
                maker = sides.makers.get(node.input[0])
                activations.setdefault(maker.name if maker is not None else node.input[0], []).append(activation)
    found = [name for name in dict.fromkeys(names) if name in constants or name in activations]
    return tuple(
        QuantizedLayer(
            name=name,
            operator=operators[name],
            constants=tuple(constants.get(name, ())),
            activations=tuple(activations.get(name, ())),
            readers=readers_behind(quantized, outputs.get(name, [name])),
        )
        for name in found
    )


def readers_behind(model: ModelProto, tensors: Iterable[str]) -> tuple[str, ...]:
    """The names of the nodes that compute with these tensors, behind what only rounds or moves them."""
    readers = consumers(model.graph.node)

    def found(tensors: Iterable[str]) -> Iterator[str]:
        for node in (node for tensor in tensors for node in readers.get(tensor, [])):
            if node.op_type in _MOVING or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                yield from found(node.output)
            else:
                yield node.name

    return tuple(dict.fromkeys(found(tensors)))


class _Sides:
    """Look-ups in both graphs."""

    def __init__(self, reference: GraphProto, quantized: GraphProto) -> None:
        self.values = {entry.name: numpy_helper.to_array(entry) for entry in quantized.initializer}
        self.makers = {name: node for node in quantized.node for name in node.output}
        self._readers = consumers(quantized.node)
        self._floats = {entry.name: entry for entry in reference.initializer}
        self._nodes = {node.name: node for node in reference.node}
        self._input = reference.input[0].name
        self._tensors = {self._input} | {name for node in reference.node for name in node.output}

    def readers_of(self, tensor: str) -> Sequence[tuple[NodeProto, int]]:
        return [(node, list(node.input).index(tensor)) for node in self._readers.get(tensor, [])]

    def constant(self, node: NodeProto, reader: NodeProto, place: int) -> Constant:
        stored = self.values[node.input[0]]
        if node.op_type == "Cast":
            values, scale, zero_point, integers, axis = stored.astype(np.float32), None, None, None, 0
        else:
            scale = np.asarray(self.values[node.input[1]], dtype=np.float32)
            zero_point = self.values[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(scale.shape, dtype=stored.dtype)
            axis = _valid(attribute(node, "axis", 1), stored.ndim)
            values, integers = _dequantized(stored, scale, zero_point, axis), stored
        twin = self._nodes.get(reader.name)
        name = twin.input[place] if twin is not None and twin.op_type == reader.op_type and place < len(twin.input) else node.output[0]
        entry = self._floats.get(name)
        reference = numpy_helper.to_array(entry) if entry is not None and tuple(entry.dims) == values.shape else None
        return Constant(
            tensor=name if reference is not None else node.input[0],
            values=values,
            integers=integers,
            scale=scale,
            zero_point=zero_point,
            axis=axis,
            reference=reference,
        )

    def activation(self, node: NodeProto) -> Activation | None:
        """None where it isn't turned back, its scale isn't one constant, or its values lie on the same levels already."""
        back = next((reader for reader in self._readers.get(node.output[0], []) if reader.op_type == "DequantizeLinear"), None)
        scale = self.values.get(node.input[1])
        zero_point = self.values.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), dtype=np.uint8)
        if back is None or scale is None or zero_point is None or scale.size != 1 or self._only_moves(node):
            return None
        # a quantizer that rounds the graph's output gives the name to what is behind the pair
        name = self._input if node.input[0] == NORMALIZED else node.input[0]
        tensor = next((name for name in (name, back.output[0]) if name in self._tensors), None)
        ends = np.iinfo(zero_point.dtype)
        return Activation(
            tensor=tensor,
            restored=back.output[0],
            scale=float(scale.reshape(-1)[0]),
            zero_point=int(zero_point.reshape(-1)[0]),
            lowest=int(ends.min),
            highest=int(ends.max),
        )

    def _only_moves(self, node: NodeProto) -> bool:
        """Whether what is rounded was rounded by the same scale before, and only moved about since."""
        maker = self.makers.get(node.input[0])
        before = self.makers.get(maker.input[0]) if maker is not None and maker.op_type in _MOVING else None
        return before is not None and before.op_type == "DequantizeLinear" and list(before.input[1:]) == list(node.input[1:])


def _valid(axis: int, ndim: int) -> int:
    return axis % ndim if -ndim <= axis < ndim else 0


def _dequantized(stored: NDArray[np.integer], scale: Float32, zero_point: NDArray[np.integer], axis: int) -> Float32:
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    offset = stored.astype(np.int64) - zero_point.astype(np.int64).reshape(shape if zero_point.size > 1 else [1] * stored.ndim)
    with np.errstate(all="ignore"):  # a scale may be anything
        values: Float32 = (offset * scale.astype(np.float64).reshape(shape)).astype(np.float32)
    return values


def quantize_only(reference: ModelProto, *, constants: Iterable[Constant] = (), activations: Iterable[Activation] = ()) -> bytes:
    """The float graph `reference` with nothing quantized but these, which must have a tensor there."""
    proto: ModelProto = ModelProto.FromString(reference.SerializeToString())
    worth = {constant.tensor: constant.values for constant in constants}
    for entry in proto.graph.initializer:
        if entry.name in worth:
            entry.CopyFrom(numpy_helper.from_array(worth[entry.name], entry.name))
    for activation in activations:
        _insert_pair(proto.graph, activation)
    return serialize(proto)


def _insert_pair(graph: GraphProto, activation: Activation) -> None:
    tensor = activation.tensor
    assert tensor is not None
    place = next((i for i, node in enumerate(graph.node) if tensor in node.output), None)
    before, after = f"{tensor}/before", tensor
    if place is None:  # the graph's input keeps its name
        before, after = tensor, f"{tensor}/after"
        for node in graph.node:
            node.input[:] = [after if name == tensor else name for name in node.input]
    else:
        node = graph.node[place]
        node.output[:] = [before if name == tensor else name for name in node.output]
    scale, zero_point, integers = (f"{tensor}/{what}" for what in ("scale", "zero_point", "integers"))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(activation.dtype))
    graph.initializer.append(helper.make_tensor(scale, TensorProto.FLOAT, [], [activation.scale]))
    graph.initializer.append(helper.make_tensor(zero_point, kind, [], [activation.zero_point]))
    pair = (
        helper.make_node("QuantizeLinear", [before, scale, zero_point], [integers], name=f"{tensor}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [integers, scale, zero_point], [after], name=f"{tensor}/DequantizeLinear"),
    )
    for offset, node in enumerate(pair, start=0 if place is None else place + 1):
        graph.node.insert(offset, node)


def floats_between_integers(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """The convolutions and fully connected layers whose weights are float, though integers go in and come out, with what reads their output.

    Since 1.21 onnxruntime's optimizer rounds such weights to int8 itself, with one scale for all channels (WeightBiasQuantization).
    """
    graph = model.graph
    makers, readers = {name: node.op_type for node in graph.node for name in node.output}, consumers(graph.node)
    floats = {entry.name for entry in graph.initializer if entry.data_type == TensorProto.FLOAT}

    def rounded(tensor: str) -> bool:
        after = readers.get(tensor, [])
        if len(after) == 1 and after[0].op_type in ("Relu", "Clip", "LeakyRelu"):
            return rounded(after[0].output[0])
        return bool(after) and all(node.op_type == "QuantizeLinear" for node in after)

    products = (node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm"))
    return {
        node.name: readers_behind(model, node.output)
        for node in products
        if makers.get(node.input[0]) == "DequantizeLinear" and node.input[1] in floats and rounded(node.output[0])
    }


def watch(model: ModelProto, tensors: Iterable[str]) -> bytes:
    """The graph with these float tensors among its outputs, behind its own, in this order; those that are outputs already aren't repeated."""
    proto: ModelProto = ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in proto.graph.output} | {value.name for value in proto.graph.input}
    for tensor in dict.fromkeys(tensors):
        if tensor not in known:
            proto.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return serialize(proto)

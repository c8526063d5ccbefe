"""What each layer of a graph computes and holds: output shape, parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.records import Layer
from edgecnn.artifact.tensor_proto import Initializer, Shape

# Which input is the weight
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "NhwcConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_MATMULS = {
    "Gemm": 1,
    "FusedGemm": 1,
    "GemmFastGelu": 1,
    "QGemm": 3,
    "MatMul": 1,
    "FusedMatMul": 1,
    "TransposeMatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QLinearMatMul": 3,
}
# Their output has the shape of their first input
_SAME_SHAPE = """
    QuantizeLinear DequantizeLinear Cast Identity Dropout Relu LeakyRelu PRelu Elu Selu Celu Clip Sigmoid HardSigmoid HardSwish Tanh Softplus
    Softsign Gelu Mish Erf Softmax LogSoftmax BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LRN
    DynamicQuantizeLinear QLinearLeakyRelu QLinearSigmoid QuickGelu FastGelu
"""
# Which inputs are learnt, where not all: the others say how to compute, or are scales and zero points
_LEARNT: dict[str, tuple[int, ...]] = {
    "Clip": (),
    "Pad": (),
    "Resize": (),
    "QuantizeLinear": (0,),
    "DequantizeLinear": (0,),
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QGemm": (3, 6),
    "MatMulIntegerToFloat": (1, 6),
    "DynamicQuantizeMatMul": (1, 4),
}


def layers(graph: Graph) -> tuple[Layer, ...]:
    """One layer for each node of the main graph that computes on the input, in the graph's order.

    What only makes constants (Constant, a DequantizeLinear or Cast of weights) belongs to the layer that reads it first.
    output_shape: as the graph states it, or as operators that keep their input's shape pass it on; "?" for an axis that isn't known.
    parameters: elements of constants with at least one axis, without integers that state shapes, scales and zero points.
    macs: for one image, so the batch counts as 1; 0 for all but convolutions, Gemm and MatMul and their quantized forms; None where a shape
    that they need is unknown. A transposed convolution multiplies each element of its input with the weights of that channel.
    """
    return tuple(_Table(graph).rows())


class _Table:
    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.constants = {tensor.name: tensor for tensor in graph.initializers}
        self.makers: dict[str, Node] = {}
        self.computing = [node for node in graph.nodes if not self._folds(node)]
        self.learnt = {name for node in graph.nodes for name in _learnt_inputs(node)}
        self.claimed: set[str] = set()
        first = graph.inputs[0].shape if graph.inputs else None
        self.batch = first[0] if first else None
        self.shapes = self._known_shapes(graph)

    def _folds(self, node: Node) -> bool:
        """Whether the node makes constants only; notes which."""
        value = node.attributes.get("value")
        if node.operator == "Constant" and isinstance(value, Initializer):
            self.constants.update((name, value) for name in node.outputs)
            return True
        if "graph" in node.attributes.values() or not all(self._constant(name) for name in node.inputs if name):
            return False
        self.makers.update((name, node) for name in node.outputs)
        return True

    def _constant(self, name: str) -> bool:
        return name in self.constants or name in self.makers

    def _known_shapes(self, graph: Graph) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {name: value.shape for name, value in graph.values.items() if value.shape is not None}
        shapes.update((name, tensor.shape) for name, tensor in self.constants.items())
        keeps_shape = frozenset(_SAME_SHAPE.split())
        pairs = [(n.inputs[0], n.outputs[0]) for n in graph.nodes if n.operator in keeps_shape and n.inputs and n.outputs]
        for source, target in pairs:
            if source in shapes:
                shapes.setdefault(target, shapes[source])
        for source, target in reversed(pairs):
            if target in shapes:
                shapes.setdefault(source, shapes[target])
        return shapes

    def rows(self) -> Iterator[Layer]:
        for node in self.computing:
            held = [(name, self.constants[name]) for name in self._claim(node.inputs)]
            output = node.outputs[0] if node.outputs else ""
            shape = self.shapes.get(output)
            yield Layer(
                name=node.name or output,
                operator=node.operator,
                output_shape=None if shape is None else tuple("?" if size is None else size for size in shape),
                parameters=sum(tensor.elements for name, tensor in held if name in self.learnt and _may_be_learnt(tensor)),
                macs=self._macs(node),
                bytes=sum(tensor.nbytes for _, tensor in held),
            )

    def _claim(self, names: Iterable[str]) -> Iterator[str]:
        """The constants behind `names` that no earlier layer has read."""
        pending = list(names)
        while pending:
            name = pending.pop()
            if name in self.claimed or not self._constant(name):
                continue
            self.claimed.add(name)
            if name in self.constants:
                yield name
            else:
                pending.extend(self.makers[name].inputs)

    def _macs(self, node: Node) -> int | None:
        """Elements of the output (of the input, where the convolution is transposed), times the products that each is the sum of."""
        operator = node.operator
        if operator == "ConvTranspose":
            elements, weight = self._elements(node.inputs[:1]), self._sizes(node.inputs[1:2])
            return None if elements is None or not weight else elements * math.prod(weight[1:])
        at = _CONVOLUTIONS.get(operator) or _MATMULS.get(operator)
        if at is None:
            return 0
        elements, weight = self._elements(node.outputs[:1]), self._sizes(node.inputs[at : at + 1])
        if elements is None or not weight:
            return None
        if operator in _CONVOLUTIONS:
            return elements * math.prod(weight[1:])
        inner = -1 if node.attributes.get("transB") or len(weight) == 1 else -2
        return elements * weight[inner]

    def _elements(self, names: tuple[str, ...]) -> int | None:
        """Elements of a value for one image."""
        shape = self.shapes.get(names[0]) if names else None
        if not shape:
            return None
        first = shape[0]
        if isinstance(first, int):
            share = first // self.batch if isinstance(self.batch, int) and self.batch and first % self.batch == 0 else first
        elif first == self.batch:
            share = 1
        else:
            return None
        rest = shape[1:]
        return None if any(not isinstance(size, int) for size in rest) else share * math.prod(size for size in rest if isinstance(size, int))

    def _sizes(self, names: tuple[str, ...]) -> tuple[int, ...] | None:
        """A value's shape where all of it is known; its batch is none of the sizes that are asked for."""
        shape = self.shapes.get(names[0]) if names else None
        if not shape:
            return None
        sizes = tuple(size if isinstance(size, int) else 1 if axis == 0 else -1 for axis, size in enumerate(shape))
        return None if -1 in sizes else sizes


def _learnt_inputs(node: Node) -> tuple[str, ...]:
    at = _LEARNT.get(node.operator)
    return node.inputs if at is None else tuple(node.inputs[i] for i in at if i < len(node.inputs))


def _may_be_learnt(tensor: Initializer) -> bool:
    return bool(tensor.shape) and tensor.dtype not in ("int64", "bool", "string")

"""What each layer of a graph computes and holds: output shape, parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.records import Layer
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.artifact.sizes import Batch
from edgecnn.artifact.tensor_proto import Initializer

Size = int | Batch | str | None

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
    output_shape: what follows from the graph's input; where that can't be told, as the graph states it, and "?" for an axis that isn't known.
    parameters: elements of constants with at least one axis, without integers that state shapes, scales and zero points.
    macs: for one image, so the batch counts as 1; 0 for all but convolutions, Gemm and MatMul and their quantized forms; None where a shape
    that they need is unknown, and for branches. A transposed convolution multiplies each element of its input with the weights of that channel.
    """
    return tuple(_Table(graph).rows())


class _Table:
    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.constants = {tensor.name: tensor for tensor in graph.initializers}
        self.makers: dict[str, Node] = {}
        self.computing = [node for node in graph.nodes if not self._folds(node)]
        scales = {node.outputs[1] for node in graph.nodes if node.operator == "DynamicQuantizeLinear" and len(node.outputs) > 1}
        self.learnt = {
            name for node in graph.nodes if not (node.operator == "Mul" and scales.intersection(node.inputs)) for name in _learnt_inputs(node)
        }
        self.claimed: set[str] = set()
        self.inferred = infer_shapes(graph).known
        self.stated = {name: value.shape for name, value in graph.values.items() if value.shape is not None}
        first = graph.inputs[0].shape if graph.inputs else None
        self.batch = first[0] if first else None

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

    def _shape(self, name: str) -> tuple[Size, ...] | None:
        if name in self.inferred:
            return self.inferred[name]
        return self.constants[name].shape if name in self.constants else self.stated.get(name)

    def rows(self) -> Iterator[Layer]:
        for node in self.computing:
            held = [(name, self.constants[name]) for name in self._claim(node.inputs)]
            output = node.outputs[0] if node.outputs else ""
            shape = self._shape(output)
            yield Layer(
                name=node.name or output,
                operator=node.operator,
                output_shape=None if shape is None else tuple(map(self._shown, shape)),
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

    def _shown(self, size: Size) -> int | str:
        """A multiple of the batch by the name that the input gives it."""
        if isinstance(size, Batch):
            name = self.batch if isinstance(self.batch, str) else "?"
            return name if size.times == 1 else f"{size.times}*{name}"
        return "?" if size is None else size

    def _macs(self, node: Node) -> int | None:
        """Elements of the output (of the input, where the convolution is transposed), times the products that each is the sum of."""
        operator = node.operator
        if "graph" in node.attributes.values():
            return None
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
        """Elements of a value for one image: the batch counts as 1, also one that was fixed."""
        sizes = self._sizes(names)
        if sizes is None:
            return None
        fixed = self.batch if isinstance(self.batch, int) and self.batch else 1
        first = sizes[0] // fixed if sizes[0] % fixed == 0 else sizes[0]
        return first * math.prod(sizes[1:])

    def _sizes(self, names: tuple[str, ...]) -> tuple[int, ...] | None:
        """A value's shape for an open batch of 1, where all of it is known."""
        shape = self._shape(names[0]) if names else None
        if not shape:
            return None
        sizes = tuple(size if isinstance(size, int) else size.times for size in shape if isinstance(size, (int, Batch)))
        return sizes if len(sizes) == len(shape) else None


def _learnt_inputs(node: Node) -> tuple[str, ...]:
    return tuple(name for at, name in enumerate(node.inputs) if may_be_learnt(node.operator, at))


def may_be_learnt(operator: str, at: int) -> bool:
    """Whether input `at` of an operator holds what was learnt, where it is a constant: other constants say how to compute, or are scales."""
    places = _LEARNT.get(operator)
    return places is None or at in places


def _may_be_learnt(tensor: Initializer) -> bool:
    return bool(tensor.shape) and tensor.dtype not in ("int64", "bool", "string")

"""The size of every tensor of a graph, told before anything runs and without onnx: what a device's memory must hold.

What a graph states of its own tensors (value_info) is never believed: sizes follow from the inputs, the constants and the operators alone, and
a graph that states others is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.rules.folds import fold
from edgecnn.artifact.rules.operators import RULES
from edgecnn.artifact.sizes import Batch, Call, Dim, Dims, Fault, Known, TooLarge, coefficient, constant, power, shown
from edgecnn.artifact.tensor_proto import MAX_RANK, MAX_SIZE, Shape, Value

MAX_ELEMENTS = 1 << 26
"""Of a tensor, for one image where the batch is open: 256 MiB in float32. What is no larger than a constant that it is made from may have more."""
MAX_TOGETHER = 1 << 28
"""Of all tensors that live at the same time, and as many more as two copies of the constants in the file have: 1 GiB in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """known: what follows from inputs, constants and operators. fault: the first reason, a sentence, why sizes can't be told or are too large for
    a device; None where all are told and fit. too_large: the first reason of the second kind, which no simplification mends. most_elements: of
    tensors that live at the same time, without the constants in the file, for one image where the batch is open.
    """

    known: Mapping[str, Dims]
    fault: str | None
    too_large: str | None
    most_elements: int


def infer_shapes(graph: Graph) -> Shapes:
    """The shapes of the main graph's tensors, as far as they can be told, in time that grows with the number of nodes."""
    return _Inference(graph).run()


class _Inference:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.opset = graph.opsets.get("", 0)
        self.shapes: dict[str, Dims | None] = {}
        self.numbers: dict[str, Known] = {}
        self.faults: list[str] = []
        self.too_large: str | None = None
        # what doesn't depend on the input: runtimes compute it when they load the graph, and keep it
        self.fixed: set[str] = set()
        self.last_use: dict[str, int] = {}
        self.alive = self.most = 0
        self.allowed = MAX_TOGETHER + 2 * sum(tensor.elements for tensor in graph.initializers)

    def run(self) -> Shapes:
        graph = self.graph
        for at, node in enumerate(graph.nodes):
            self.last_use.update(dict.fromkeys(node.inputs, at))
        self.last_use.update((value.name, len(graph.nodes)) for value in graph.outputs)
        self._constants()
        for value in graph.inputs:
            self._input(value)
        for at, node in enumerate(graph.nodes):
            try:
                self._node(node, at)
            except Fault as fault:
                self.faults.append(f"The graph's node {node.name or next(iter(node.outputs), '')} ({node.operator}) {fault}.")
                self.too_large = self.too_large or (self.faults[-1] if isinstance(fault, TooLarge) else None)
                self.shapes.update((name, None) for name in node.outputs if name not in self.shapes)
        for value in graph.outputs:
            found = self.shapes.get(value.name)
            if value.name not in self.shapes:
                self.faults.append(f"The graph's output {value.name} is made by no node.")
            elif found is not None and value.shape is not None and not _agree(value.shape, found):
                self.faults.append(f"The graph states the shape {shown(value.shape)} of its output {value.name}, which is {shown(found)}.")
        known = {name: shape for name, shape in self.shapes.items() if shape is not None}
        return Shapes(known=known, fault=next(iter(self.faults), None), too_large=self.too_large, most_elements=self.most)

    def _constants(self) -> None:
        for tensor in self.graph.initializers:
            if tensor.sparse and tensor.elements > MAX_ELEMENTS:
                self.faults.append(f"The graph's sparse constant {tensor.name} has {tensor.elements} elements, devices take {MAX_ELEMENTS}.")
            if tensor.name in self.shapes:
                self.faults.append(f"The graph has two constants named {tensor.name}.")
            self._record(tensor.name, tensor.shape, constant(tensor))
            self.fixed.add(tensor.name)

    def _input(self, value: Value) -> None:
        """Its first axis may be open: that is the batch."""
        dims: tuple[Dim | None, ...] = tuple(
            size if isinstance(size, int) else Batch(1) if axis == 0 else None for axis, size in enumerate(value.shape or ())
        )
        closed = tuple(dim for dim in dims if dim is not None)
        if value.shape is None or len(closed) < len(dims):
            text = "unknown" if value.shape is None else shown(value.shape)
            self.faults.append(
                f"The graph's input {value.name} has the shape {text}; beside the batch devices want fixed sizes, so export it with such."
            )
        elif value.name in self.shapes:
            self.faults.append(f"The graph has two inputs named {value.name}.")
        elif coefficient(closed) > MAX_ELEMENTS:
            self.faults.append(f"The graph's input {value.name} has the shape {shown(closed)}, over the {MAX_ELEMENTS} elements that devices take.")
        else:
            self._record(value.name, closed, None)
            self.alive += coefficient(closed)
            return
        self.shapes[value.name] = None

    def _record(self, name: str, shape: Dims, numbers: Known | None) -> None:
        self.shapes[name] = shape
        if numbers is not None:
            self.numbers[name] = numbers

    def _node(self, node: Node, at: int) -> None:
        if not node.outputs or any(name in self.shapes for name in node.outputs):
            raise Fault("makes a tensor that is there already" if node.outputs else "makes nothing")
        call = self._call(node)
        if call is None:  # behind a fault that was told
            self.shapes.update(dict.fromkeys(filter(None, node.outputs)))
            return
        rule = RULES.get((node.domain, node.operator))
        if rule is None:
            raise Fault("isn't among the operators whose sizes are known")
        found = rule(call)
        if len(node.outputs) > len(found):
            raise Fault(f"has {len(node.outputs)} outputs, {len(found)} at most were wanted")
        found = found[: len(node.outputs)]
        most = max((coefficient(shape) for shape in call.shapes if shape is not None), default=0)
        for name, shape in zip(node.outputs, found, strict=True):
            self._check(name, shape, most)
        for name, shape, numbers in zip(node.outputs, found, fold(call, found), strict=True):
            if not coefficient(shape) and numbers is None:  # runtimes differ in what comes of it
                raise Fault(f"makes a tensor of {shown(shape)}, which holds nothing")
            if name:
                self._record(name, shape, numbers)
        self._count(node, at, found)

    def _call(self, node: Node) -> Call | None:
        """None where the shape of an input couldn't be told."""
        shapes: list[Dims | None] = []
        for name in node.inputs:
            if name and name not in self.shapes:
                raise Fault(f"reads {name}, which nothing before it makes")
            shape = self.shapes[name] if name else None
            if name and shape is None:
                return None
            shapes.append(shape)
        return Call(node, shapes, [self.numbers.get(name) for name in node.inputs], self.opset)

    def _check(self, name: str, shape: Dims, most: int) -> None:
        """most: elements of the largest input."""
        elements = coefficient(shape)
        if elements > MAX_ELEMENTS and elements > most:
            raise TooLarge(
                f"makes a tensor of {shown(shape)}, {elements} elements, where devices take {MAX_ELEMENTS}; take smaller images or batches"
            )
        if power(shape) > 1:
            raise Fault(f"makes a tensor of {shown(shape)}, which grows with the square of the batch")
        if len(shape) > MAX_RANK or any((dim if isinstance(dim, int) else dim.times) > MAX_SIZE for dim in shape):
            raise Fault(f"makes a tensor of {len(shape)} axes, of which none may be over {MAX_SIZE} and {MAX_RANK} are read")
        stated = self.graph.values.get(name)
        if stated is not None and stated.shape is not None and not _agree(stated.shape, shape):
            raise Fault(f"makes a tensor of {shown(shape)}, the graph states {shown(stated.shape)} of {name}")

    def _count(self, node: Node, at: int, found: Sequence[Dims]) -> None:
        """What lives while the node computes, and what is let go after it."""
        fixed = all(name in self.fixed for name in node.inputs if name)
        self.alive += sum(map(coefficient, found))
        self.most = max(self.most, self.alive)
        if self.alive > self.allowed:
            raise TooLarge(
                f"brings what lives at one time to {self.alive} elements, where devices take {MAX_TOGETHER}; take smaller images or batches"
            )
        if fixed:
            self.fixed.update(node.outputs)
            return
        ended = {name for name in node.inputs if self.last_use[name] == at} | {name for name in node.outputs if name not in self.last_use}
        self.alive -= sum(coefficient(self.shapes.get(name) or ()) for name in ended - self.fixed if name)


def _agree(stated: Shape, found: Dims) -> bool:
    """An axis without a number agrees with any."""
    return len(stated) == len(found) and all(size == dim or not isinstance(size, int) for size, dim in zip(stated, found, strict=True))

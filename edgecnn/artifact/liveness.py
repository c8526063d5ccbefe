"""How many bytes of activations live at each step of a graph, told before anything runs and without onnx.

A tensor lives from the node that makes it to the last one that reads it, in the order of the graph; the graph's input from the start, its output to
the end. Buffers are shared as runtimes share them: a reshaped tensor is the same bytes; an elementwise result takes the place of an operand that
nobody reads any more; and where quantized operators run in integers (DequantizeLinear, layer, QuantizeLinear), only the integers are held.
Constants, and what is computed from them alone, are no activations. What kernels need for themselves (unrolled windows, packed weights, another
layout) isn't counted: it differs from runtime to runtime, and onnxruntime's is in `memory`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edgecnn.artifact.dtypes import infer_dtypes
from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.artifact.sizes import Dims, coefficient
from edgecnn.artifact.tensor_proto import BITS
from edgecnn.errors import GraphRejected

_SAME_BYTES = frozenset(("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout"))
# fmt: off
_UNARY = frozenset((
    "Abs", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal",
    "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
))
# fmt: on
_BINARY = frozenset(("Add", "Div", "Mul", "Sub"))
# layers that have kernels for integers even where their result stays in floats
_PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A node that computes, and the bytes that live while it does: what it reads and makes, and what later ones still need. For one image where
    the batch is open."""

    name: str
    operator: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one node does to memory. made: bytes of the buffers that begin with it, by the tensor that they are named after; ended: those that
    nobody needs after it; integers: whether a convolution of integers would do the node's work; shapes: of all tensors of the graph."""

    node: Node
    made: Mapping[str, int]
    ended: tuple[str, ...]
    integers: bool
    shapes: Mapping[str, Dims]


@dataclass(frozen=True, kw_only=True, slots=True)
class Liveness:
    """steps: in the graph's order, without those that move no data of their own; turns: of all nodes that aren't constant; given, results:
    bytes of the buffers of the graph's inputs and outputs, by name."""

    steps: tuple[Step, ...]
    turns: tuple[Turn, ...]
    given: Mapping[str, int]
    results: Mapping[str, int]

    @property
    def peak(self) -> Step:
        """The first step at which most lives."""
        return max(self.steps, key=lambda step: step.bytes)


def liveness(graph: Graph) -> Liveness:
    """Raises GraphRejected where a tensor's size can't be told beforehand, and for a graph in which nothing computes on the input."""
    walk = _Walk(graph)
    turns = tuple(walk.turns())
    found = tuple(walk.steps(turns))
    if not found:
        raise GraphRejected("The graph computes nothing on its input, so it needs no memory for activations; give a network.")
    results = {home: walk.size(home) for home in sorted({walk.home.get(name, name) for name in walk.outputs})}
    return Liveness(steps=found, turns=turns, given={name: walk.size(name) for name in sorted(walk.mine)}, results=results)


class _Walk:
    def __init__(self, graph: Graph) -> None:
        inferred = infer_shapes(graph)
        if inferred.fault is not None:
            raise GraphRejected(inferred.fault)
        self.graph, self.shapes, self.dtypes = graph, inferred.known, infer_dtypes(graph)
        constants = {tensor.name for tensor in graph.initializers}
        self.nodes: list[Node] = []
        for node in graph.nodes:
            if all(name in constants for name in node.inputs if name):
                constants.update(node.outputs)
            else:
                self.nodes.append(node)
        self.constants = constants
        self.outputs = {value.name for value in graph.outputs}
        self.maker = {name: node for node in self.nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in set(self._read(node)):
                self.readers.setdefault(name, []).append(node)
        self.mine = {value.name for value in graph.inputs}
        self.ready: set[str] = set()
        for node in self.nodes:
            self._note_ready(node)
        self.integer: dict[str, str] = {}
        for node in reversed(self.nodes):
            self._note_integer(node)
        self.home: dict[str, str] = {}
        self._find_homes()

    def _read(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and name not in self.constants]

    def _note_ready(self, node: Node) -> None:
        """What a kernel for integers can read: dequantized integers, and what it may go on with itself, as convolutions do with a ReLU."""
        if node.operator == "DequantizeLinear":
            self.ready.update(node.outputs)
        elif len(node.outputs) == 1 and all(name in self.ready for name in self._read(node)):
            readers = self.readers.get(node.outputs[0], [])
            if len(readers) == 1 and readers[0].operator in _UNARY:
                self.ready.update(node.outputs)

    def _note_integer(self, node: Node) -> None:
        """The dtype of integers that `node` makes at once, because a QuantizeLinear, perhaps behind a ReLU or the like, alone reads its result."""
        if len(node.outputs) != 1 or node.operator in ("QuantizeLinear", "DequantizeLinear") or node.outputs[0] in self.outputs:
            return
        readers = self.readers.get(node.outputs[0], [])
        if len(readers) != 1 or not all(name in self.ready for name in self._read(node)):
            return
        after = readers[0].outputs[0]
        held = self.dtypes[after] if readers[0].operator == "QuantizeLinear" else self.integer.get(after) if readers[0].operator in _UNARY else None
        if held is not None:
            self.integer[node.outputs[0]] = held

    def _find_homes(self) -> None:
        """The tensor whose bytes each tensor's are, itself where it has some of its own."""
        place = {id(node): at for at, node in enumerate(self.nodes)}
        self.last = dict.fromkeys(self.mine, -1)
        for at, node in enumerate(self.nodes):
            for name in self._read(node):
                self._use(name, at)
            for name in filter(None, node.outputs):
                shared = self._shared(node, name, at, place)
                self.home[name] = shared if shared is not None else name
                self._use(name, len(self.nodes) if name in self.outputs else max([at, *(place[id(reader)] for reader in self.readers.get(name, []))]))

    def _use(self, name: str, at: int) -> None:
        home = self.home.get(name, name)
        self.last[home] = max(at, self.last.get(home, at))

    def _shared(self, node: Node, name: str, at: int, place: dict[int, int]) -> str | None:
        """The buffer that the output `name` of `node` takes over, if any."""
        read = self._read(node)
        if not read:
            return None
        first = self.home.get(read[0], read[0])
        if node.operator in _SAME_BYTES and name == node.outputs[0]:
            return first
        if node.operator == "QuantizeLinear":
            return first if read[0] in self.integer else None
        if node.operator == "DequantizeLinear":
            return first if name not in self.outputs and all(map(self._takes_integers, self.readers.get(name, []))) else None
        candidates = read[:1] if node.operator in _UNARY else read if node.operator in _BINARY and name not in self.integer else []
        for operand in candidates:
            home = self.home.get(operand, operand)
            if home not in self.mine and self.last[home] == at and self.size(home) == self.size(name):
                return home
        return None

    def _takes_integers(self, reader: Node) -> bool:
        return reader.operator in _PRODUCTS or any(name in self.integer for name in reader.outputs)

    def size(self, name: str) -> int:
        return math.ceil(coefficient(self.shapes.get(name, ())) * BITS.get(self.integer.get(name) or self.dtypes[name], 32) / 8)

    def turns(self) -> Iterator[Turn]:
        ends: dict[int, list[str]] = {}
        for home, at in self.last.items():
            ends.setdefault(at, []).append(home)
        made = set(self.mine)
        for at, node in enumerate(self.nodes):
            fresh = {self.home[name]: self.size(self.home[name]) for name in node.outputs if name and self.home[name] not in made}
            made.update(fresh)
            integers = node.operator == "Conv" and bool(node.inputs) and node.inputs[0] in self.ready
            yield Turn(node=node, made=fresh, ended=tuple(ends.get(at, ())), integers=integers, shapes=self.shapes)

    def steps(self, turns: Iterable[Turn]) -> Iterator[Step]:
        alive = sum(map(self.size, self.mine))
        for turn in turns:
            node = turn.node
            alive += sum(turn.made.values())
            if not self._idle(node):
                yield Step(name=node.name or node.outputs[0], operator=node.operator, bytes=alive)
            alive -= sum(map(self.size, turn.ended))

    def _idle(self, node: Node) -> bool:
        """Whether the node only says how to read bytes that are there."""
        inside = node.operator in ("QuantizeLinear", "DequantizeLinear") or node.operator in _SAME_BYTES
        return inside and all(self.home[name] != name for name in node.outputs if name)

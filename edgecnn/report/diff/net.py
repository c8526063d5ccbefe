"""A graph as a net of layers, however it is written: pairs of QuantizeLinear and DequantizeLinear are a property of the tensor between them,
constants stand beside the layers that read them, and a matrix product with a bias is a Gemm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgecnn.artifact.layers import may_be_learnt
from edgecnn.artifact.model_proto import Attribute, Graph, Node
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.artifact.tensor_proto import DTYPES, Initializer
from edgecnn.report.diff.attributes import without_defaults
from edgecnn.report.diff.constants import Constant, Grid

COMMUTATIVE = frozenset(("Add", "Mul", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor", "Equal"))

ANEW = Grid(dtype="uint8", scale=(), zero=())
"""Measured for each input, as DynamicQuantizeLinear does."""

_MOST_ROUNDINGS = 8
"""Of one tensor, in turn; more are layers of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """What a layer reads: output `output` of the op `maker`, the graph's input `input`, a constant, or (none of these) something that no node makes.

    grids: what it is rounded to on the way, in turn.
    """

    maker: int | None = None
    output: int = 0
    input: str | None = None
    constant: Constant | None = None
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Op:
    """One layer. operator: what it computes; written: how the graph writes that, where it may be otherwise; attributes: without those that have
    their default's value; edges: None for an input that is left out."""

    name: str
    operator: str
    domain: str
    written: str
    attributes: Mapping[str, Attribute]
    edges: tuple[Edge | None, ...]
    outputs: int

    @property
    def commutative(self) -> bool:
        return not self.domain and self.operator in COMMUTATIVE

    def weights(self) -> Iterator[tuple[int, Constant]]:
        """(which input, the constant) of those that were learnt."""
        for at, edge in enumerate(self.edges):
            if edge is not None and edge.constant is not None and _learnt(self.operator, at, edge.constant):
                yield at, edge.constant

    def settings(self) -> Iterator[tuple[int, Constant]]:
        """The other constants: shapes, limits, axes."""
        for at, edge in enumerate(self.edges):
            if edge is not None and edge.constant is not None and not _learnt(self.operator, at, edge.constant):
                yield at, edge.constant


def _learnt(operator: str, at: int, constant: Constant) -> bool:
    if not constant.shape or not may_be_learnt(operator, at):
        return False
    return constant.grid is not None or constant.dtype not in ("int64", "int32", "bool", "string")


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """ops: in the graph's order; results: the graph's outputs; rounded: pairs of QuantizeLinear and DequantizeLinear that became grids."""

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    results: tuple[Edge, ...]
    rounded: int


def read_net(graph: Graph, model: bytes) -> Net:
    """graph: `read_graph(model)`."""
    return _Reader(graph, model).read()


class _Reader:
    def __init__(self, graph: Graph, model: bytes) -> None:
        self.graph, self.model = graph, model
        self.digests: dict[tuple[int, int], str] = {}
        self.edges: dict[str, Edge] = {value.name: Edge(input=value.name) for value in graph.inputs}
        self.edges.update((tensor.name, Edge(constant=self.constant(tensor.name, tensor))) for tensor in graph.initializers)
        self.ops: list[Op] = []
        # QuantizeLinear's outputs that are no layer's input so far: the node, and the grid
        self.waiting: dict[str, tuple[Node, Grid]] = {}
        self.paired: set[str] = set()
        self.rounded = 0
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.kept = {value.name for value in graph.outputs}
        self.makers = {name: node for node in graph.nodes for name in node.outputs}
        self.folded: set[int] = set()
        self.ranks: dict[str, int] | None = None

    def read(self) -> Net:
        products = {id(node): found for node in self.graph.nodes if node.operator == "MatMulInteger" and (found := self.dynamic(node))}
        for _, _, _, first in products.values():  # several products may quantize one input
            if all(id(reader) in self.folded or id(reader) in products for name in first.outputs for reader in self.readers.get(name, [])):
                self.folded.add(id(first))
        for node in self.graph.nodes:
            if id(node) in products:
                self.add_dynamic(node, *products[id(node)][:3])
            elif id(node) not in self.folded:
                self.node(node)
        results = tuple(self.edge(value.name) for value in self.graph.outputs)
        for name in [name for name in self.waiting if name not in self.paired]:
            self.edge(name)
        return Net(ops=tuple(self.ops), inputs=tuple(value.name for value in self.graph.inputs), results=results, rounded=self.rounded)

    def constant(self, name: str, tensor: Initializer) -> Constant:
        return Constant(name=name, dtype=tensor.dtype, shape=tensor.shape, model=self.model, tensor=tensor, digests=self.digests)

    def edge(self, name: str) -> Edge:
        """What `name` is for a layer that reads it. A QuantizeLinear whose integers are read is a layer itself."""
        if name in self.waiting:
            node, _ = self.waiting.pop(name)
            self.add(node)
        return self.edges.get(name, Edge())

    def node(self, node: Node) -> None:
        if node.domain == "" and node.operator in _FOLDS and node.outputs:
            found = _FOLDS[node.operator](self, node)
            if found is not None:
                self.edges[node.outputs[0]] = found
                return
            if node.outputs[0] in self.waiting:
                return
        self.add(node)

    def add(self, node: Node) -> None:
        edges = tuple(self.edge(name) if name else None for name in node.inputs)
        while edges and edges[-1] is None:
            edges = edges[:-1]
        if node.operator in COMMUTATIVE and len(edges) == 2 and is_constant(edges[0]) and not is_constant(edges[1]):
            edges = edges[::-1]
        op = Op(
            name=node.name or next(iter(node.outputs), ""),
            operator=node.operator,
            domain=node.domain,
            written=node.operator,
            attributes=self.stated(node, edges),
            edges=edges,
            outputs=len(node.outputs),
        )
        if op.operator == "Gemm" and not op.domain:
            op = _gemm(op)
        for at, output in enumerate(node.outputs):
            if output:
                self.edges[output] = Edge(maker=len(self.ops), output=at)
        self.ops.append(op)

    def stated(self, node: Node, edges: tuple[Edge | None, ...]) -> dict[str, Attribute]:
        """A node's attributes, without those that only say what is so anyway; a tensor as its numbers, or in words."""
        found = without_defaults(node)
        for name, value in found.items():
            if isinstance(value, Initializer):
                shown = self.constant(name, value).shown()
                found[name] = tuple(shown) if isinstance(shown, list) else shown
        weights = edges[1].constant if len(edges) > 1 and edges[1] is not None else None
        if node.operator in ("Conv", "ConvTranspose") and weights is not None and found.get("kernel_shape") == weights.shape[2:]:
            del found["kernel_shape"]
        return found

    # Folds: what a node's output is, where it makes no layer

    def made(self, node: Node) -> Edge | None:
        """Constant."""
        for name, value in node.attributes.items():
            if name == "value" and isinstance(value, Initializer):
                return Edge(constant=self.constant(node.outputs[0], value))
            if name in ("value_float", "value_int", "value_floats", "value_ints"):
                numbers = value if isinstance(value, tuple) else (value,)
                shape = (len(numbers),) if isinstance(value, tuple) else ()
                dtype = "float32" if "float" in name else "int64"
                plain = tuple(number for number in numbers if isinstance(number, (int, float)))
                return Edge(constant=Constant(name=node.outputs[0], dtype=dtype, shape=shape, model=self.model, numbers=plain))
        return None

    def same(self, node: Node) -> Edge | None:
        """Identity of a constant, which is how weights are shared."""
        edge = self.edges.get(node.inputs[0]) if node.inputs else None
        return edge if edge is not None and edge.constant is not None else None

    def cast(self, node: Node) -> Edge | None:
        edge, to = self.same(node), node.attributes.get("to")
        if edge is None or edge.constant is None or not isinstance(to, int) or to not in DTYPES or edge.grids:
            return None
        return replace(edge, constant=replace(edge.constant, cast=DTYPES[to]))

    def quantize(self, node: Node) -> Edge | None:
        grid = self.grid(node)
        if grid is not None and node.outputs[0] not in self.kept:
            self.edge(node.inputs[0])  # one that reads another one's integers makes a layer of that
            self.waiting[node.outputs[0]] = (node, grid)
        return None

    def dequantize(self, node: Node) -> Edge | None:
        grid = self.grid(node)
        if grid is None or not node.inputs:
            return None
        waiting = self.waiting.get(node.inputs[0])
        if waiting is not None:
            source = self.edge(waiting[0].inputs[0])
            before = source.grids if source.constant is None else source.constant.rounded
            if waiting[1] != grid or len(before) >= _MOST_ROUNDINGS:
                return None
            self.paired.add(node.inputs[0])
            if source.constant is not None:
                return Edge(constant=replace(source.constant, rounded=(*source.constant.rounded, grid)))
            self.rounded += 1
            return replace(source, grids=(*source.grids, grid))
        constant = self.edges.get(node.inputs[0], Edge()).constant
        if constant is None or constant.grid is not None or constant.cast is not None:
            return None
        axis = grid.axis + len(constant.shape) if grid.axis is not None and grid.axis < 0 else grid.axis
        return Edge(constant=replace(constant, grid=replace(grid, dtype=constant.dtype, axis=axis)))

    def grid(self, node: Node) -> Grid | None:
        """The grid of a QuantizeLinear or DequantizeLinear, where its scale and zero point are constants, one or one for each index of an axis."""
        names = [*node.inputs, "", ""][1:3]
        scale, zero = (self.edges.get(name, Edge()).constant if name else None for name in names)
        if scale is None or len(scale.shape) > 1 or (names[1] and zero is None) or node.attributes.get("block_size"):
            return None
        return _grid(scale, zero, axis=node.attributes.get("axis", 1), dtype="uint8" if zero is None else zero.dtype)

    # A matrix product whose input is quantized as it comes: DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul by both scales

    def dynamic(self, node: Node) -> tuple[str, str, Grid, Node] | None:
        """(the tensor that it makes in the end, the one that it quantizes, the grid of its weights, the node that quantizes), or None where it is
        something else; notes which nodes it is made of."""
        if len(node.inputs) < 4 or node.domain or len(node.outputs) != 1:
            return None
        first, weights = self.makers.get(node.inputs[0]), self.edges.get(node.inputs[1], Edge()).constant
        cast = self.only_reader(node.outputs[0], "Cast")
        times = self.only_reader(cast.outputs[0], "Mul") if cast is not None else None
        if first is None or first.operator != "DynamicQuantizeLinear" or len(first.outputs) != 3 or weights is None or cast is None or times is None:
            return None
        scales = self.makers.get(_other(times, cast.outputs[0]))
        if scales is None or scales.operator != "Mul" or first.outputs[1] not in scales.inputs or node.inputs[2] != first.outputs[2]:
            return None
        if self.only_reader(scales.outputs[0], "Mul") is not times:
            return None
        scale = self.edges.get(_other(scales, first.outputs[1]), Edge()).constant
        zero = self.edges.get(node.inputs[3], Edge()).constant
        grid = _grid(scale, zero, axis=len(weights.shape) - 1, dtype=weights.dtype) if scale is not None and zero is not None else None
        if grid is None:
            return None
        self.folded.update(map(id, (cast, times, scales)))
        return times.outputs[0], first.inputs[0], grid, first

    def add_dynamic(self, node: Node, result: str, source: str, grid: Grid) -> None:
        reads = self.edge(source)
        weights = self.edges[node.inputs[1]].constant
        assert weights is not None
        op = Op(
            name=node.name or result,
            operator="MatMul",
            domain="",
            written="DynamicQuantizeLinear + MatMulInteger",
            attributes={},
            edges=(replace(reads, grids=(*reads.grids, ANEW)), Edge(constant=replace(weights, grid=grid))),
            outputs=1,
        )
        self.edges[result] = Edge(maker=len(self.ops))
        self.ops.append(op)

    def only_reader(self, name: str, operator: str) -> Node | None:
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].operator == operator and name not in self.kept and readers[0].outputs else None

    # A matrix product and the bias that is added to it

    def biased(self, node: Node) -> Edge | None:
        """Add."""
        edges = [self.edges.get(name) for name in node.inputs]
        product = next((edge for edge in edges if edge is not None and edge.maker is not None and not edge.grids), None)
        bias = next((edge.constant for edge in edges if edge is not None and edge.constant is not None), None)
        if product is None or product.maker is None or bias is None or len(bias.shape) != 1:
            return None
        op = self.ops[product.maker]
        weights = op.edges[1].constant if op.operator == "MatMul" and not op.domain and len(op.edges) == 2 and op.edges[1] is not None else None
        name = next(name for name, edge in zip(node.inputs, edges, strict=True) if edge is product)
        if weights is None or len(weights.shape) != 2 or len(self.readers.get(name, [])) != 1 or name in self.kept or self.rank(name) != 2:
            return None
        self.ops[product.maker] = replace(
            op,
            operator="Gemm",
            written=f"{op.written} + Add",
            edges=(op.edges[0], Edge(constant=replace(weights, transposed=True)), Edge(constant=bias)),
        )
        return Edge(maker=product.maker)

    def rank(self, name: str) -> int | None:
        if self.ranks is None:
            self.ranks = {tensor: len(shape) for tensor, shape in infer_shapes(self.graph).known.items()}
        return self.ranks.get(name)


def is_constant(edge: Edge | None) -> bool:
    return edge is not None and edge.constant is not None


def _other(node: Node, name: str) -> str:
    """The input of a node with two that isn't `name`."""
    return next((found for found in node.inputs if found != name), "")


_FOLDS = {
    "Constant": _Reader.made,
    "Identity": _Reader.same,
    "Cast": _Reader.cast,
    "QuantizeLinear": _Reader.quantize,
    "DequantizeLinear": _Reader.dequantize,
    "Add": _Reader.biased,
}


def _grid(scale: Constant, zero: Constant | None, *, axis: Attribute, dtype: str) -> Grid | None:
    """None where the numbers aren't in the file, or are more than belong together."""
    steps = scale.raw()
    starts = zero.raw() if zero is not None else None
    if steps is None or steps.dtype.kind != "f" or (zero is not None and (starts is None or starts.dtype.kind not in "iu")):
        return None
    zeros = (0,) * len(steps) if starts is None else tuple(int(number) for number in starts)
    if len(zeros) != len(steps) or not len(steps) or not isinstance(axis, int):
        return None
    return Grid(dtype=dtype, scale=tuple(float(step) for step in steps), zero=zeros, axis=axis if len(steps) > 1 else None)


def _gemm(op: Op) -> Op:
    """With its weights as (outputs, inputs), whichever way they are stored, and alike where alpha is 1."""
    second = op.edges[1] if len(op.edges) > 1 else None
    weights = second.constant if second is not None else None
    if second is None or weights is None or len(weights.shape) != 2:
        return op
    across = bool(op.attributes.get("transB"))
    attributes = {name: value for name, value in op.attributes.items() if name != "transB"}
    edges = (op.edges[0], replace(second, constant=replace(weights, transposed=not across)), *op.edges[2:])
    return replace(op, attributes=attributes, edges=edges, written="Gemm" if across else "Gemm, transB 0")

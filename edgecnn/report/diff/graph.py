"""What the graphs of two models compute otherwise: layers added, removed, replaced, set or connected otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from edgecnn.artifact.graph import Graph
from edgecnn.artifact.model_proto import MAX_ATTRIBUTE_TEXT
from edgecnn.artifact.sizes import shown
from edgecnn.artifact.tensor_proto import Value
from edgecnn.report.diff.constants import Grid
from edgecnn.report.diff.match import Matching
from edgecnn.report.diff.net import Edge, Net, Op, is_constant
from edgecnn.report.diff.records import Change, GraphChanges, Layer, LayerChange

_MOST_ALONE = 2000
"""With more layers than this on one side only, nobody asks what is connected otherwise between them."""

_MOST_ORIGINS = 64

_ROLES = {
    "Conv": ("input", "weight", "bias"),
    "ConvTranspose": ("input", "weight", "bias"),
    "Gemm": ("input", "weight", "bias"),
    "MatMul": ("input", "weight"),
    "BatchNormalization": ("input", "scale", "bias", "mean", "variance"),
    "PRelu": ("input", "slope"),
    "Clip": ("input", "min", "max"),
    "Reshape": ("input", "shape"),
    "Pad": ("input", "pads", "value", "axes"),
    "Resize": ("input", "roi", "scales", "sizes"),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Squeeze", "Unsqueeze"), ("input", "axes")),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), ("input", "scale", "zero point")),
}


def role(op: Op, at: int) -> str:
    """What a layer's input `at` is to it: "weight", "bias", "input 2", ..."""
    names = _ROLES.get(op.operator, ()) if not op.domain else ()
    return names[at] if at < len(names) else f"input {at + 1}"


def compare_graphs(a: Graph, b: Graph, nets: tuple[Net, Net], found: Matching, *, same_bytes: bool) -> GraphChanges:
    return _Comparison(nets, found).run(tuple(_stated(a, b, same_bytes=same_bytes)), same_bytes=same_bytes)


def _stated(a: Graph, b: Graph, *, same_bytes: bool) -> Iterator[Change]:
    """What a graph says of itself and its edges."""
    if a.ir_version != b.ir_version:
        yield Change(what="IR version", a=a.ir_version, b=b.ir_version)
    for domain in sorted(a.opsets.keys() | b.opsets.keys()):
        if a.opsets.get(domain) != b.opsets.get(domain):
            yield Change(what=f"opset of {domain}" if domain else "opset", a=a.opsets.get(domain), b=b.opsets.get(domain))
    for kind, first, second in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        for at in range(max(len(first), len(second))):
            sides = [_value(values[at]) if at < len(values) else None for values in (first, second)]
            if sides[0] != sides[1]:
                yield Change(what=kind if len(first) == len(second) == 1 else f"{kind} {at + 1}", a=sides[0], b=sides[1])
    parts = [", ".join(_not_compared(graph)) or None for graph in (a, b)]
    if any(parts) and not same_bytes:
        yield Change(what="not compared, so it may differ", a=parts[0], b=parts[1])


def _value(value: Value) -> str:
    return f"{value.name} {value.dtype} {'of unknown shape' if value.shape is None else shown(value.shape)}"


def _not_compared(graph: Graph) -> Iterator[str]:
    if graph.has_subgraphs:
        yield "branches or loops"
    if graph.functions:
        yield "functions"
    if graph.training:
        yield "training graphs"
    if any(isinstance(value, str) and len(value.encode()) >= MAX_ATTRIBUTE_TEXT for node in graph.nodes for value in node.attributes.values()):
        yield "long texts"


_Place = tuple[Any, ...]


class _Comparison:
    def __init__(self, nets: tuple[Net, Net], found: Matching) -> None:
        self.a, self.b = _Side(nets[0], found.forward), _Side(nets[1], {at: at for at in found.back})
        self.found = found
        self.replaced = self._replaced()

    def run(self, stated: tuple[Change, ...], *, same_bytes: bool) -> GraphChanges:
        a, b, forward = self.a.net.ops, self.b.net.ops, self.found.forward
        changed = []
        for at, op in enumerate(a):
            to = forward.get(at, self.replaced.get(at))
            if to is None:
                continue
            changes = (*_settings(op, b[to]), *(self._rewired(op, b[to]) if at in forward else ()))
            if changes:
                changed.append(LayerChange(a=op.name, b=b[to].name, operator=op.operator, changes=changes))
        ends = tuple(self._ends())
        if ends:
            changed.append(LayerChange(a="the graph's outputs", b="the graph's outputs", operator="", changes=ends))
        taken = set(self.replaced.values())
        return GraphChanges(
            stated=stated,
            removed=tuple(_layer(self.a, at, self.b) for at in self.a.alone if at not in self.replaced),
            added=tuple(_layer(self.b, at, self.a) for at in self.b.alone if at not in taken),
            changed=tuple(changed),
            matched=len(forward),
            renamed=sum(a[at].name != b[to].name for at, to in forward.items()),
            layers_a=len(a),
            layers_b=len(b),
            same_bytes=same_bytes,
        )

    def _ways(self) -> tuple[tuple[_Side, _Side], tuple[_Side, _Side]]:
        return (self.a, self.b), (self.b, self.a)

    def _replaced(self) -> dict[int, int]:
        """Op of a -> op of b, of those that stand alone in one place: between the same layers."""
        places = [side.places({at for at in side.alone if _absorbed(side.net.ops[at], side, other)}) for side, other in self._ways()]
        return {at: places[1][place] for place, at in places[0].items() if place in places[1]}

    def _rewired(self, first: Op, second: Op) -> Iterator[Change]:
        """The inputs that come from elsewhere, but for the layers that only one side has, which are told by themselves."""
        left, right = list(first.edges), list(second.edges)
        if first.commutative:
            left, right = self._in_pairs(left, right)
        for at in range(max(len(left), len(right))):
            x, y = (edges[at] if at < len(edges) else None for edges in (left, right))
            if self._elsewhere(x, y):
                what, constants = role(first, at), is_constant(x) or is_constant(y)
                what = what if constants else f"reads as {what}" if len(left) > 1 and not first.commutative and at else "reads"
                yield Change(what=what, a=_named(self.a.net, x), b=_named(self.b.net, y))

    def _in_pairs(self, left: list[Edge | None], right: list[Edge | None]) -> tuple[list[Edge | None], list[Edge | None]]:
        """Inputs whose order doesn't matter, those that both sides have first."""
        first, second = [], list(right)
        rest = []
        for x in left:
            y = next((y for y in second if not self._elsewhere(x, y) and self.a.place(x) is not None), None)
            if y is None:
                rest.append(x)
            else:
                first.append((x, y))
                second.remove(y)
        return [x for x, _ in first] + rest, [y for _, y in first] + second

    def _ends(self) -> Iterator[Change]:
        pairs = list(zip(self.a.net.results, self.b.net.results, strict=False))
        for at, (x, y) in enumerate(pairs):
            if self._elsewhere(x, y):
                yield Change(what="made by" if len(pairs) == 1 else f"output {at + 1} made by", a=_named(self.a.net, x), b=_named(self.b.net, y))

    def _elsewhere(self, x: Edge | None, y: Edge | None) -> bool:
        places = self.a.place(x), self.b.place(y)
        if None not in places:
            return places[0] != places[1]
        left, right = self.a.origins(x), self.b.origins(y)
        return not (left <= right or right <= left)


class _Side:
    """One net, seen from the layers that both have, in b's numbers (`matched`: from its own). alone: the ops that only it has."""

    def __init__(self, net: Net, matched: Mapping[int, int]) -> None:
        self.net, self.matched = net, matched
        self.alone = [at for at in range(len(net.ops)) if at not in matched]
        self.inputs = {name: at for at, name in enumerate(net.inputs)}
        self.rounded: dict[int, list[Grid | None]] = {}
        for edge in (edge for op in net.ops for edge in op.edges):
            if edge is not None and edge.maker is not None:
                self.rounded.setdefault(matched.get(edge.maker, -1), []).append(next(iter(edge.grids), None))
        self._origins: dict[int, frozenset[_Place]] = {}
        if len(self.alone) <= _MOST_ALONE:
            for at in self.alone:
                sources = frozenset[_Place]().union(*(self.origins(edge) for edge in net.ops[at].edges if not is_constant(edge)))
                self._origins[at] = sources if len(sources) <= _MOST_ORIGINS else frozenset()

    def place(self, edge: Edge | None) -> _Place | None:
        """What an input comes from, the same for both sides; None where only this side has it."""
        if edge is None:
            return ("left out",)
        if edge.maker is not None:
            return ("layer", self.matched[edge.maker], edge.output) if edge.maker in self.matched else None
        if edge.input is not None:
            return ("input", self.inputs[edge.input])
        return ("constant",) if edge.constant is not None else ("nothing",)

    def origins(self, edge: Edge | None) -> frozenset[_Place]:
        """What an input comes from, through layers that only this side has."""
        here = self.place(edge)
        if here is not None:
            return frozenset((here,))
        return self._origins.get(edge.maker, frozenset()) if edge is not None and edge.maker is not None else frozenset()

    def places(self, clamps: Set[int]) -> dict[_Place, int]:
        """The ops that only this side has, by what they read and who reads them, where both sides have those and that tells them apart. clamps: ops
        that do nothing, which don't stand in the way."""
        readers: dict[int, list[int | None]] = {at: [] for at in self.alone}
        for at, op in enumerate(self.net.ops):
            for edge in op.edges:
                if edge is not None and edge.maker is not None and edge.maker in readers:
                    readers[edge.maker].append(self.matched.get(at))
        for at, result in enumerate(self.net.results):
            if result.maker is not None and result.maker in readers:
                readers[result.maker].append(-1 - at)
        found: dict[_Place, int | None] = {}
        for at in self.alone:
            sources = self._origins.get(at)
            near = all(edge is None or edge.maker is None or edge.maker in self.matched or edge.maker in clamps for edge in self.net.ops[at].edges)
            if sources and near and readers[at] and None not in readers[at]:
                key = (sources, tuple(sorted(reader for reader in readers[at] if reader is not None)))
                found[key] = None if key in found else at
        return {key: at for key, at in found.items() if at is not None}


def _layer(side: _Side, at: int, other: _Side) -> Layer:
    op = side.net.ops[at]
    return Layer(name=op.name, operator=_operator(op), absorbed=_absorbed(op, side, other))


def _absorbed(op: Op, side: _Side, other: _Side) -> bool:
    """Whether it is a clamp that changes nothing behind the rounding that the other side has in its place."""
    source = op.edges[0] if op.edges else None
    place = side.matched.get(source.maker) if source is not None and source.maker is not None else None
    if op.domain or op.operator not in ("Relu", "Clip") or place is None:
        return False
    grids = other.rounded.get(place, [])
    low, high = (0.0, None) if op.operator == "Relu" else (_limit(op, 1), _limit(op, 2))
    return bool(grids) and all(grid is not None and _within(grid, low, high) for grid in grids)


def _within(grid: Grid, low: float | None, high: float | None) -> bool:
    """Whether no value of the grid is outside, by more than half a step."""
    if grid.low is None or grid.high is None:
        return False
    half = grid.scale[0] / 2
    return (low is None or grid.low >= low - half) and (high is None or grid.high <= high + half)


def _limit(op: Op, at: int) -> float | None:
    constant = dict(op.settings()).get(at)
    value = constant.shown() if constant is not None else None
    return float(value) if isinstance(value, (int, float)) else None


def _settings(first: Op, second: Op) -> Iterator[Change]:
    if first.operator != second.operator or first.domain != second.domain:
        yield Change(what="operator", a=_operator(first), b=_operator(second))
        return
    if first.written != second.written:
        yield Change(what="written as", a=first.written, b=second.written)
    for name in sorted(first.attributes.keys() | second.attributes.keys()):
        x, y = first.attributes.get(name), second.attributes.get(name)
        if repr(x) != repr(y):
            yield Change(what=name, a=_plain(x), b=_plain(y))
    left, right = dict(first.settings()), dict(second.settings())
    for at in sorted(left.keys() & right.keys()):
        mine, theirs = left[at], right[at]
        if mine.digest() != theirs.digest() or mine.digest() is None:
            yield Change(what=role(first, at), a=mine.shown(), b=theirs.shown())


def _operator(op: Op) -> str:
    return f"{op.domain}:{op.operator}" if op.domain else op.operator


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _named(net: Net, edge: Edge | None) -> Any:
    """What an input is, for people."""
    if edge is None:
        return None
    if edge.maker is not None:
        op = net.ops[edge.maker]
        return f"{op.name}, output {edge.output + 1}" if op.outputs > 1 else op.name
    if edge.input is not None:
        return f"the graph's {edge.input}"
    return edge.constant.shown() if edge.constant is not None else "nothing that is made"

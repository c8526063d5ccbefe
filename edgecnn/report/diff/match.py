"""Which layer of one net is which of another: by what they compute and where they stand; names only decide where that leaves a choice.

Layers are matched in rounds, each of which takes layers to be alike by less: what they compute and with which weights; then without the weights'
values; then by the operator alone. A round first matches those whose whole way from the graph's input is alike, then those whose whole way to its
output is. So a change in the middle keeps what is before and behind it. What is left lies between changes and is aligned in the graph's order.
Rounds take time that grows with the number of layers; the alignment, of at most MOST_ALIGNED pairs, is Needleman and Wunsch's (1970, Journal of
Molecular Biology 48:443-453).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgecnn.report.diff.net import Edge, Net, Op

MOST_ALIGNED = 250_000

Key = Callable[[Op], Hashable]


@dataclass(kw_only=True, slots=True)
class Matching:
    """forward: op of a -> op of b; back: the other way."""

    forward: dict[int, int] = field(default_factory=dict)
    back: dict[int, int] = field(default_factory=dict)

    def add(self, at: int, to: int) -> None:
        self.forward[at], self.back[to] = to, at


def match(a: Net, b: Net) -> Matching:
    """The same for the same nets, whatever their names and the order of what runs side by side."""
    found = Matching()
    rounds: tuple[Key, ...] = (_exactly, _alike, _operator)
    for key in rounds:
        keys = tuple([key(op) for op in net.ops] for net in (a, b))
        for ways in (_from_input, _to_output):
            table: dict[Hashable, int] = {}
            _pair(a, b, ways(a, keys[0], table), ways(b, keys[1], table), found)
        if key is _exactly:
            _pair_by_weights(a, b, keys, found)
    _align(a, b, found)
    return found


def _exactly(op: Op) -> Hashable:
    weights = tuple((at, constant.digest() or constant.name) for at, constant in op.weights())
    return (_alike(op), weights)


def _alike(op: Op) -> Hashable:
    shapes = tuple((at, constant.as_read) for at, constant in op.weights())
    settings = tuple((at, repr(constant.shown())) for at, constant in op.settings())
    return (op.domain, op.operator, tuple(sorted((name, repr(value)) for name, value in op.attributes.items())), shapes, settings)


def _operator(op: Op) -> Hashable:
    return (op.domain, op.operator)


def _from_input(net: Net, keys: Sequence[Hashable], table: dict[Hashable, int]) -> list[int]:
    """A number for each op, the same where all that it is computed from is alike. table: the numbers given so far, for both nets."""
    places = {name: at for at, name in enumerate(net.inputs)}
    found: list[int] = []

    def source(edge: Edge | None) -> tuple[int, ...]:
        if edge is None:
            return (0,)
        if edge.maker is not None:
            return (1, found[edge.maker], edge.output)
        return (2, places.get(edge.input, -1)) if edge.input is not None else (3 if edge.constant is not None else 4,)

    for op, key in zip(net.ops, keys, strict=True):
        sources = [source(edge) for edge in op.edges]
        found.append(table.setdefault((key, tuple(sorted(sources) if op.commutative else sources)), len(table)))
    return found


def _to_output(net: Net, keys: Sequence[Hashable], table: dict[Hashable, int]) -> list[int]:
    """A number for each op, the same where all that is computed from it is alike."""
    readers: list[list[tuple[int, ...]]] = [[] for _ in net.ops]
    found = [0] * len(net.ops)
    for at, result in enumerate(net.results):
        if result.maker is not None:
            readers[result.maker].append((-1, at, result.output))
    for place in range(len(net.ops) - 1, -1, -1):
        op = net.ops[place]
        found[place] = table.setdefault((keys[place], tuple(sorted(readers[place]))), len(table))
        for at, edge in enumerate(op.edges):
            if edge is not None and edge.maker is not None:
                readers[edge.maker].append((found[place], 0 if op.commutative else at, edge.output))
    return found


def _pair(a: Net, b: Net, numbers_a: Sequence[int], numbers_b: Sequence[int], found: Matching) -> None:
    """Match ops of one number; where several have it those of one name first, then in order."""
    groups: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for at, number in enumerate(numbers_a):
        if at not in found.forward:
            groups[number][0].append(at)
    for at, number in enumerate(numbers_b):
        if at not in found.back:
            groups[number][1].append(at)
    for left, right in groups.values():
        if len(left) > 1 or len(right) > 1:
            _pair_by_name(a, b, left, right, found)
            left, right = [at for at in left if at not in found.forward], [at for at in right if at not in found.back]
        for at, to in zip(left, right, strict=False):
            found.add(at, to)


def _pair_by_name(a: Net, b: Net, left: Iterable[int], right: Iterable[int], found: Matching) -> None:
    """Those of one operator whose name is unique on both sides."""
    for at, to in _unique({at: (a.ops[at].name, a.ops[at].operator) for at in left}, {at: (b.ops[at].name, b.ops[at].operator) for at in right}):
        found.add(at, to)


def _pair_by_weights(a: Net, b: Net, keys: Sequence[Sequence[Hashable]], found: Matching) -> None:
    """The very same weights are the same layer, wherever it stands."""
    sides = []
    for net, known, matched in zip((a, b), keys, (found.forward, found.back), strict=True):
        sides.append({at: known[at] for at, op in enumerate(net.ops) if at not in matched and _heavy(op)})
    for at, to in _unique(*sides):
        found.add(at, to)


def _heavy(op: Op) -> bool:
    return any(len(constant.shape) > 1 for _, constant in op.weights())


def _unique(left: Mapping[int, Hashable], right: Mapping[int, Hashable]) -> list[tuple[int, int]]:
    sides = []
    for keys in (left, right):
        places: dict[Hashable, list[int]] = defaultdict(list)
        for at, key in keys.items():
            places[key].append(at)
        sides.append({key: found[0] for key, found in places.items() if len(found) == 1})
    return [(at, sides[1][key]) for key, at in sides[0].items() if key in sides[1]]


# What is left


def _align(a: Net, b: Net, found: Matching) -> None:
    left = [at for at in range(len(a.ops)) if at not in found.forward]
    right = [at for at in range(len(b.ops)) if at not in found.back]
    if not left or not right:
        return
    if len(left) * len(right) > MOST_ALIGNED:
        _pair_by_name(a, b, left, right, found)
        return
    keys_a, keys_b = ([_alike(net.ops[at]) for at in places] for net, places in ((a, left), (b, right)))
    readers_a, readers_b = (_readers(net) for net in (a, b))
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    worth: dict[tuple[int, int], int] = {}
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            first, second = a.ops[left[i]], b.ops[right[j]]
            if first.operator != second.operator or first.domain != second.domain:
                continue
            value = 2 + (first.name == second.name) + 2 * (keys_a[i] == keys_b[j])
            value += 2 * _meet(_makers(first), _makers(second), found) + 2 * _meet(readers_a[left[i]], readers_b[right[j]], found)
            worth[i, j] = value
            best[i][j] = max(best[i][j], value + best[i + 1][j + 1])
    i = j = 0
    while i < len(left) and j < len(right):
        if (i, j) in worth and best[i][j] == worth[i, j] + best[i + 1][j + 1]:
            found.add(left[i], right[j])
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def _makers(op: Op) -> set[int]:
    return {edge.maker for edge in op.edges if edge is not None and edge.maker is not None}


def _readers(net: Net) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in net.ops]
    for at, op in enumerate(net.ops):
        for maker in _makers(op):
            found[maker].add(at)
    return found


def _meet(left: set[int], right: set[int], found: Matching) -> bool:
    return any(found.forward.get(at) in right for at in left)

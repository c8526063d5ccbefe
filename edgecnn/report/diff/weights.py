"""What was learnt, and what tensors are rounded to: how far both are apart, layer by layer."""

from __future__ import annotations

import math
from typing import Any

from edgecnn.report.diff.constants import Apart, Constant, Grid, apart
from edgecnn.report.diff.graph import role
from edgecnn.report.diff.match import Matching
from edgecnn.report.diff.net import Net, Op
from edgecnn.report.diff.records import ScaleChange, ScaleChanges, WeightChange, WeightChanges


def compare_weights(nets: tuple[Net, Net], found: Matching) -> WeightChanges:
    """Of the layers that both sides have, a bounded piece in memory at a time."""
    rows, compared = [], 0
    known: dict[Any, Apart | None] = {}  # a tensor that many layers share is compared once
    for at, to in found.forward.items():
        first, second = nets[0].ops[at], nets[1].ops[to]
        others = dict(second.weights())
        for place, mine in first.weights():
            if place in others:
                compared += 1
                row = _compare(first, role(first, place), mine, others[place], known)
                if row is not None:
                    rows.append(row)
    return WeightChanges(rows=tuple(sorted(rows, key=_most)), compared=compared)


def _most(row: WeightChange | ScaleChange) -> float:
    """The largest change first, and before it what has no number; equal ones stay in the graph's order."""
    return -(math.inf if row.relative is None else row.relative)


def _compare(op: Op, tensor: str, a: Constant, b: Constant, known: dict[Any, Apart | None]) -> WeightChange | None:
    """None where both are stored alike and hold the same."""
    digest = a.digest()
    if digest is not None and digest == b.digest():
        return None
    pair = (a.key(), b.key())
    if pair not in known:
        known[pair] = apart(a, b)
    measured = known[pair]
    if measured is not None and not measured.changed and a.stored == b.stored:
        return None
    return WeightChange(
        layer=op.name,
        tensor=tensor,
        shape_a=a.as_read,
        shape_b=b.as_read,
        stored_a=a.stored,
        stored_b=b.stored,
        relative=measured.relative if measured is not None else None,
        largest=measured.largest if measured is not None else None,
        changed=measured.changed if measured is not None else None,
        elements=a.elements,
    )


def compare_scales(nets: tuple[Net, Net], found: Matching) -> ScaleChanges:
    """Of the tensors between layers that both sides have: those that a layer of both, or the graph's input, makes."""
    first, second = (_rounded(net) for net in nets)
    rows = []
    for place in [*first, *(place for place in second if _back(place, found) not in first)]:
        here, there = (place, _forward(place, found)) if place in first else (_back(place, found), place)
        if here is None or there is None:  # a layer of one side only
            continue
        row = _scale_change(_name(nets[0], here), first.get(here, ()), second.get(there, ()))
        if row is not None:
            rows.append(row)
    return ScaleChanges(rows=tuple(sorted(rows, key=_most)), rounded_a=len(first), rounded_b=len(second))


_Tensor = tuple[int | None, int]
"""(the op that makes it, None for the graph's input; which of its outputs, or which input)."""


def _rounded(net: Net) -> dict[_Tensor, tuple[Grid, ...]]:
    """The different grids of each tensor that is rounded before a layer reads it."""
    inputs = {name: at for at, name in enumerate(net.inputs)}
    found: dict[_Tensor, tuple[Grid, ...]] = {}
    for edge in (edge for op in net.ops for edge in op.edges):
        if edge is not None and edge.grids and edge.constant is None:
            place = (edge.maker, edge.output) if edge.input is None else (None, inputs[edge.input])
            found[place] = tuple(dict.fromkeys((*found.get(place, ()), *edge.grids)))
    return found


def _forward(place: _Tensor, found: Matching) -> _Tensor | None:
    maker = found.forward.get(place[0]) if place[0] is not None else None
    return None if maker is None and place[0] is not None else (maker, place[1])


def _back(place: _Tensor, found: Matching) -> _Tensor | None:
    maker = found.back.get(place[0]) if place[0] is not None else None
    return None if maker is None and place[0] is not None else (maker, place[1])


def _name(net: Net, place: _Tensor) -> str:
    maker, at = place
    return net.inputs[at] if maker is None else net.ops[maker].name + (f", output {at + 1}" if at else "")


def _scale_change(name: str, a: tuple[Grid, ...], b: tuple[Grid, ...]) -> ScaleChange | None:
    if a == b:
        return None
    one_a, one_b = (grids[0] if len(grids) == 1 and len(grids[0].scale) == 1 else None for grids in (a, b))
    relative = None
    if one_a is not None and one_b is not None and one_a.scale[0] != 0:
        relative = abs(one_b.scale[0] - one_a.scale[0]) / abs(one_a.scale[0])
    return ScaleChange(
        tensor=name,
        dtype_a=_dtype(a),
        dtype_b=_dtype(b),
        scale_a=one_a.scale[0] if one_a is not None else None,
        scale_b=one_b.scale[0] if one_b is not None else None,
        zero_a=one_a.zero[0] if one_a is not None else None,
        zero_b=one_b.zero[0] if one_b is not None else None,
        relative=relative if relative is not None and math.isfinite(relative) else None,
    )


def _dtype(grids: tuple[Grid, ...]) -> str | None:
    return ", then ".join(dict.fromkeys(grid.dtype for grid in grids)) or None

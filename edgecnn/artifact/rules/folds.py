"""What exporters compute shapes from (Shape, Gather, Concat, Mul, ...), computed beforehand on the few numbers that are known.

As runtimes do it: whole numbers stay in 32 bits or aren't followed, fractions are rounded to float32. A fold gives None, or raises one of
UNKNOWN, where it can't tell; that matters only if a size hangs on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from edgecnn.artifact.rules.moves import positions, shape_span, slices, split_sizes
from edgecnn.artifact.sizes import MAX_KNOWN, Batch, Call, Dims, Fault, Known, Number, constant, float32, product
from edgecnn.artifact.tensor_proto import Initializer

UNKNOWN = (TypeError, ValueError, LookupError, ArithmeticError, Fault)
_LARGEST = 1 << 31

Fold = Callable[[Call, Dims], Known | None]


def fold(call: Call, shapes: Sequence[Dims]) -> tuple[Known | None, ...]:
    """The numbers in each output, as far as they can be told. shapes: of the outputs."""
    node = call.node
    nothing = (None,) * len(shapes)
    if node.domain or (node.operator not in _FROM_SHAPES and not all(known is not None or shape is None for known, shape in _inputs(call))):
        return nothing
    shape = shapes[0]
    if any(isinstance(dim, Batch) for dim in shape) or math.prod(dim for dim in shape if isinstance(dim, int)) > MAX_KNOWN:
        return nothing
    try:
        if node.operator == "Split":
            return _split(call)
        rule = _FOLDS.get(node.operator)
        found = None if rule is None else rule(call, shape)
    except UNKNOWN:
        return nothing
    return (found, *nothing[1:])


def _inputs(call: Call) -> zip[tuple[Known | None, Dims | None]]:
    return zip(call.known, call.shapes, strict=True)


def _known(call: Call, at: int = 0) -> Known:
    found = call.known[at]
    if found is None:
        raise TypeError
    return found


def _made(items: Sequence[Number], shape: Dims) -> Known:
    """Raises ValueError for what doesn't fit 32 bits, where runtimes would go on in another way than Python."""
    checked = tuple(_rounded(item) for item in items)
    sizes = tuple(dim for dim in shape if isinstance(dim, int))
    if len(checked) != math.prod(sizes) or len(sizes) < len(shape):
        raise ValueError("another number of items")
    return Known(sizes, checked)


def _rounded(item: Number) -> Number:
    if isinstance(item, float):
        return float32(item)
    if isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
        raise ValueError("over 32 bits")
    return item


# what makes numbers


def _constant(call: Call, shape: Dims) -> Known | None:
    (value,) = call.node.attributes.values()
    if isinstance(value, Initializer):
        return constant(value)
    if isinstance(value, str) or (isinstance(value, tuple) and any(isinstance(item, str) for item in value)):
        return None
    items = value if isinstance(value, tuple) else (value,)
    return Known(tuple(dim for dim in shape if isinstance(dim, int)), tuple(item for item in items if not isinstance(item, str)))


def _shape(call: Call, shape: Dims) -> Known:
    first, end = shape_span(call)
    return _made(call.shape()[first:end], shape)


def _size(call: Call, shape: Dims) -> Known:
    return _made((product(call.shape()),), shape)


def _constant_of_shape(call: Call, shape: Dims) -> Known | None:
    value = call.attribute("value")
    if value is None:
        items: tuple[Number, ...] | None = (0.0,)
    else:
        items = value.numbers if isinstance(value, Initializer) else None
    return None if items is None else _made(items * math.prod(_whole(shape)), shape)


def _range(call: Call, shape: Dims) -> Known:
    (first,), (step,) = _known(call, 0).items, _known(call, 2).items
    if isinstance(first, Batch) or isinstance(step, Batch):
        raise TypeError
    return _made([first + at * step for at in range(_whole(shape)[0])], shape)


def _whole(shape: Dims) -> tuple[int, ...]:
    return tuple(dim for dim in shape if isinstance(dim, int))


# what moves numbers


def _same_items(call: Call, shape: Dims) -> Known:
    return Known(_whole(shape), _known(call).items)


def _taken(source: Known, picks: Sequence[Sequence[int]]) -> tuple[Number, ...]:
    """The items at these positions of each axis."""
    steps = [math.prod(source.shape[axis + 1 :]) for axis in range(len(source.shape))]
    return tuple(source.items[sum(at * step for at, step in zip(place, steps, strict=True))] for place in itertools.product(*picks))


def _gather(call: Call, shape: Dims) -> Known:
    source, indices = _known(call), _known(call, 1)
    axis = call.axis("axis", 0, len(source.shape))
    size = source.shape[axis]
    picks: list[Sequence[int]] = [range(dim) for dim in source.shape]
    chosen = [item for item in indices.items if type(item) is int]
    if len(chosen) < len(indices.items) or not all(-size <= at < size for at in chosen):
        raise ValueError("an index outside")
    picks[axis] = [at % size for at in chosen]
    return _made(_taken(source, picks), shape)


def _slice(call: Call, shape: Dims) -> Known:
    source = _known(call)
    picks: list[Sequence[int]] = [range(dim) for dim in source.shape]
    for axis, (first, end, step) in slices(call).items():
        if isinstance(first, Batch) or isinstance(end, Batch):
            raise TypeError
        picks[axis] = positions(source.shape[axis], first, end, step)
    return _made(_taken(source, picks), shape)


def _split(call: Call) -> tuple[Known | None, ...]:
    source, (axis, sizes) = _known(call), split_sizes(call)
    ends = itertools.accumulate(sizes)
    made = []
    for size, end in zip(sizes, ends, strict=True):
        picks = [range(end - size, end) if at == axis else range(dim) for at, dim in enumerate(source.shape)]
        made.append(Known(tuple(map(len, picks)), _taken(source, picks)))
    return tuple(made)


def _transpose(call: Call, shape: Dims) -> Known:
    source = _known(call)
    order = call.integers("perm") or tuple(reversed(range(len(source.shape))))
    steps = [math.prod(source.shape[axis + 1 :]) for axis in order]
    places = itertools.product(*(range(dim) for dim in _whole(shape)))
    return _made([source.items[sum(at * step for at, step in zip(place, steps, strict=True))] for place in places], shape)


def _concat(call: Call, shape: Dims) -> Known:
    axis = call.axis("axis", 0, len(shape))
    if axis:
        raise TypeError
    return _made([item for known in call.known if known is not None for item in known.items], shape)


def _expand(call: Call, shape: Dims) -> Known:
    source = _known(call)
    if len(source.items) == 1:
        return _made(source.items * math.prod(_whole(shape)), shape)
    if source.shape != shape:
        raise TypeError
    return source


# what computes


def _cast(call: Call, shape: Dims) -> Known | None:
    kinds: dict[int, Callable[[Number], Number]] = {1: _as_float, 6: _as_int, 7: _as_int, 9: _as_bool}
    kind = kinds.get(call.integer("to", 0))
    return None if kind is None else _made([kind(item) for item in _known(call).items], shape)


def _as_float(item: Number) -> Number:
    return item if isinstance(item, Batch) else float(item)


def _as_int(item: Number) -> Number:
    return item if isinstance(item, Batch) else int(item)


def _as_bool(item: Number) -> Number:
    return isinstance(item, Batch) or bool(item)


def _each(compute: Callable[..., Number]) -> Fold:
    """Number by number; an operand of one number goes with all."""

    def rule(call: Call, shape: Dims) -> Known:
        count = math.prod(_whole(shape))
        operands = [known for known in call.known if known is not None]
        if any(known.shape != shape and len(known.items) != 1 for known in operands):
            raise TypeError
        columns = [known.items * count if len(known.items) == 1 else known.items for known in operands]
        return _made([compute(*items) for items in zip(*columns, strict=True)], shape)

    return rule


def _divided(a: Number, b: Number) -> Number:
    if isinstance(a, Batch) or isinstance(b, Batch):
        return a // b  # type: ignore[operator]  # exact, or it raises
    if isinstance(a, float):
        return a / b
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if isinstance(a, Batch) and isinstance(b, int) and a.times % b == 0:
        return 0
    raise TypeError


def _equal(a: Number, b: Number) -> bool:
    """The batch is any number from 1 on, so it equals itself and none below 1."""
    if isinstance(a, Batch) == isinstance(b, Batch):
        if a != b and isinstance(a, Batch):
            raise TypeError  # multiples of it differ, too, but nothing asks that
        return a == b
    number = b if isinstance(a, Batch) else a
    if isinstance(number, Batch) or number >= 1:
        raise TypeError
    return False


def _greater(a: Number, b: Number) -> bool:
    if isinstance(a, Batch) and not isinstance(b, Batch) and b < 1:
        return True
    if isinstance(a, Batch) or isinstance(b, Batch):
        raise TypeError
    return a > b


def _or_equal(a: Number, b: Number) -> bool:
    if isinstance(a, Batch) and not isinstance(b, Batch) and b <= 1:
        return True
    if isinstance(a, Batch) or isinstance(b, Batch):
        raise TypeError
    return a >= b


def _extreme(choose: Callable[[Sequence[Any]], Any]) -> Callable[..., Number]:
    def compute(*items: Number) -> Number:
        if all(item == items[0] for item in items):
            return items[0]
        if any(isinstance(item, Batch) for item in items):
            raise TypeError
        found: Number = choose(items)
        return found

    return compute


def _round(direction: Callable[[float], int]) -> Fold:
    return _each(lambda item: item if isinstance(item, Batch) else float(direction(item)) if isinstance(item, float) else item)


def _reduced(compute: Callable[[Sequence[Any]], Any]) -> Fold:
    """All numbers to one."""

    def rule(call: Call, shape: Dims) -> Known:
        source = _known(call)
        if len(source.shape) > 1 or math.prod(_whole(shape)) != 1 or any(isinstance(item, float) for item in source.items):
            raise TypeError  # fractions are rounded in an order of the runtime's own
        return _made((compute(source.items),), shape)

    return rule


_FROM_SHAPES = frozenset({"Shape", "Size"})
_FOLDS: dict[str, Fold] = {
    "Abs": _each(abs),
    "Add": _each(lambda a, b: a + b),
    "And": _each(lambda a, b: bool(a) and bool(b)),
    "Cast": _cast,
    "Ceil": _round(math.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _each(_divided),
    "Equal": _each(_equal),
    "Expand": _expand,
    "Flatten": _same_items,
    "Floor": _round(math.floor),
    "Gather": _gather,
    "Greater": _each(_greater),
    "GreaterOrEqual": _each(_or_equal),
    "Identity": _same_items,
    "Less": _each(lambda a, b: _greater(b, a)),
    "LessOrEqual": _each(lambda a, b: _or_equal(b, a)),
    "Max": _each(_extreme(max)),
    "Min": _each(_extreme(min)),
    "Mod": _each(_remainder),
    "Mul": _each(lambda a, b: a * b),
    "Neg": _each(lambda a: -a),
    "Not": _each(lambda a: not a),
    "Or": _each(lambda a, b: bool(a) or bool(b)),
    "Range": _range,
    "ReduceMax": _reduced(max),
    "ReduceMin": _reduced(min),
    "ReduceProd": _reduced(math.prod),
    "ReduceSum": _reduced(sum),
    "Reshape": _same_items,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Sqrt": _each(math.sqrt),
    "Squeeze": _same_items,
    "Sub": _each(lambda a, b: a - b),
    "Transpose": _transpose,
    "Unsqueeze": _same_items,
    "Where": _each(lambda test, a, b: a if test else b),
}

"""Operators that make, cut, join, repeat and turn tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgecnn.artifact.sizes import Batch, Call, Dim, Dims, Fault, broadcast, coefficient, float32, power, product, shown, whole
from edgecnn.artifact.tensor_proto import Initializer

_END = (1 << 31) - 1
"""From here on an end of a slice means all, as exporters write it."""


def _constant(call: Call) -> tuple[Dims, ...]:
    attributes = call.node.attributes
    if len(attributes) != 1:
        raise Fault("has no value, or several")
    ((name, value),) = attributes.items()
    if isinstance(value, Initializer):
        return (value.shape,)
    if name in ("value_int", "value_float", "value_string"):
        return ((),)
    if name in ("value_ints", "value_floats", "value_strings") and isinstance(value, tuple):
        return ((len(value),),)
    raise Fault(f"has no value but {name[:40]!r}")


def _constant_of_shape(call: Call) -> tuple[Dims, ...]:
    return (_sizes(call, 0),)


def _sizes(call: Call, at: int) -> Dims:
    """A shape that an input states."""
    found = call.sizes(at, "shape")
    if any(isinstance(dim, int) and dim < 0 for dim in found):
        call.refuse("shape", found)
    return found


def _shape(call: Call) -> tuple[Dims, ...]:
    first, end = shape_span(call)
    return ((max(0, end - first),),)


def shape_span(call: Call) -> tuple[int, int]:
    """Which axes a Shape node tells of."""
    rank = len(call.shape())
    first, end = (min(max(at + rank if at < 0 else at, 0), rank) for at in (call.integer("start", 0), call.integer("end", rank)))
    return first, end


def _size(call: Call) -> tuple[Dims, ...]:
    call.shape()
    return ((),)


def _range(call: Call) -> tuple[Dims, ...]:
    first, limit, step = (call.numbers(at, what)[:1] for at, what in enumerate(("start", "limit", "delta")))
    numbers = (*first, *limit, *step)
    if first == (0,) and step == (1,) and len(limit) == 1 and isinstance(limit[0], Batch):
        return ((limit[0],),)
    if len(numbers) != 3 or any(isinstance(number, Batch) or not math.isfinite(number) for number in numbers) or not numbers[2]:
        call.refuse("range", numbers)
    start, stop, delta = (number for number in numbers if not isinstance(number, Batch))
    count = math.ceil(float32(stop - start) / delta) if isinstance(delta, float) else -(-(int(stop) - int(start)) // delta)
    return ((max(0, count),),)


def _eye_like(call: Call) -> tuple[Dims, ...]:
    if len(call.shape()) != 2:
        raise Fault(f"wants a matrix, its input is {shown(call.shape())}")
    return (call.shape(),)


def _one_hot(call: Call) -> tuple[Dims, ...]:
    shape, depth = call.shape(), call.one(1, "depth")
    if depth < 1:
        call.refuse("depth", depth)
    axis = call.axis("axis", -1, len(shape) + 1)
    return ((*shape[:axis], depth, *shape[axis:]),)


def _top_k(call: Call) -> tuple[Dims, ...]:
    shape = call.shape()
    axis, count = call.axis("axis", -1, len(shape)), call.one(1, "count")
    if not 0 <= count <= whole(shape[axis : axis + 1])[0]:
        call.refuse("count", count)
    found = (*shape[:axis], count, *shape[axis + 1 :])
    return (found, found)


def _reshape(call: Call) -> tuple[Dims, ...]:
    """0 copies an axis (unless allowzero), -1 takes what is left."""
    shape, wanted = call.shape(), call.sizes(1, "shape")
    if not call.integer("allowzero", 0):
        if any(dim == 0 and axis >= len(shape) for axis, dim in enumerate(wanted)):
            call.refuse("shape", wanted)
        wanted = tuple(shape[axis] if dim == 0 else dim for axis, dim in enumerate(wanted))
    if any(isinstance(dim, int) and dim < -1 for dim in wanted) or wanted.count(-1) > 1:
        call.refuse("shape", wanted)
    if -1 not in wanted:
        if (coefficient(shape), power(shape)) != (coefficient(wanted), power(wanted)):
            raise Fault(f"reshapes {shown(shape)} to {shown(wanted)}, which has another number of elements")
        return (wanted,)
    rest = tuple(dim for dim in wanted if dim != -1)
    count, left = divmod(coefficient(shape), coefficient(rest) or _END)
    powers = power(shape) - power(rest)
    if left or not coefficient(rest) or powers not in (0, 1):
        raise Fault(f"reshapes {shown(shape)} to {shown(wanted)}, which doesn't divide its elements")
    found: Dim = Batch(count) if powers and count else count
    return (tuple(found if dim == -1 else dim for dim in wanted),)


def _flatten(call: Call) -> tuple[Dims, ...]:
    shape = call.shape()
    axis = call.integer("axis", 1)
    axis = axis if axis == len(shape) else call.on(axis, len(shape))
    return ((product(shape[:axis]), product(shape[axis:])),)


def _squeeze(call: Call) -> tuple[Dims, ...]:
    shape, listed = call.shape(), call.listed("axes", 1)
    if listed is None:
        whole(shape)  # an open batch may be 1
        return (tuple(dim for dim in shape if dim != 1),)
    axes = {call.on(axis, len(shape)) for axis in listed}
    if any(shape[axis] != 1 for axis in axes):
        raise Fault(f"takes axes {shown(listed)} away from {shown(shape)}; they must have size 1")
    return (tuple(dim for axis, dim in enumerate(shape) if axis not in axes),)


def _unsqueeze(call: Call) -> tuple[Dims, ...]:
    shape, listed = call.shape(), call.listed("axes", 1) or ()
    rank = len(shape) + len(listed)
    axes, rest = call.axes(listed, rank), iter(shape)
    return (tuple(1 if axis in axes else next(rest) for axis in range(rank)),)


def _transpose(call: Call) -> tuple[Dims, ...]:
    shape = call.shape()
    order = call.integers("perm") or tuple(reversed(range(len(shape))))
    if sorted(order) != [*range(len(shape))]:
        call.refuse("perm", order)
    return (tuple(shape[axis] for axis in order),)


def _joined(shapes: list[Dims], axis: int) -> Dims:
    first = shapes[0]
    rest = (*first[:axis], *first[axis + 1 :])
    if any(len(shape) != len(first) or (*shape[:axis], *shape[axis + 1 :]) != rest for shape in shapes):
        raise Fault(f"joins {' and '.join(map(shown, shapes[:4]))} along axis {axis}, which don't fit together")
    along = [shape[axis] for shape in shapes]
    if 0 < power(along) < len(along):
        raise Fault("joins the batch with a number")
    total: Dim = Batch(sum(dim.times for dim in along if isinstance(dim, Batch))) if power(along) else sum(whole(along))
    return (*first[:axis], total, *first[axis + 1 :])


def _concat(call: Call) -> tuple[Dims, ...]:
    shapes = [call.shape(at) for at in range(len(call.shapes))]
    if not shapes:
        raise Fault("joins nothing")
    return (_joined(shapes, call.axis("axis", 0, len(shapes[0]))),)


def _quantized_concat(call: Call) -> tuple[Dims, ...]:
    """The result's scale and zero point, then each tensor with its own."""
    shapes = [call.shape(at) for at in range(2, len(call.shapes), 3)]
    if not shapes:
        raise Fault("joins nothing")
    return (_joined(shapes, call.axis("axis", 0, len(shapes[0]))),)


def split_sizes(call: Call) -> tuple[int, tuple[int, ...]]:
    """(along which axis, how much each output gets)."""
    shape, count = call.shape(), call.outputs()
    axis, sizes = call.axis("axis", 0, len(shape)), call.listed("split", 1)
    (along,) = whole(shape[axis : axis + 1])
    if sizes is None:
        if call.integer("num_outputs", count) != count:
            call.refuse("num_outputs", call.integer("num_outputs", count))
        each = -(-along // count)
        sizes = (*(each for _ in range(count - 1)), along - each * (count - 1))
    if len(sizes) != count or min(sizes) < 0 or sum(sizes) != along:
        raise Fault(f"splits {along} into {shown(sizes)} for {count} outputs")
    return axis, sizes


def _split(call: Call) -> tuple[Dims, ...]:
    shape, (axis, sizes) = call.shape(), split_sizes(call)
    return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)


def slices(call: Call) -> dict[int, tuple[Dim, Dim, int]]:
    """Axis -> (first, end, step) of a Slice, as its inputs or attributes say."""
    if call.has(1):
        starts, ends = call.sizes(1, "starts"), call.sizes(2, "ends")
        axes = call.whole(3, "axes") if call.has(3) else tuple(range(len(starts)))
        steps = call.whole(4, "steps") if call.has(4) else (1,) * len(starts)
    else:
        starts, ends = call.integers("starts") or (), call.integers("ends") or ()
        axes, steps = call.integers("axes") or tuple(range(len(starts))), (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Fault("has starts, ends, axes and steps of different number, or a step of 0")
    axes = call.axes(axes, len(call.shape()))
    return {axis: (starts[at], ends[at], steps[at]) for at, axis in enumerate(axes)}


def positions(size: int, first: int, end: int, step: int) -> range:
    """What a slice takes of an axis: counted from the end where negative, and cut where it reaches out."""
    if not size:
        return range(0)
    high = size if step > 0 else size - 1
    start, stop = (at + size if at < 0 else at for at in (first, end))
    return range(min(max(start, 0), high), min(max(stop, 0 if step > 0 else -1), high), step)


def _slice(call: Call) -> tuple[Dims, ...]:
    result = list(call.shape())
    for axis, (first, end, step) in slices(call).items():
        dim = result[axis]
        if isinstance(dim, int) and isinstance(first, int) and isinstance(end, int):
            result[axis] = len(positions(dim, first, end, step))
        elif isinstance(dim, Batch) and first == 0 and step == 1 and (end == dim or (isinstance(end, int) and end >= _END)):
            continue
        elif isinstance(dim, Batch) and (first, end, step) in ((0, 1, 1), (-1, _END, 1)):
            result[axis] = 1
        else:
            raise Fault(f"cuts {shown((first, end))} out of {shown((dim,))}, whose size depends on the batch")
    return (tuple(result),)


def _gather(call: Call) -> tuple[Dims, ...]:
    shape, indices = call.shape(), call.shape(1)
    axis = call.axis("axis", 0, len(shape))
    return ((*shape[:axis], *indices, *shape[axis + 1 :]),)


def _gather_elements(call: Call) -> tuple[Dims, ...]:
    if len(call.shape()) != len(call.shape(1)):
        raise Fault(f"has indices {shown(call.shape(1))} into {shown(call.shape())}")
    return (call.shape(1),)


def _gather_nd(call: Call) -> tuple[Dims, ...]:
    shape, indices = call.shape(), call.shape(1)
    shared = call.integer("batch_dims", 0)
    depth = whole(indices[-1:])[0] if indices else 0
    if not 0 <= shared < max(1, min(len(shape), len(indices))) or shape[:shared] != indices[:shared] or not 1 <= depth <= len(shape) - shared:
        raise Fault(f"has indices {shown(indices)} into {shown(shape)}")
    return ((*indices[:-1], *shape[shared + depth :]),)


def _expand(call: Call) -> tuple[Dims, ...]:
    return (broadcast(call.shape(), _sizes(call, 1)),)


def _tile(call: Call) -> tuple[Dims, ...]:
    shape, times = call.shape(), call.sizes(1, "repeats")
    if len(times) != len(shape) or any(isinstance(count, int) and count < 0 for count in times):
        call.refuse("repeats", times)
    return (tuple(product((dim, count)) for dim, count in zip(shape, times, strict=True)),)


def _pad(call: Call) -> tuple[Dims, ...]:
    """Negative pads cut."""
    shape, pads = call.shape(), call.listed("pads", 1)
    axes = call.axes(call.whole(3, "axes"), len(shape)) if call.has(3) else tuple(range(len(shape)))
    if pads is None or len(pads) != 2 * len(axes):
        call.refuse("pads", pads)
    result = list(shape)
    for at, axis in enumerate(axes):
        more = pads[at] + pads[at + len(axes)]
        if pads[at] or pads[at + len(axes)]:
            result[axis] = whole((result[axis],))[0] + more
    if any(isinstance(dim, int) and dim < 0 for dim in result):
        call.refuse("pads", pads)
    return (tuple(result),)


ONNX: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
MICROSOFT: dict[str, Callable[[Call], tuple[Dims, ...]]] = {"QLinearConcat": _quantized_concat}

"""What moves numbers and changes none: another shape, another order, parts and joins."""

from __future__ import annotations

import math

import numpy as np

from edgecnn.report.formulas import Array, Attributes, Formula, Inputs, given, the


def flatten(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """All axes from `axis` on in one row, all before it in one column."""
    x = the(inputs)
    axis = int(attributes.get("axis", 1))
    axis += x.ndim if axis < 0 else 0
    return (x.reshape(math.prod(x.shape[:axis]), -1),)


def reshape(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The second input's shape: -1 is what is left, 0 the axis as it was (unless allowzero)."""
    x, shape = the(inputs), [int(size) for size in the(inputs, 1)]
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return (x.reshape(shape),)


def squeeze(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """Without these axes of size 1, by default all such."""
    x, axes = the(inputs), given(inputs, 1)
    return (np.squeeze(x, None if axes is None else tuple(map(int, axes))),)


def unsqueeze(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """With new axes of size 1."""
    return (np.expand_dims(the(inputs), tuple(map(int, the(inputs, 1)))),)


def transpose(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The axes in the order `perm`, by default backwards."""
    return (np.transpose(the(inputs), attributes.get("perm")),)


def concat(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """One after the other along an axis."""
    return (np.concatenate([the(inputs, place) for place in range(len(inputs))], axis=int(attributes["axis"])),)


def split(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """Parts of the sizes in the second input; without one as many equal ones as num_outputs says, the last one smaller."""
    x, sizes = the(inputs), given(inputs, 1)
    axis = int(attributes.get("axis", 0))
    if sizes is not None:
        ends = np.cumsum(sizes)[:-1]
    else:
        step = -(-x.shape[axis] // int(attributes["num_outputs"]))
        ends = np.arange(step, x.shape[axis], step)
    return tuple(np.split(x, ends, axis=axis))


def slice_(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """starts, ends, axes and steps, as numpy understands them."""
    x, starts, ends = the(inputs), the(inputs, 1), the(inputs, 2)
    axes, steps = given(inputs, 3), given(inputs, 4)
    cut = [slice(None)] * x.ndim
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis, step = place if axes is None else int(axes[place]), 1 if steps is None else int(steps[place])
        # an end before the first one, going backwards, is beyond numpy's -1
        cut[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return (x[tuple(cut)],)


def pad(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """More numbers around it: a constant, the edge's, or mirrored."""
    x, pads, value, axes = the(inputs), the(inputs, 1).tolist(), given(inputs, 2), given(inputs, 3)
    around = [(0, 0)] * x.ndim
    half = len(pads) // 2
    for place, (before, behind) in enumerate(zip(pads[:half], pads[half:], strict=True)):
        around[place if axes is None else int(axes[place])] = (before, behind)
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return (np.pad(x, around, constant_values=0 if value is None else value.item()),)
    return (np.pad(x, around, mode=mode),)


FORMULAS: dict[str, Formula] = {
    "Concat": concat,
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}

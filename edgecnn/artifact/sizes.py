"""Sizes that are known before anything runs: whole numbers, and multiples of an open batch."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edgecnn.artifact.model_proto import Node
from edgecnn.artifact.tensor_proto import Initializer

MAX_KNOWN = 64
"""Elements of a tensor whose numbers are followed: shapes, axes, pads and what exporters compute them from."""
MAX_WINDOW = 1 << 16
"""Of a kernel, stride, dilation or padding, along an axis."""

MAX_COLUMNS = 1 << 30
"""Numbers that a convolution may unroll its input into, for one image: 1 GiB in int8."""


class Fault(Exception):
    """Why a node's sizes can't be told, or must not be: a clause that follows the node's name."""


class TooLarge(Fault):
    """A fault that no simplification mends."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`times` times the open batch, which is at least 1. What isn't a multiple of the batch can't be said, and raises TypeError or ValueError."""

    times: int

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError("a multiple of the batch is positive")

    def __mul__(self, other: int | float) -> Batch:
        if isinstance(other, Batch) or other != int(other):
            raise TypeError("the square or a fraction of the batch")
        return Batch(self.times * int(other))

    __rmul__ = __mul__

    def __add__(self, other: int | Batch) -> Batch:
        if isinstance(other, Batch):
            return Batch(self.times + other.times)
        if other == 0:
            return self
        raise TypeError("the batch and a number")

    __radd__ = __add__

    def __sub__(self, other: int | Batch) -> int | Batch:
        if isinstance(other, Batch):
            return Batch(self.times - other.times) if self != other else 0
        return self + -other

    def __floordiv__(self, other: int | Batch) -> int | Batch:
        """Exact, or ValueError."""
        by = other.times if isinstance(other, Batch) else other
        whole, rest = divmod(self.times, by)
        if rest:
            raise ValueError("a fraction of the batch")
        return whole if isinstance(other, Batch) else Batch(whole)


Dim = int | Batch
Dims = tuple[Dim, ...]
Number = int | float | bool | Batch


@dataclass(frozen=True, slots=True)
class Known:
    """A small tensor whose numbers are known: its shape, and its items in C order."""

    shape: tuple[int, ...]
    items: tuple[Number, ...]


def coefficient(dims: Iterable[Dim]) -> int:
    """Elements for a batch of one."""
    return math.prod(dim if isinstance(dim, int) else dim.times for dim in dims)


def power(dims: Iterable[Dim]) -> int:
    """How many of the axes are multiples of the batch."""
    return sum(isinstance(dim, Batch) for dim in dims)


def product(dims: Sequence[Dim]) -> Dim:
    """Of sizes, of which at most one is a multiple of the batch. Raises Fault."""
    count = coefficient(dims)
    if power(dims) > 1:
        raise Fault(f"makes a size of {shown(dims)} multiplied, which grows faster than the batch")
    return Batch(count) if power(dims) and count else count


def whole(dims: Sequence[Dim]) -> tuple[int, ...]:
    """The same sizes, none of which depends on the batch. Raises Fault."""
    found = tuple(dim for dim in dims if isinstance(dim, int))
    if len(found) < len(dims):
        raise Fault(f"has {shown(dims)} where sizes were wanted that don't depend on the batch")
    return found


def broadcast(*shapes: Dims) -> Dims:
    """The shape that these come to (https://onnx.ai/onnx/repo-docs/Broadcasting.html). Raises Fault."""
    longest = max(shapes, key=len)
    if all(shape == longest for shape in shapes):
        return longest
    rank = len(longest)
    result = list(longest)
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = dim
            elif dim not in (1, result[axis]):
                raise Fault(f"has operands of {' and '.join(map(shown, shapes))}, which don't fit together")
    return tuple(result)


def float32(number: float) -> float:
    """Rounded as runtimes do. Raises Fault where it is over what float32 holds."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        raise Fault(f"has a number, {number:g}, that float32 can't hold") from None


def shown(dims: Sequence[object]) -> str:
    texts = (("batch" if dim.times == 1 else f"{dim.times}*batch") if isinstance(dim, Batch) else "?" if dim is None else str(dim) for dim in dims)
    return f"[{', '.join(texts)}]"


class Call:
    """A node as a rule sees it: what is known of its inputs, and its attributes, checked for their types. Every accessor raises Fault."""

    __slots__ = ("known", "node", "opset", "shapes")

    def __init__(self, node: Node, shapes: Sequence[Dims | None], known: Sequence[Known | None], opset: int) -> None:
        """shapes, known: one for each input; shapes has None for one that is left out, known for one whose numbers aren't known."""
        self.node, self.shapes, self.known, self.opset = node, shapes, known, opset

    def has(self, at: int) -> bool:
        return at < len(self.shapes) and self.shapes[at] is not None

    def shape(self, at: int = 0) -> Dims:
        shape = self.shapes[at] if at < len(self.shapes) else None
        if shape is None:
            raise Fault(f"lacks its input {at}")
        return shape

    def numbers(self, at: int, what: str) -> tuple[Number, ...]:
        """The numbers that the input `at` holds; `what` is what they say."""
        self.shape(at)
        known = self.known[at]
        if known is None:
            raise Fault(f"takes its {what} from what is computed when it runs, so its size can't be told beforehand")
        return known.items

    def sizes(self, at: int, what: str) -> Dims:
        """`numbers` that are no fractions."""
        found = self.numbers(at, what)
        if any(isinstance(item, float) for item in found):
            raise Fault(f"has a {what} of fractions")
        return tuple(item if isinstance(item, Batch) else int(item) for item in found)

    def whole(self, at: int, what: str) -> tuple[int, ...]:
        """`sizes` that don't depend on the batch."""
        return whole(self.sizes(at, what))

    def one(self, at: int, what: str) -> int:
        found = self.whole(at, what)
        if len(found) != 1:
            self.refuse(what, found)
        return found[0]

    def attribute(self, name: str) -> Any:
        return self.node.attributes.get(name)

    def integer(self, name: str, default: int) -> int:
        value = self.attribute(name)
        if value is None:
            return default
        if type(value) is not int:
            self.refuse(name, value)
        return value

    def text(self, name: str, default: str) -> str:
        value = self.attribute(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.refuse(name, value)
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        value = self.attribute(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or not all(type(item) is int for item in value):
            self.refuse(name, value)
        return value

    def listed(self, name: str, at: int) -> tuple[int, ...] | None:
        """Whole numbers that an attribute holds, or an input in newer operators; None where neither is given."""
        if self.has(at):
            return self.whole(at, name)
        return self.integers(name)

    def axis(self, name: str, default: int, rank: int) -> int:
        return self.on(self.integer(name, default), rank, name)

    def axes(self, found: Sequence[int], rank: int) -> tuple[int, ...]:
        """Axes counted from 0, each once."""
        axes = tuple(self.on(axis, rank, "axes") for axis in found)
        if len(set(axes)) < len(axes):
            self.refuse("axes", found)
        return axes

    def on(self, axis: int, rank: int, name: str = "axis") -> int:
        if not -rank <= axis < rank:
            raise Fault(f"has {name} {axis} of a tensor of {rank} axes")
        return axis % rank

    def outputs(self) -> int:
        return len(self.node.outputs)

    def refuse(self, what: str, found: object) -> NoReturn:
        text = shown(found) if isinstance(found, tuple) else repr(found)
        raise Fault(f"has {what} {text[:100]}, which makes no sense there")


def constant(tensor: Initializer) -> Known | None:
    """A constant's numbers, where they were read."""
    return None if tensor.numbers is None else Known(tensor.shape, tensor.numbers)

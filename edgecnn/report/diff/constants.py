"""The constants of a graph as numbers: dequantized, a bounded piece at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.tensor_data import element_bytes
from edgecnn.artifact.tensor_proto import Initializer

PIECE = 1 << 20
"""Elements that are dequantized at a time."""

SHOWN = 8
"""Numbers of a setting that are shown; of more, how many there are."""

# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto , TensorProto.DataType
_PLAIN = ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
_NUMPY = {name: np.dtype(name).newbyteorder("<") for name in _PLAIN}
_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767), "uint4": (0, 15), "int4": (-8, 7)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The values that a quantized tensor may have: (integer - zero) * scale, `dtype` being the integers'.

    scale, zero: one for all, or one for each index of `axis`; empty where they are measured anew for each input.
    """

    dtype: str
    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int | None = None

    @property
    def low(self) -> float | None:
        """The least value, where one scale is for all and it is known."""
        return None if len(self.scale) != 1 or self.dtype not in _RANGES else (_RANGES[self.dtype][0] - self.zero[0]) * self.scale[0]

    @property
    def high(self) -> float | None:
        return None if len(self.scale) != 1 or self.dtype not in _RANGES else (_RANGES[self.dtype][1] - self.zero[0]) * self.scale[0]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Constant:
    """A tensor that is the same for every input. name: the stored tensor's; model: the bytes of the graph that it lies in.

    numbers: where a node's attribute gives it; grid: what its integers stand for; rounded: the grids that its floats are rounded to, in turn;
    cast: the dtype that it is turned into; transposed: its two axes are read the other way round; digests: of this graph's tensors, as far as read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    model: bytes = field(repr=False)
    tensor: Initializer | None = None
    numbers: tuple[int | float, ...] | None = None
    digests: dict[tuple[int, int], str] = field(default_factory=dict, repr=False)
    grid: Grid | None = None
    rounded: tuple[Grid, ...] = ()
    cast: str | None = None
    transposed: bool = False

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def as_read(self) -> tuple[int, ...]:
        """The shape that the layer sees."""
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def stored(self) -> str:
        """How it is stored, in words: "float32", "int8, 16 scales"."""
        if self.grid is None:
            return self.dtype
        scales = len(self.grid.scale)
        return f"{self.dtype}, {'1 scale' if scales == 1 else f'{scales} scales'}"

    def raw(self) -> NDArray[Any] | None:
        """The stored elements in C order as the layer sees them, not dequantized; None where they aren't in the file or of no known kind."""
        found = self._read()
        if found is None or not self.transposed:
            return found
        return np.ascontiguousarray(found.reshape(self.shape).T).reshape(-1)

    def _read(self) -> NDArray[Any] | None:
        if self.tensor is None:
            return np.array(self.numbers, dtype=_NUMPY.get(self.dtype, np.dtype(np.float64)))
        data = element_bytes(self.model, self.tensor)
        if data is None:
            return None
        if self.dtype in _NUMPY:
            return np.frombuffer(data, dtype=_NUMPY[self.dtype])
        if self.dtype == "bfloat16":
            return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
        if self.dtype in ("int4", "uint4"):
            return _nibbles(np.frombuffer(data, dtype=np.uint8), self.elements, signed=self.dtype == "int4")
        return None

    def pieces(self) -> Iterator[NDArray[np.float64]] | None:
        """The values that the layer computes with, in C order, PIECE at a time; None where they can't be told."""
        raw, grid = self.raw(), self.grid
        if raw is None or raw.dtype.kind == "c" or not _fits(grid, self.shape):
            return None
        if grid is not None and grid.axis is not None and self.transposed:
            grid = Grid(dtype=grid.dtype, scale=grid.scale, zero=grid.zero, axis=1 - grid.axis)
        return self._values(raw, grid)

    def _values(self, raw: NDArray[Any], grid: Grid | None) -> Iterator[NDArray[np.float64]]:
        inner = math.prod(self.as_read[grid.axis + 1 :]) if grid is not None and grid.axis is not None else 1
        for start in range(0, len(raw), PIECE):
            piece = raw[start : start + PIECE].astype(np.float64)
            if grid is not None:
                at = np.arange(start, start + len(piece)) // inner % len(grid.scale) if grid.axis is not None else 0
                piece = (piece - np.array(grid.zero, dtype=np.float64)[at]) * np.array(grid.scale)[at]
            for step in self.rounded:
                piece = _rounded(piece, step)
            if self.cast is not None and self.cast in _NUMPY:
                with np.errstate(all="ignore"):
                    piece = piece.astype(_NUMPY[self.cast]).astype(np.float64)
            yield piece

    def key(self) -> Any:
        """The same for constants of one graph that hold the same because they are the same."""
        return (self.tensor.span if self.tensor is not None else self.numbers, self.grid, self.rounded, self.cast, self.transposed)

    def digest(self) -> str | None:
        """The same for constants that are stored alike and stand for the same; None where that can't be told."""
        stored = self._stored_digest()
        if stored is None:
            return None
        return hashlib.sha256(repr((stored, self.dtype, self.as_read, self.grid, self.rounded, self.cast)).encode()).hexdigest()

    def _stored_digest(self) -> str | None:
        span = self.tensor.span if self.tensor is not None and not self.transposed else None
        if span is not None and span in self.digests:
            return self.digests[span]
        raw = self.raw()
        if raw is None:
            return None
        found = hashlib.sha256(raw.tobytes()).hexdigest()
        if span is not None:
            self.digests[span] = found
        return found

    def shown(self) -> Any:
        """Its values as plain numbers where they are few, else what it is, in words."""
        if self.elements > SHOWN:
            return f"{self.dtype} {list(self.shape)}, sha256 {(self._stored_digest() or 'unknown')[:12]}"
        raw = self.raw()
        if raw is None:
            return f"{self.dtype} {list(self.shape)}, not in the file"
        values = raw.tolist()
        return values if self.shape else values[0]


def _fits(grid: Grid | None, shape: tuple[int, ...]) -> bool:
    """Whether a scale is there for each element."""
    if grid is None:
        return True
    if not grid.scale or len(grid.scale) != len(grid.zero):
        return False
    return len(grid.scale) == 1 if grid.axis is None else 0 <= grid.axis < len(shape) and shape[grid.axis] == len(grid.scale)


def _nibbles(data: NDArray[np.uint8], count: int, *, signed: bool) -> NDArray[Any]:
    """Two elements a byte, the lower half first."""
    halves = np.stack([data & 0xF, data >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8) if signed else halves


def _rounded(values: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Quantized and back, with one scale for all. Halves go to the even integer, as QuantizeLinear says."""
    if len(grid.scale) != 1 or grid.dtype not in _RANGES or not grid.scale[0]:
        return values
    low, high = _RANGES[grid.dtype]
    result: NDArray[np.float64] = (np.clip(np.rint(values / grid.scale[0]) + grid.zero[0], low, high) - grid.zero[0]) * grid.scale[0]
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Apart:
    """How far two constants of one shape are apart. relative: ||a - b|| / ||a||, the root of the sums of squares, None where a is nothing but
    zeros or it is no number; largest: of |a - b|; changed: elements that differ, NaN and infinities among them."""

    relative: float | None
    largest: float | None
    changed: int
    elements: int


def apart(a: Constant, b: Constant) -> Apart | None:
    """From `a` to `b`, which have one shape as they are read; None where the values of either can't be told."""
    first, second = a.pieces(), b.pieces()
    if first is None or second is None or a.as_read != b.as_read:
        return None
    squares, total, largest, changed = 0.0, 0.0, 0.0, 0
    with np.errstate(all="ignore"):
        for x, y in zip(first, second, strict=True):
            different = (x != y) & ~(np.isnan(x) & np.isnan(y))
            changed += int(np.count_nonzero(different))
            step = np.where(different, x - y, 0.0)
            squares += float(np.sum(step * step))
            total += float(np.sum(x * x))
            largest = max(largest, float(np.abs(step).max(initial=0.0)) if not np.isnan(step).any() else math.inf)
        relative = 0.0 if not changed else math.sqrt(squares) / math.sqrt(total) if total > 0 else math.inf
    return Apart(
        relative=relative if math.isfinite(relative) else None,
        largest=largest if math.isfinite(largest) else None,
        changed=changed,
        elements=a.elements,
    )

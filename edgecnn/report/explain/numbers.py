"""The numbers that a page carries, so that a reader can see each one come about: as few bytes as they need, and no more than a page should have.

A tensor is embedded as integers with a scale where the graph has it so, else as float32. What a script can compute again to the bit from what is
there already (ReLU, maxima, roundings, additions) isn't embedded at all.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecnn.report.formulas import Array

BUDGET = 2_600_000
"""Bytes of numbers in a page, before base64 makes a third more of them."""
POINTS = 16_000

Json = dict[str, Any]

_KINDS: dict[str, Any] = {"u1": np.uint8, "i1": np.int8, "i4": np.int32, "f4": np.float32}


def cube(array: Array, rank: int | None = None) -> Array | None:
    """One input's numbers as (channels, height, width), (numbers, 1, 1) or (1, rows, columns); None for more axes.

    rank: of the tensor that a constant is broadcast to.
    """
    if rank is not None and array.ndim < rank:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if array.ndim > 4:
        return None
    one: Array = array[0] if array.ndim in (2, 4) else array[:1] if array.ndim == 3 else array
    return one if one.ndim == 3 else one.reshape(-1, 1, 1)


def packed(array: Array, *, scale: list[float] | None = None, zero: list[int] | None = None, axis: int = 0) -> Json:
    """A tensor as JSON: its shape and its numbers in base64, little-endian.

    scale, zero: where they are integers that stand for (integer - zero) * scale, one for all or one for each index of `axis`.
    """
    kind = next((name for name, dtype in _KINDS.items() if array.dtype == dtype), "f4")
    data = np.ascontiguousarray(array, dtype=np.dtype(_KINDS[kind]).newbyteorder("<"))
    found: Json = {"shape": list(array.shape), "type": kind, "data": base64.b64encode(data.tobytes()).decode()}
    return found if scale is None else {**found, "scale": scale, "zero": zero or [0], "axis": axis}


@dataclass(kw_only=True, slots=True)
class Numbers:
    """What is embedded so far. left: bytes that may still be; points: of a stage whose numbers don't fit, those of a few places."""

    left: int = BUDGET
    points: int = POINTS
    tensors: dict[str, Json] = field(default_factory=dict)

    def fits(self, *wanted: tuple[str, Json]) -> bool:
        """Embed all of these that aren't yet, or none where they don't fit."""
        new = {name: tensor for name, tensor in wanted if name not in self.tensors}
        cost = sum(len(tensor["data"]) * 3 // 4 for tensor in new.values())
        if cost > self.left:
            return False
        self.left -= cost
        self.tensors.update(new)
        return True

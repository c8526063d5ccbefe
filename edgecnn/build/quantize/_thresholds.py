"""From what a tensor's values are to the range that 256 levels are laid over. Values beyond its ends are saturated.

minmax takes all of them. The others give up the rarest for finer steps: percentile by their share, entropy so that the distribution is kept
best (Migacz, "8-bit inference with TensorRT", GTC 2017, for ranges of two ends), mse so that the values are. Zeros count for none of the last two:
a level always stands on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.build.quantize._ranges import Statistics

Method = Literal["minmax", "percentile", "entropy", "mse"]
Range = tuple[float, float]
_Floats = NDArray[np.float64]
_Loss = Callable[[_Floats, _Floats], _Floats]
"""Of each of some ranges, given by their ends."""

_STEPS = 255
_SHRINK = np.arange(64, 3, -1) / 64
"""What an end is tried at, as a share of the extreme."""


def ranges_of(statistics: Statistics, method: Method, *, percentile: float) -> Mapping[str, Range]:
    """The range of each tensor. percentile: the share of the values, in %, that lies within it, with half of the rest beyond each end."""
    found: dict[str, Range] = {}
    for row, name in enumerate(statistics.names):
        low, high = float(statistics.low[row]), float(statistics.high[row])
        if method != "minmax" and low < high:
            assert statistics.counts is not None
            assert statistics.zeros is not None
            counts = statistics.counts[row]
            if method == "percentile":
                low, high = _percentile(counts, int(statistics.zeros[row]), low, high, percentile)
            elif counts.any():
                low, high = _search((_entropy if method == "entropy" else _squares)(counts, low, high), low, high)
        found[name] = (low, high)
    return found


def _percentile(counts: NDArray[np.int64], zeros: int, low: float, high: float, percentile: float) -> Range:
    edges = np.linspace(low, high, len(counts) + 1)
    whole = counts.copy()
    whole[np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(counts) - 1)] += zeros
    beyond = whole.sum() * (100 - percentile) / 200
    first = int(np.argmax(np.cumsum(whole) > beyond))
    last = len(counts) - 1 - int(np.argmax(np.cumsum(whole[::-1]) > beyond))
    return float(edges[first]), float(edges[last + 1])


def _search(loss: _Loss, low: float, high: float) -> Range:
    """The range within low and high, and 0, of the least loss: both ends shrunk alike first, then one after the other."""
    low, high = min(low, 0.0), max(high, 0.0)
    best = _SHRINK[int(np.argmin(loss(low * _SHRINK, high * _SHRINK)))]
    start, end = low * best, high * best
    for _ in range(2 if low < 0 < high else 0):
        ends = high * _SHRINK
        end = float(ends[int(np.argmin(loss(np.full_like(ends, start), ends)))])
        starts = low * _SHRINK
        start = float(starts[int(np.argmin(loss(starts, np.full_like(starts, end))))])
    return float(start), float(end)


def _values(counts: NDArray[np.int64], low: float, high: float) -> tuple[_Floats, _Floats]:
    """The middles of the bins that hold something, and how much."""
    width = (high - low) / len(counts)
    held = np.flatnonzero(counts)
    middles: _Floats = low + (held.astype(np.float64) + 0.5) * width
    return middles, counts[held].astype(np.float64)


def _levels(values: _Floats, low: float, high: float) -> tuple[_Floats, float, float]:
    """Each value's level, 0 to 255, with the scale and zero point that onnxruntime gives the range."""
    scale = (high - low) / _STEPS
    zero = np.rint(-low / scale)
    return np.clip(np.rint(values / scale) + zero, 0, _STEPS), scale, zero


def _squares(counts: NDArray[np.int64], low: float, high: float) -> _Loss:
    values, weights = _values(counts, low, high)

    def loss(lows: _Floats, highs: _Floats) -> _Floats:
        found = []
        for start, end in zip(lows, highs, strict=True):
            levels, scale, zero = _levels(values, start, end)
            found.append(np.square((levels - zero) * scale - values) @ weights)
        return np.array(found)

    return loss


def _entropy(counts: NDArray[np.int64], low: float, high: float) -> _Loss:
    """The Kullback-Leibler divergence of the bins' distribution, with what lies beyond added to the last ones, from the levels' spread over
    the bins that they stand for."""
    values, weights = _values(counts, low, high)

    def loss(lows: _Floats, highs: _Floats) -> _Floats:
        found = []
        for start, end in zip(lows, highs, strict=True):
            inside = np.flatnonzero((values >= start) & (values <= end))
            if not len(inside):
                found.append(np.inf)
                continue
            kept = weights[inside]
            levels = _levels(values[inside], start, end)[0].astype(np.intp)
            spread = (np.bincount(levels, kept) / np.maximum(np.bincount(levels), 1))[levels]
            kept[0] += weights[: inside[0]].sum()
            kept[-1] += weights[inside[-1] + 1 :].sum()
            p, q = kept / kept.sum(), spread / spread.sum()
            found.append(float(np.sum(p * np.log(p / q))))
        return np.array(found)

    return loss

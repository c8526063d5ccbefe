"""How far scores can be taken for probabilities: reliability diagrams and the expected calibration error.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), "On Calibration of Modern Neural Networks", ICML, arXiv:1706.04599, section 2: predictions fall
into M bins of equal width by their confidence; with acc(B) the share of bin B that is right and conf(B) its mean confidence,
ECE = sum over B of |B| / n * |acc(B) - conf(B)|, and MCE = max over B of |acc(B) - conf(B)|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgecnn.device.statistics import wilson

BINS = 15
"""As in the paper's figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Predictions whose confidence lies above `low` and is at most `high` (the first bin has 0, too): how many, how many of them right, and their
    mean confidence, 0 where there are none."""

    low: float
    high: float
    count: int
    right: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """Share that is right; 0 where there are none."""
        return self.right / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson(self.right, self.count)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """bins cover 0 to 1 in ascending order and hold at least one prediction in all."""

    bins: tuple[Bin, ...]

    def __post_init__(self) -> None:
        if not self.count:
            raise ValueError("no predictions have no calibration")

    @property
    def count(self) -> int:
        return sum(bin.count for bin in self.bins)

    @property
    def accuracy(self) -> float:
        return sum(bin.right for bin in self.bins) / self.count

    @property
    def confidence(self) -> float:
        """The mean of all."""
        return sum(bin.count * bin.confidence for bin in self.bins) / self.count

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1."""
        return sum(bin.count * abs(bin.accuracy - bin.confidence) for bin in self.bins) / self.count

    @property
    def mce(self) -> float:
        """Maximum calibration error, 0 to 1."""
        return max(abs(bin.accuracy - bin.confidence) for bin in self.bins if bin.count)

    @property
    def ece_by_chance(self) -> float:
        """About the ECE that perfectly calibrated scores like these show, because each bin holds so few: a bin's accuracy is then normal around its
        confidence c with variance c (1 - c) / |B|, and the mean of its distance from there is sqrt(2 / pi) standard deviations."""
        spread = (bin.count * math.sqrt(bin.confidence * (1 - bin.confidence) / bin.count) for bin in self.bins if bin.count)
        return math.sqrt(2 / math.pi) * sum(spread) / self.count


def reliability(confidences: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """confidences: (n,), 0 to 1, of predictions; right: bool (n,), which of them came true.

    Raises ValueError for no predictions, unequal lengths, and what is no number from 0 to 1.
    """
    scores, came_true = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=bool)
    if scores.ndim != 1 or scores.shape != came_true.shape:
        raise ValueError(f"confidences of shape {scores.shape} don't fit outcomes of shape {came_true.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN is neither
        raise ValueError("confidences must lie between 0 and 1")
    if bins < 1:
        raise ValueError(f"{bins} bins hold nothing")
    edges = np.arange(bins + 1) / bins
    at = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts, hits = np.bincount(at, minlength=bins), np.bincount(at, weights=came_true, minlength=bins)
    sums = np.bincount(at, weights=scores, minlength=bins)
    return Reliability(
        bins=tuple(
            Bin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                count=int(counts[i]),
                right=int(hits[i]),
                confidence=float(min(1.0, sums[i] / counts[i])) if counts[i] else 0.0,
            )
            for i in range(bins)
        )
    )


def mean_ece(labels: Sequence[Reliability]) -> float:
    """Of several labels that are decided each for itself, or of all decisions. Raises ValueError for none."""
    if not labels:
        raise ValueError("no labels have no calibration")
    return sum(one.ece for one in labels) / len(labels)

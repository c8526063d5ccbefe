"""How sure a figure is: intervals for shares, for the difference of two models on the same images, and percentiles that samples support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals."""

SAMPLES_BEYOND = 10
"""Least number of samples on the far side of a percentile before it is worth stating."""


def wilson(correct: int, count: int) -> tuple[float, float]:
    """(low, high) of the 95 % interval of a share, `correct` of `count`, between 0 and 1; (0, 1) where nothing was counted.

    E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22:209-212: the score interval,
    which stays sensible near 0 and 1. Raises ValueError unless 0 <= correct <= count.
    """
    if not 0 <= correct <= count:
        raise ValueError(f"{correct} of {count} is no share")
    if count == 0:
        return 0.0, 1.0
    share, z2 = correct / count, Z95 * Z95
    scale = 1 + z2 / count
    middle = (share + z2 / (2 * count)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # at the ends the formula gives 0 and 1 but for the last bit
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == count else min(1.0, middle + half)
    return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """Accuracy of model b less that of model a on the same images, in percentage points: below 0, b is the worse.

    points: the difference; low, high: its 95 % interval; count: images; only_a, only_b: images that this model alone got right.
    """

    points: float
    low: float
    high: float
    count: int
    only_a: int
    only_b: int


def paired_difference(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedDifference:
    """How much better model b is than model a, from which of the same images (count,) each got right.

    The interval is T. Tango's asymptotic score interval (1998), "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17:891-908, one of those that Fagerland, Lydersen and Laake
    (2014, Statistics in Medicine 33:2850-2875) recommend: it holds its level where the models hardly ever differ, and where they
    never do it still has a width. Without images it is -100 to 100. Raises ValueError unless both have the same length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"answers of shapes {a.shape} and {b.shape} are no pairs")
    count, only_a, only_b = len(a), int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if count == 0:
        return PairedDifference(points=0.0, low=-100.0, high=100.0, count=0, only_a=0, only_b=0)
    return PairedDifference(
        points=100 * (only_b - only_a) / count,
        low=-100 * _tango_upper(only_a, only_b, count),
        high=100 * _tango_upper(only_b, only_a, count),
        count=count,
        only_a=only_a,
        only_b=only_b,
    )


def _tango_upper(gains: int, losses: int, count: int) -> float:
    """The upper limit of (gains - losses) / count: where Tango's score statistic has fallen to -Z95, by bisection."""
    low, high = (gains - losses) / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _tango_statistic(middle, gains, losses, count) > -Z95:
            low = middle
        else:
            high = middle
    return high


def _tango_statistic(difference: float, gains: int, losses: int, count: int) -> float:
    """Tango's statistic for a true `difference`; `loss_share` is the constrained maximum-likelihood estimate of the share of losses."""
    a = 2 * count
    b = -gains - losses + (2 * count - gains + losses) * difference
    c = -losses * difference * (1 - difference)
    loss_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = count * (2 * loss_share + difference * (1 - difference))
    excess = gains - losses - count * difference
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The `percent`-th percentile (50 to 99) of samples in ascending order, or None where fewer than ten of them lie beyond it.

    By nearest rank, so it is a sample that was taken (definition 1 of Hyndman and Fan, 1996, The American Statistician 50:361-365).
    """
    if not 50 <= percent <= 99:
        raise ValueError(f"percent {percent} must lie between 50 and 99")
    rank = -(-len(ordered) * percent // 100)
    return ordered[rank - 1] if len(ordered) - rank >= SAMPLES_BEYOND else None

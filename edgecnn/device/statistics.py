"""How sure a figure is: intervals for shares, medians and the difference of two models on the same images; percentiles that samples support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals."""

Z80 = 0.8416212335729143
"""The 80 % quantile of the standard normal distribution: a power of 80 %."""

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
    return counted_difference(len(a), only_a=int(np.sum(a & ~b)), only_b=int(np.sum(b & ~a)))


def counted_difference(count: int, *, only_a: int, only_b: int) -> PairedDifference:
    """`paired_difference` from counts: of `count` images, those that one model alone got right. Raises ValueError for counts that can't be."""
    if min(only_a, only_b) < 0 or only_a + only_b > count:
        raise ValueError(f"{only_a} and {only_b} of {count} images can't be right in one model alone")
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
    """Tango's statistic for a true `difference`."""
    variance = count * (2 * _loss_share(difference, gains, losses, count) + difference * (1 - difference))
    excess = gains - losses - count * difference
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def _loss_share(difference: float, gains: float, losses: float, count: float) -> float:
    """The maximum-likelihood estimate of the share of losses where the true share of gains less that of losses is `difference`."""
    a = 2 * count
    b = -gains - losses + (2 * count - gains + losses) * difference
    c = -losses * difference * (1 - difference)
    return (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)


def mcnemar(difference: PairedDifference) -> float:
    """How likely a difference at least as large is, both ways, where the models are equally good: 1 where they were never apart.

    The exact test on the images that one model alone got right, which are then heads or tails: Q. McNemar (1947), "Note on the sampling
    error of the difference between correlated proportions or percentages", Psychometrika 12:153-157, with the binomial distribution.
    """
    return min(1.0, 2 * _heads_at_most(min(difference.only_a, difference.only_b), difference.only_a + difference.only_b))


def _heads_at_most(most: int, tosses: int) -> float:
    """The probability of `most` heads or fewer in fair tosses, exact but for the last rounding."""
    ways = term = 1
    for k in range(most):
        term = term * (tosses - k) // (k + 1)
        ways += term
    return float(ways / 2**tosses)


Finding = Literal["holds", "fails", "inconclusive"]


def judge_drop(difference: PairedDifference, most: float) -> Finding:
    """Whether model b is at most `most` percentage points worse than model a.

    "holds" where all of the 95 % interval says so; "fails" where more was lost on these images; else "inconclusive", as it is without images.
    Raises ValueError unless `most` is above 0 and at most 100.
    """
    _check_drop(most)
    if difference.count == 0:
        return "inconclusive"
    if difference.low > -most:
        return "holds"
    return "fails" if difference.points < -most else "inconclusive"


def images_needed(difference: PairedDifference, most: float) -> int | None:
    """How many images would most likely (in 80 of 100 draws) show that no more than `most` points are lost, if the models differ as often and
    as far on all images as on these; None where no number would, because on these `most` points or more are lost.

    J. Nam (1997), "Establishing equivalence of two treatments and sample size requirements in matched-pairs design", Biometrics
    53:1422-1430: the power of the score test whose interval `paired_difference` gives. Where no image told the models apart, the
    share of images that do is taken to be as large as Wilson's interval lets it. Raises ValueError as `judge_drop` does.
    """
    _check_drop(most)
    count, only_a, only_b = difference.count, difference.only_a, difference.only_b
    if count == 0:
        return None
    share_a, share_b = only_a / count, only_b / count
    if not only_a and not only_b:
        share_a = share_b = wilson(0, count)[1] / 2
    margin, lost = most / 100, share_a - share_b
    if lost >= margin:
        return None
    at_limit = 2 * _loss_share(margin, share_a, share_b, 1.0) + margin * (1 - margin)
    here = share_a + share_b - lost * lost
    found = ((Z95 * math.sqrt(max(0.0, at_limit)) + Z80 * math.sqrt(max(0.0, here))) / (margin - lost)) ** 2
    return max(math.ceil(found), least_images(most))


def least_images(most: float) -> int:
    """The fewest images that can show that no more than `most` points are lost, even if the models are never apart.

    Where Tango's interval (see `paired_difference`), without an image that tells the models apart, gets inside. Raises ValueError as `judge_drop`.
    """
    _check_drop(most)
    return math.floor(Z95 * Z95 * (100 - most) / most) + 1


def _check_drop(most: float) -> None:
    if not 0 < most <= 100:
        raise ValueError(f"a drop of {most} points can't be judged; more than 0 and at most 100 were wanted")


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """(low, high) of the 95 % interval of the median of what `samples` were drawn from, whatever its distribution.

    Two of the samples: the order statistics between which the median lies unless too many of the tosses "above or below?" fell alike
    (W. R. Thompson, 1936, The Annals of Mathematical Statistics 7:122-128); of more than 1000 samples by the normal approximation with half a
    toss of correction. Under six samples it is (-inf, inf).
    """
    ordered = sorted(samples)
    beyond = _tosses_beyond(len(ordered))
    return (ordered[beyond - 1], ordered[-beyond]) if beyond else (-math.inf, math.inf)


def _tosses_beyond(count: int) -> int:
    """How many heads of `count` fair tosses are so few that fewer come in at most 2.5 of 100 cases."""
    if count > 1000:
        return math.floor((count - Z95 * math.sqrt(count) + 1) / 2)
    beyond = 0
    while _heads_at_most(beyond, count) <= 0.025:
        beyond += 1
    return beyond


def percentile(ordered: Sequence[int] | NDArray[np.int64], percent: int) -> int | None:
    """The `percent`-th percentile (50 to 99) of samples in ascending order, or None where fewer than ten of them lie beyond it.

    By nearest rank, so it is a sample that was taken (definition 1 of Hyndman and Fan, 1996, The American Statistician 50:361-365).
    """
    if not 50 <= percent <= 99:
        raise ValueError(f"percent {percent} must lie between 50 and 99")
    rank = -(-len(ordered) * percent // 100)
    return int(ordered[rank - 1]) if len(ordered) - rank >= SAMPLES_BEYOND else None


def percentile_interval(ordered: Sequence[int] | NDArray[np.int64], percent: int, *, draws: int = 2000, seed: int = 0) -> tuple[int, int]:
    """(low, high) of the bootstrap's 95 % interval of `percentile`, the samples taken as independent: the 2.5th and 97.5th percentile of what
    `draws` resamples of the same size have for it (B. Efron, 1979, The Annals of Statistics 7:1-26).

    No resample is made: the r-th of n samples drawn with replacement has the place ceil(n U), U the r-th of n uniform numbers, which has the
    distribution Beta(r, n - r + 1). So it costs the same for any number of samples. Equal samples give equal intervals.
    Raises ValueError for no samples, and as `percentile` does.
    """
    count = len(ordered)
    if not count or not 50 <= percent <= 99:
        raise ValueError(f"percent {percent} of {count} samples has no interval")
    rank = -(-count * percent // 100)
    drawn = np.random.Generator(np.random.PCG64(seed)).beta(rank, count - rank + 1, draws)
    places = np.sort(np.clip(np.ceil(count * drawn).astype(np.int64), 1, count))
    low, high = places[round(0.025 * (draws - 1))], places[round(0.975 * (draws - 1))]
    return int(ordered[low - 1]), int(ordered[high - 1])

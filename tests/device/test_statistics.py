"""Intervals against published examples and independent derivations; percentiles only where the samples carry them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.device.statistics import Z95, paired_difference, percentile, wilson


def _pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


def test_wilson_gives_newcombes_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I: 81 of 263
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilson_of_all_and_none_keeps_a_width() -> None:
    assert wilson(0, 10) == (0.0, pytest.approx(0.27753, abs=1e-5))
    assert wilson(10, 10) == (pytest.approx(0.72247, abs=1e-5), 1.0)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "count"), [(-1, 3), (4, 3), (0, -1)])
def test_wilson_refuses_what_is_no_share(correct: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(correct, count)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_ends_are_where_the_score_test_turns(pair: tuple[int, int]) -> None:
    correct, count = pair
    low, high = wilson(correct, count)
    share = correct / count
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:  # the score statistic at the end of the interval is z
            assert abs(share - end) / math.sqrt(end * (1 - end) / count) == pytest.approx(Z95, rel=1e-6)


def test_paired_difference_gives_the_published_example() -> None:
    # Fagerland, Lydersen and Laake (2014): airway hyper-responsiveness before and after stem cell transplantation
    a, b = _pairs(1, 1, 7, 12)
    found = paired_difference(b, a)
    assert (round(found.points, 1), round(found.low, 1), round(found.high, 1)) == (-28.6, -51.7, -2.6)
    assert (found.count, found.only_a, found.only_b) == (21, 7, 1)


def test_models_that_never_differ_still_have_an_interval() -> None:
    found = paired_difference(*_pairs(900, 0, 0, 100))
    limit = 100 * Z95**2 / (1000 + Z95**2)  # Tango's closed form without discordant pairs
    assert found.points == 0
    assert found.low == pytest.approx(-limit)
    assert found.high == pytest.approx(limit)


def test_a_model_that_is_always_right_where_the_other_never_is() -> None:
    found = paired_difference(*_pairs(0, 0, 50, 0))
    assert found.points == 100
    assert 80 < found.low < 100
    assert found.high == 100


def test_paired_difference_without_images_says_nothing() -> None:
    found = paired_difference(np.array([], dtype=bool), np.array([], dtype=bool))
    assert (found.low, found.high, found.count) == (-100, 100, 0)


def test_paired_difference_refuses_what_is_not_paired() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


def _score_statistic(difference: float, gains: int, losses: int, count: int) -> float:
    """Independent of the closed form: the nuisance share by searching for the largest likelihood."""
    same = count - gains - losses

    def log_likelihood(loss: float) -> float:
        parts = ((gains, loss + difference), (losses, loss), (same, 1 - 2 * loss - difference))
        return sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):  # ternary search: the log-likelihood is concave
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if log_likelihood(left) < log_likelihood(right):
            low = left
        else:
            high = right
    loss = (low + high) / 2
    return (gains - losses - count * difference) / math.sqrt(count * (2 * loss + difference * (1 - difference)))


@given(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 30), st.integers(0, 60)).filter(lambda t: sum(t) > 0))
def test_the_paired_interval_ends_where_the_score_test_turns(table: tuple[int, int, int, int]) -> None:
    found = paired_difference(*_pairs(*table))
    assert -100 <= found.low <= found.points <= found.high <= 100
    for end, side in ((found.low, 1), (found.high, -1)):
        if abs(end) < 99.99:
            statistic = _score_statistic(end / 100, found.only_b, found.only_a, found.count)
            assert statistic == pytest.approx(side * Z95, rel=1e-3)


@given(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 30), st.integers(0, 60)).filter(lambda t: sum(t) > 0))
def test_swapping_the_models_mirrors_the_interval(table: tuple[int, int, int, int]) -> None:
    a, b = _pairs(*table)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (forth.points, forth.low, forth.high) == (-back.points, -back.high, -back.low)


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    assert percentile(range(1, 20), 50) is None
    assert percentile(range(1, 21), 50) == 10
    assert percentile(range(1, 100), 90) is None
    assert percentile(range(1, 101), 90) == 90
    assert percentile(range(1, 1000), 99) is None
    assert percentile(range(1, 1001), 99) == 990
    assert percentile([], 50) is None


@given(st.lists(st.integers(0, 10**12), max_size=300), st.integers(50, 99))
def test_a_percentile_is_the_smallest_sample_that_enough_samples_do_not_exceed(samples: list[int], percent: int) -> None:
    samples.sort()
    found = percentile(samples, percent)
    naive = next((s for i, s in enumerate(samples, 1) if i * 100 >= percent * len(samples)), None)
    beyond = sum(1 for i, _ in enumerate(samples, 1) if (i - 1) * 100 >= percent * len(samples))
    assert found == (naive if beyond >= 10 else None)


def test_a_percentile_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 50 and 99"):
        percentile([1], 100)

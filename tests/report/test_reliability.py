"""The expected calibration error is the paper's formula, and nothing can be told of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.device.statistics import wilson
from edgecnn.report.reliability import BINS, Bin, Reliability, mean_ece, reliability

decisions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def test_an_example_computed_by_hand() -> None:
    found = reliability([0.95, 0.85, 0.81, 0.3, 0.3], [True, True, False, False, True], bins=10)
    # bins 0.2-0.3: 2, half right, mean 0.3; 0.8-0.9: 2, half right, mean 0.83; 0.9-1: 1, right, 0.95
    assert [(bin.count, bin.right) for bin in found.bins if bin.count] == [(2, 1), (2, 1), (1, 1)]
    assert found.ece == pytest.approx((2 * 0.2 + 2 * 0.33 + 1 * 0.05) / 5)
    assert found.mce == pytest.approx(0.33)
    assert (found.accuracy, found.confidence) == (pytest.approx(0.6), pytest.approx(0.642))
    assert found.bins[8].interval == wilson(1, 2)


@given(decisions)
def test_it_is_the_papers_formula(made: list[tuple[float, bool]]) -> None:
    found = reliability([score for score, _ in made], [right for _, right in made])
    expected, largest = 0.0, 0.0
    for m in range(1, BINS + 1):
        inside = [(s, r) for s, r in made if (m - 1) / BINS < s <= m / BINS or (m == 1 and s == 0)]
        if inside:
            gap = abs(sum(r for _, r in inside) / len(inside) - sum(s for s, _ in inside) / len(inside))
            expected, largest = expected + len(inside) / len(made) * gap, max(largest, gap)
    assert found.ece == pytest.approx(expected, abs=1e-9)
    assert found.mce == pytest.approx(largest, abs=1e-9)
    assert found.count == len(made)
    assert 0 <= found.ece <= found.mce <= 1
    assert 0 <= found.ece_by_chance <= 1


def test_scores_that_are_true_probabilities_show_about_the_error_of_chance() -> None:
    draw = np.random.default_rng(1)
    found = []
    for _ in range(200):
        scores = draw.uniform(0.4, 1, 500)
        found.append(reliability(scores, draw.random(500) < scores))
    assert np.mean([one.ece for one in found]) == pytest.approx(np.mean([one.ece_by_chance for one in found]), rel=0.08)


def test_the_ends_belong_to_the_first_and_the_last_bin() -> None:
    found = reliability([0.0, 1.0], [False, True])
    assert (found.bins[0].count, found.bins[-1].count, found.ece) == (1, 1, 0)


@pytest.mark.parametrize(
    ("scores", "right"), [([], []), ([0.5], [True, False]), ([math.nan], [True]), ([1.1], [True]), ([-0.1], [True]), ([[0.5]], [[True]])]
)
def test_what_is_no_set_of_decisions_is_refused(scores: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match=r"no calibration|don't fit|between 0 and 1"):
        reliability(scores, right)


def test_no_labels_and_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="no labels"):
        mean_ece([])
    with pytest.raises(ValueError, match="bins"):
        reliability([0.5], [True], bins=0)
    with pytest.raises(ValueError, match="no predictions"):
        Reliability(bins=(Bin(low=0, high=1, count=0, right=0, confidence=0),))

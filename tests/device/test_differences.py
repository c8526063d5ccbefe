"""The measures against naive ones and by the laws that they keep; and that nothing is compared vacuously."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.device.classify import scores
from edgecnn.device.differences import agreement, cosine, decibels, differences, kl_divergence, same_decisions, sqnr_db

VALUES = st.floats(-1000, 1000, width=32)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6))


def spec(labels: int, task: Any = "single-label") -> ModelSpec:
    return make_spec(name="net", labels=tuple(f"label{i}" for i in range(labels)), task=task, preprocess=Preprocess(size=(4, 4)))


def pairs(values: st.SearchStrategy[float] = VALUES) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    return SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=values)] * 2))


@given(pairs())
def test_sqnr_is_that_of_a_naive_sum(pair):
    expected, actual = (array.astype(float).ravel().tolist() for array in pair)
    signal, noise = sum(e * e for e in expected), sum((a - e) ** 2 for e, a in zip(expected, actual, strict=True))
    if noise == 0:
        assert sqnr_db(*pair) == math.inf
    elif signal > 1e-60 < noise:
        assert sqnr_db(*pair) == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)


@given(pairs(), st.integers(-30, 30))
def test_sqnr_and_cosine_do_not_depend_on_the_unit(pair, exponent):
    expected, actual = (np.ldexp(array.astype(np.float64), exponent) for array in pair)
    assert sqnr_db(expected, actual) == pytest.approx(sqnr_db(*pair), abs=1e-9)
    assert cosine(expected, actual) == pytest.approx(cosine(*pair), abs=1e-12)


def test_a_tenth_of_the_noise_is_20_decibels_and_a_bit_6():
    signal = np.random.default_rng(0).normal(0, 1, 1000)
    noise = np.random.default_rng(1).normal(0, 1, 1000)
    first = sqnr_db(signal, signal + noise)
    assert sqnr_db(signal, signal + noise / 10) - first == pytest.approx(20)
    assert sqnr_db(signal, signal + noise / 2) - first == pytest.approx(6.02, abs=0.001)


def test_huge_values_do_not_overflow():
    assert sqnr_db(np.array([1e300, 1.0]), np.array([1.1e300, 1.0])) == pytest.approx(20)
    assert cosine(np.array([1e300, 0.0]), np.array([1e300, 1e300])) == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize(("signal", "noise"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, -1.0)])
def test_powers_that_are_none_have_no_ratio(signal, noise):
    with pytest.raises(ValueError, match="no ratio"):
        decibels(signal, noise)


@given(pairs())
def test_cosine_is_symmetric_bounded_and_1_only_along_the_same_line(pair):
    expected, actual = pair
    found = cosine(expected, actual)
    assert -1 <= found <= 1
    assert found == pytest.approx(cosine(actual, expected))
    assert cosine(expected, expected) == pytest.approx(1)
    if expected.any():
        assert cosine(expected, -expected) == pytest.approx(-1)
        assert cosine(expected, np.zeros_like(expected)) == 0


@given(pairs(st.floats(-20, 20, width=32)), st.sampled_from(["softmax", "sigmoid"]))
def test_kl_is_that_of_the_scores(pair, activation):
    expected, actual = pair
    net = spec(expected.shape[1], "single-label" if activation == "softmax" else "multi-label")
    p, q = scores(expected, net), scores(actual, net)
    each = p * np.log(p / q)
    if activation == "sigmoid":
        each = each + (1 - p) * np.log((1 - p) / (1 - q)) if (q < 1).all() and (p < 1).all() else each + np.nan
    naive = float(np.mean(each.sum(axis=1)))
    assume(math.isfinite(naive))
    assert kl_divergence(expected, actual, activation=activation) == pytest.approx(naive, rel=1e-4, abs=1e-6)


@given(pairs(), st.sampled_from(["softmax", "sigmoid"]))
def test_kl_is_finite_and_never_negative_and_0_for_itself(pair, activation):
    assert 0 <= kl_divergence(*pair, activation=activation) < math.inf
    assert kl_divergence(pair[0], pair[0], activation=activation) == 0


@given(pairs(st.floats(-20, 20, width=32)), st.floats(-50, 50))
def test_a_softmax_does_not_see_what_all_labels_share(pair, shift):
    expected, actual = (array.astype(np.float64) for array in pair)
    found = kl_divergence(expected, actual + shift, activation="softmax")
    assert found == pytest.approx(kl_divergence(expected, actual, activation="softmax"), abs=1e-9)


def test_kl_of_a_coin():
    even, biased = np.array([[0.0]]), np.array([[math.log(3)]])  # 1/2 and 3/4
    wanted = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert kl_divergence(even, biased, activation="sigmoid") == pytest.approx(wanted)
    assert kl_divergence(np.array([[0.0, 0.0]]), np.array([[math.log(3), 0.0]]), activation="softmax") == pytest.approx(wanted)


def test_agreement_is_of_whole_decisions():
    expected, actual = np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([[2.0, 1.9], [4.0, 3.0]])
    assert agreement(expected, actual, spec(2)) == 0.5
    assert same_decisions(expected, actual, spec(2)).tolist() == [True, False]
    assert agreement(np.array([[1.0, -1.0]]), np.array([[1.0, 1.0]]), spec(2, "multi-label")) == 0  # one of two labels


@given(pairs())
def test_all_at_once_are_the_same_as_each_alone(pair):
    net = spec(pair[0].shape[1])
    found = differences(*pair, net)
    apart = np.abs(pair[1].astype(float) - pair[0])
    assert (found.samples, found.max_abs) == (len(pair[0]), apart.max())
    assert found.mean_abs == pytest.approx(apart.mean())
    assert (math.inf if found.sqnr_db is None else found.sqnr_db) == sqnr_db(*pair)
    assert found.cosine == cosine(*pair)
    assert found.agreement == pytest.approx(agreement(*pair, net))
    assert found.kl_divergence == kl_divergence(*pair, activation="softmax")


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "sqnr_db": sqnr_db,
    "cosine": cosine,
    "kl_divergence": lambda a, b: kl_divergence(a, b, activation="softmax"),
    "agreement": lambda a, b: agreement(a, b, spec(2)),
    "differences": lambda a, b: differences(a, b, spec(2)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_nothing_is_compared_vacuously(name):
    measure, good = MEASURES[name], np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="can't be compared"):
        measure(good, good[:2])
    with pytest.raises(ValueError, match="nothing to compare"):
        measure(good[:0], good[:0])
    for bad in (math.nan, math.inf, -math.inf):
        spoiled = good.copy()
        spoiled[1, 1] = bad
        for pair in ((good, spoiled), (spoiled, good), (spoiled, spoiled)):
            with pytest.raises(ValueError, match="NaN or infinity"):
                measure(*pair)

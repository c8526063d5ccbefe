"""The comparison against a naive one written out element by element, and the ways in which it must not pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.artifact.codec import canonical_json
from edgecnn.artifact.records import ParityLimits, ParityReport
from edgecnn.artifact.spec import ModelSpec, Preprocess, Task, make_spec
from edgecnn.device.parity import compare
from edgecnn.errors import ParityFailed

LOOSE = ParityLimits(atol=1e-5, rtol=1e-5, min_agreement=1.0)


def _spec(labels: int, task: Task = "single-label", thresholds: tuple[float, ...] | None = None) -> ModelSpec:
    names = tuple(f"label{i}" for i in range(labels))
    return make_spec(name="net", labels=names, task=task, thresholds=thresholds, preprocess=Preprocess(size=(4, 4)))


def _compare(expected: Any, actual: Any, limits: ParityLimits = LOOSE, spec: ModelSpec | None = None) -> ParityReport:
    a, b = np.asarray(expected, dtype=np.float32), np.asarray(actual, dtype=np.float32)
    return compare(a, b, limits, graph_sha256="ab" * 32, reference="source network", spec=spec or _spec(a.shape[-1]))


def _arrays(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))
    return shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=values)] * 2))


ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
FINITE = st.floats(-1000, 1000, width=32)


@given(_arrays(ANY), st.sampled_from([(None, None), (0.0, None), (None, 0.5), (0.25, 0.5)]))
def test_the_figures_are_those_of_a_naive_comparison(pair: tuple[np.ndarray, np.ndarray], bounds: tuple[float | None, float | None]) -> None:
    atol, rtol = bounds
    report = _compare(*pair, limits=ParityLimits(atol=atol, rtol=rtol, min_agreement=0.0))
    expected, actual = (array.tolist() for array in pair)
    gaps, excesses, signal, noise, bad = [], [], 0.0, 0.0, 0
    for row, other in zip(expected, actual, strict=True):
        for e, a in zip(row, other, strict=True):
            if not (math.isfinite(e) and math.isfinite(a)):
                bad += 1
                continue
            gap = abs(a - e)
            gaps.append(gap)
            excesses.append(gap - ((atol or 0) + (rtol or 0) * abs(e)))
            signal += e * e
            noise += gap * gap
    assert (report.samples, report.elements, report.nonfinite) == (len(expected), pair[0].size, bad)
    assert report.max_abs == max(gaps, default=0)
    assert report.mean_abs == pytest.approx(sum(gaps) / len(gaps) if gaps else 0)
    if excesses and bounds != (None, None):
        assert report.excess == pytest.approx(max(excesses))
    else:
        assert report.excess is None
    if noise == 0:
        assert report.sqnr_db is None
    elif signal > 1e-250:
        assert report.sqnr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)
    canonical_json(report)  # every figure can be stored, whatever was compared


@given(_arrays(FINITE))
def test_single_label_agreement_is_the_first_of_the_highest(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rows = zip(pair[0].tolist(), pair[1].tolist(), strict=True)
    assert _compare(*pair).agreeing == sum(a.index(max(a)) == b.index(max(b)) for a, b in rows)


@given(_arrays(st.floats(-8, 8, width=16).filter(lambda value: abs(value) > 0.01)))
def test_multi_label_agreement_is_the_whole_set_over_the_thresholds(pair: tuple[np.ndarray, np.ndarray]) -> None:
    columns = pair[0].shape[1]
    thresholds = tuple([0.5, 0.31, 0.87, 0.5, 0.123][:columns])

    def held(row: list[float]) -> list[bool]:
        return [1 / (1 + math.exp(-logit)) >= threshold for logit, threshold in zip(row, thresholds, strict=True)]

    report = _compare(*pair, spec=_spec(columns, "multi-label", thresholds))
    assert report.agreeing == sum(held(a) == held(b) for a, b in zip(pair[0].tolist(), pair[1].tolist(), strict=True))


@given(hnp.arrays(np.float32, (3, 4), elements=FINITE))
def test_equal_answers_pass_exactly(logits: np.ndarray) -> None:
    report = _compare(logits, logits.copy(), ParityLimits(atol=0.0, min_agreement=1.0))
    assert report.passed
    assert (report.max_abs, report.agreement, report.sqnr_db) == (0, 1, None)


@given(hnp.arrays(np.float32, (3, 4), elements=FINITE), st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf]), st.booleans(), st.booleans())
def test_one_value_that_is_no_number_fails_on_either_side_or_both(logits: np.ndarray, at: int, value: float, left: bool, right: bool) -> None:
    expected, actual = logits.copy(), logits.copy()
    if left or not right:
        expected.flat[at] = value
    if right:
        actual.flat[at] = value
    report = _compare(expected, actual, ParityLimits(min_agreement=0.0))
    assert not report.passed
    assert report.agreeing == 2
    assert "NaN or infinite" in report.failures[0]


def test_one_element_over_the_limit_fails_and_one_on_it_passes() -> None:
    expected = [[1.0, 0.0], [4.0, 0.0]]
    limits = ParityLimits(atol=0.25, rtol=0.5)
    assert _compare(expected, [[1.75, 0.25], [6.25, -0.25]], limits).passed
    over = _compare(expected, [[1.75, 0.25], [6.25, -0.2500001]], limits)
    assert not over.passed
    assert over.max_abs == 2.25


def test_too_few_equal_decisions_fail_though_the_numbers_are_close() -> None:
    report = _compare([[0.0, 1e-7]] * 100, [[0.0, 1e-7]] * 98 + [[1e-7, 0.0]] * 2, ParityLimits(atol=1e-5, min_agreement=0.99))
    assert report.failures == ("98 of 100 decisions agree (98.00%), wanted 99.00%",)


def test_comparing_nothing_fails() -> None:
    report = _compare(np.empty((0, 3)), np.empty((0, 3)), ParityLimits(atol=1.0, min_agreement=0.0))
    assert not report.passed
    assert "nothing was compared" in report.failures


@pytest.mark.parametrize(("one", "other"), [((2, 3), (3, 3)), ((2, 3), (2, 4)), ((3,), (3,)), ((2, 4), (2, 4)), ((2, 3), (1, 3))])
def test_unequal_or_unfitting_shapes_fail(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(ParityFailed, match="can't be compared with source network's"):
        _compare(np.zeros(one), np.zeros(other), spec=_spec(3))

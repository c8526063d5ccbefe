"""Logits become scores, decisions and predictions that a person, a program and a notebook can read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.device.classify import Milliseconds, Prediction, decide, predictions, scores
from edgecnn.errors import GraphRejected, UsageError

LABELS = ("cat", "dog", "plane", "fish")
MS = Milliseconds(decode=1.5, preprocess=0.25, inference=0.125)
ONE = make_spec(name="net", labels=LABELS, preprocess=Preprocess(size=(2, 2)))
SEVERAL = make_spec(name="net", labels=LABELS, preprocess=Preprocess(size=(2, 2)), task="multi-label", thresholds=(0.5, 0.9, 0.1, 0.5))

rows = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(4)), elements=st.floats(allow_nan=False, allow_infinity=False, width=32))


def logits(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def predict(row: np.ndarray, spec: ModelSpec, *, top_k: int = 5, name: str | None = "a.jpg") -> Prediction:
    return predictions(row, spec, inputs=(name,), ms=(MS,), top_k=top_k)[0]


@given(rows)
def test_softmax_scores_are_shares_of_one(values: np.ndarray) -> None:
    found = scores(values, ONE)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


@given(rows)
def test_sigmoid_scores_each_label_for_itself(values: np.ndarray) -> None:
    found = scores(values, SEVERAL)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            wanted = 1 / (1 + math.exp(-float(value))) if value > -700 else 0.0
            assert found[i, j] == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_softmax_is_the_formula() -> None:
    np.testing.assert_allclose(scores(logits(1, 2, 3, 4), ONE)[0], np.exp([1, 2, 3, 4]) / np.exp([1, 2, 3, 4]).sum())


@given(rows)
def test_the_decision_is_the_highest_logit_and_the_label_predicted(values: np.ndarray) -> None:
    chosen = decide(values, ONE)
    found = predictions(values, ONE, inputs=(None,) * len(values), ms=(MS,) * len(values))
    for row, index, prediction in zip(values, chosen, found, strict=True):
        assert row[index] == row.max()
        assert prediction.label == LABELS[index] == prediction.top[0].label
        assert prediction.labels == (prediction.label,)
        assert prediction.score == prediction.top[0].score


def test_the_first_of_equal_labels_wins() -> None:
    assert decide(logits(0, 7, 7, 0), ONE).tolist() == [1]


def test_labels_that_saturate_keep_their_order() -> None:
    assert [entry.label for entry in predict(logits(50, 60, 70, 40), SEVERAL).top] == ["plane", "dog", "cat", "fish"]


@given(rows)
def test_the_top_is_sorted_and_as_long_as_asked(values: np.ndarray) -> None:
    for top_k in (1, 3, 9):
        top = predict(values[:1], ONE, top_k=top_k).top
        assert len(top) == min(top_k, 4)
        assert [entry.score for entry in top] == sorted((entry.score for entry in top), reverse=True)


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def test_labels_hold_from_their_own_thresholds_on_best_first() -> None:
    found = predict(logits(logit(0.6), logit(0.8), logit(0.2), logit(0.4)), SEVERAL)
    assert found.labels == ("cat", "plane")  # dog at 0.8 stays under its 0.9
    assert (found.label, found.score) == ("cat", pytest.approx(0.6))
    assert found.top[0].label == "dog"


def test_a_score_at_the_threshold_holds() -> None:
    assert decide(logits(0, -9, -9, -9), SEVERAL).tolist() == [[True, False, False, False]]


def test_where_nothing_holds_there_is_no_label_and_the_highest_score() -> None:
    found = predict(logits(-5, 0, -5, -5), SEVERAL)
    assert (found.label, found.labels, found.score) == (None, (), 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spec", [ONE, SEVERAL])
def test_a_network_that_answers_nonsense_is_refused(value: float, spec: ModelSpec) -> None:
    for judge in (scores, decide):
        with pytest.raises(GraphRejected, match="NaN or infinity"):
            judge(logits(0, 0, value, 0), spec)


@pytest.mark.parametrize("shape", [(4,), (1, 3), (1, 4, 1)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"\(n, 4\) was wanted"):
        scores(np.zeros(shape, np.float32), ONE)


def test_none_of_the_best_is_no_request() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        predict(logits(1, 2, 3, 4), ONE, top_k=0)


def test_json_has_the_schema_s_fields_and_survives_the_journey() -> None:
    found = predict(logits(1, 2, 3, 4), ONE, top_k=2)
    told = json.loads(json.dumps(found.to_json_dict(), allow_nan=False))
    assert list(told) == ["schema", "input", "task", "label", "labels", "score", "top", "ms"]
    assert (told["schema"], told["input"], told["task"], told["label"], told["labels"]) == (1, "a.jpg", "single-label", "fish", ["fish"])
    assert told["ms"] == {"decode": 1.5, "preprocess": 0.25, "inference": 0.125}
    assert [entry["label"] for entry in told["top"]] == ["fish", "plane"]
    assert told["score"] == told["top"][0]["score"] == pytest.approx(found.score, rel=1e-6)


def test_json_keeps_the_smallest_scores() -> None:
    assert predict(logits(100, 0, 0, 0), ONE).to_json_dict()["top"][1]["score"] == pytest.approx(math.exp(-100), rel=1e-6)


def test_a_notebook_shows_names_scores_and_nothing_that_runs() -> None:
    spec = make_spec(name="net", labels=("<b>cat</b>", "dog & co"), preprocess=Preprocess(size=(2, 2)))
    shown = predict(np.array([[2, 1]], np.float32), spec, name="<script>.jpg")._repr_html_()
    assert "&lt;script&gt;.jpg" in shown
    assert "&lt;b&gt;cat&lt;/b&gt;" in shown
    assert "dog &amp; co" in shown
    assert "<script>" not in shown
    assert "0.731" in shown
    assert "1.9 ms" in shown


def test_a_notebook_says_none_where_nothing_holds() -> None:
    assert "none" in predict(logits(-9, -9, -9, -9), SEVERAL, name=None)._repr_html_()

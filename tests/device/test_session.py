"""A session runs only the graph its spec speaks of, and only inputs that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.device.session import Session, open_session
from edgecnn.errors import GraphRejected, UsageError
from tests.fixtures.graphs import tiny_classifier

SIZE = (6, 5)


def spec(labels: int = 4, batch: int | str = 1, size: tuple[int, int] = SIZE) -> ModelSpec:
    return make_spec(name="net", labels=tuple(f"label{i}" for i in range(labels)), preprocess=Preprocess(size=size), batch=batch)


def session(batch: int | str = 1) -> Session:
    return open_session(tiny_classifier(4, SIZE, batch=batch), spec(batch=batch), threads=1)


def draw(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, *SIZE)).astype(np.float32)


def one_by_one(x: np.ndarray) -> np.ndarray:
    single = session()
    return np.concatenate([single.engine.run({"input": x[i : i + 1]})[0] for i in range(len(x))])


@pytest.mark.parametrize("batch", [1, 2, 4, "batch"])
@given(count=st.integers(1, 9))
def test_any_number_of_inputs_gets_its_answers_whatever_the_model_s_batch(batch: int | str, count: int) -> None:
    x = draw(count)
    found = session(batch).logits(x)
    assert (found.shape, found.dtype) == ((count, 4), np.float32)
    np.testing.assert_allclose(found, one_by_one(x), rtol=1e-5, atol=1e-6)


def test_answers_of_earlier_inputs_stay() -> None:
    opened = session()
    first = opened.logits(draw(1))
    kept = first.copy()
    opened.logits(draw(1, seed=1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (draw(1)[0], r"shape \[3, 6, 5\]"),
        (draw(1)[:, :, :, :4], r"shape \[1, 3, 6, 4\]"),
        (draw(1)[:, :2], r"shape \[1, 2, 6, 5\]"),
        (draw(1).astype(np.float64), "float64"),
        (draw(1).astype(np.uint8), "uint8"),
        (draw(1).tolist(), "list"),
        (draw(0), "no inputs"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_what_was_found(x: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        session().logits(x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_refused(value: float) -> None:
    x = draw(2)
    x[1, 2, 3, 4] = value
    with pytest.raises(UsageError, match="NaN or infinity"):
        session("batch").logits(x)


@pytest.mark.parametrize(
    "graph",
    [
        tiny_classifier(5, SIZE),
        tiny_classifier(4, (5, 6)),
        tiny_classifier(4, SIZE, channels=1),
        tiny_classifier(4, SIZE, batch=2),
        tiny_classifier(4, SIZE, input="image"),
        tiny_classifier(4, SIZE, output="scores"),
    ],
)
def test_a_graph_that_is_not_the_spec_s_is_refused(graph: bytes) -> None:
    with pytest.raises(GraphRejected, match=r"graph's (input|output) is .* net says"):
        open_session(graph, spec(), threads=1)


def test_a_fixed_batch_of_another_size_is_refused_where_the_spec_leaves_it_open() -> None:
    assert open_session(tiny_classifier(4, SIZE, batch="N"), spec(batch="batch"), threads=1).logits(draw(3)).shape == (3, 4)
    with pytest.raises(GraphRejected):
        open_session(tiny_classifier(4, SIZE, batch=1), spec(batch="batch"), threads=1)


def test_a_graph_that_answers_in_another_shape_than_it_said_is_refused() -> None:
    class Liar:
        provider, threads, inputs, outputs = "none", 1, (), ()

        def run(self, feeds: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
            return (np.zeros((1, 3), np.float32),)

        def run_one(self, x: np.ndarray) -> np.ndarray:
            return self.run({})[0]

    with pytest.raises(GraphRejected, match=r"answered \[1, 3\], \[1, 4\] was wanted"):
        Session(spec=spec(), engine=Liar()).logits(draw(1))


def test_without_optimization_the_answers_are_the_same_to_rounding() -> None:
    x = draw(1)
    plain = open_session(tiny_classifier(4, SIZE), spec(), threads=1, optimize=False)
    np.testing.assert_allclose(plain.logits(x), session().logits(x), rtol=1e-5, atol=1e-6)

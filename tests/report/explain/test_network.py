"""Every layer's formula, computed again in numpy, gives what onnxruntime gives; where it doesn't, that comes out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.report.explain.network import Agreement, agreement, read_network
from tests.fixtures.graphs import tiny_classifier
from tests.fixtures.onnx_nets import Net
from tests.report.explain.conftest import FORMS, SHIPPED, Artifacts, Open, picture_of, sample


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_layer_of_a_shipped_model_agrees_with_onnxruntime(name: str, form: str, artifacts: Artifacts, opened: Open) -> None:
    subject = opened(artifacts(name, form))
    x = picture_of(subject, sample(name)).input(subject.spec)
    values = subject.network.trace(x)
    found = {node.name: agreement(node, values) for node in subject.network.nodes}
    assert len(found) == len(subject.network.nodes) >= 10
    assert [node for node, one in found.items() if one is None or not one.close] == []
    # the rounding of sums is all that may differ: what rounds to integers, moves or compares gives the same bits
    exact = {"QuantizeLinear", "DequantizeLinear", "Relu", "MaxPool", "Reshape", "Add"}
    assert [node.name for node in subject.network.nodes if node.operator in exact and found[node.name] != replace(found[node.name], apart=0.0)] == []
    np.testing.assert_allclose(values[subject.network.output], subject.session.logits(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MaxPool", "Relu"])
def test_a_formula_that_gives_other_numbers_is_told(operator: str, artifacts: Artifacts, opened: Open) -> None:
    subject = opened(artifacts("simplecnn-fashion", "float32"))
    values = subject.network.trace(picture_of(subject, sample("simplecnn-fashion")).input(subject.spec))
    node = next(node for node in subject.network.nodes if node.operator == operator)
    name = node.outputs[0]
    wrong = values[name].copy()
    wrong.flat[3] += 1e-3 * np.abs(wrong).max()
    found = agreement(node, {**values, name: wrong})
    assert found is not None
    assert not found.close
    for broken in (wrong[:, :-1], np.where(wrong == wrong.flat[3], np.nan, wrong), wrong.astype(np.float64)):
        found = agreement(node, {**values, name: broken})
        assert found is not None
        assert not found.close


def test_nothing_agrees_by_being_nothing() -> None:
    assert Agreement(apart=0.0, scale=0.0).close
    assert not Agreement(apart=float("nan"), scale=1.0).close
    assert not Agreement(apart=1e-3, scale=0.0).close


def test_an_operator_without_a_formula_is_none() -> None:
    make = Net(size=8)
    make.linear(make.pooled(make.node("Elu", make.conv("input", (3, 4)))), 4, 5, output="logits")
    network = read_network(make.bytes(), batch=1)
    values = network.trace(np.zeros((1, 3, 8, 8), np.float32))
    assert [node.operator for node in network.nodes if agreement(node, values) is None] == ["Elu"]


def test_a_fixed_batch_is_filled_with_the_same_image() -> None:
    spec = make_spec(name="four", labels=("a", "b", "c"), preprocess=Preprocess(size=(8, 8)), batch=4)
    network = read_network(tiny_classifier(3, 8, batch=4), batch=spec.batch or 1)
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    logits = network.trace(x)["logits"]
    assert logits.shape == (4, 3)
    np.testing.assert_array_equal(logits, np.repeat(logits[:1], 4, axis=0))

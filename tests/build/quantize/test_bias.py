"""Where rounded weights shift a layer's mean, its bias takes that back."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.build.quantize import _patches, int8
from edgecnn.build.quantize._bias import correct_bias, means
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._heavy import heavy_layers, own_constants
from edgecnn.build.quantize._rewrite import rewrite
from tests.build.quantize.conftest import sqnr_db
from tests.fixtures.onnx_nets import Net
from tests.fixtures.plain_int8 import PLAIN

COARSE: dict[str, Any] = {"per_channel": False, "reduce_range": True}
"""So that there is something to correct."""


def both_means(model: bytes, made: bytes, calibration: Any) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each layer: its name, its answers' means in float and in int8, and its bias steps."""
    floats = load(model, opset=13)
    rewrite(floats)
    own_constants(floats)
    proto = onnx.load_from_string(made)
    layers = [layer for layer in heavy_layers(proto) if layer.bias]
    twins = {node.name: node for node in floats.graph.node}
    expected = means(floats, [twins[layer.node.name] for layer in layers], calibration, optimize=False)
    found = means(proto, [layer.node for layer in layers], calibration, optimize=False)
    steps = [np.asarray(layer.bias_scale) for layer in layers]
    return [(layer.node.name, *values) for layer, *values in zip(layers, expected, found, steps, strict=True)]


@pytest.mark.parametrize("batch", [1, 5, "batch"])
def test_every_layer_answers_the_float_mean_to_within_a_bias_step(make_residual, calibration, batch):
    graph = make_residual(batch=batch)
    rows = both_means(graph, int8.quantize(graph, calibration, **{**PLAIN, **COARSE, "correct_bias": True}).model, calibration)
    assert len(rows) == 4
    for _, expected, found, step in rows:
        assert (np.abs(expected - found) <= 0.51 * step + 1e-5).all()


def test_without_it_means_are_off(graph, calibration):
    rows = both_means(graph, int8.quantize(graph, calibration, **PLAIN, **COARSE).model, calibration)
    assert all((np.abs(expected - found) > 2 * step).any() for _, expected, found, step in rows)


def test_answers_come_nearer_on_other_images_too(graph, calibration, images, answers):
    others = np.ascontiguousarray(images[::-1, :, ::-1])
    expected = answers(graph, others)
    before, after = (answers(int8.quantize(graph, calibration, **{**PLAIN, **COARSE, "correct_bias": on}).model, others) for on in (False, True))
    assert sqnr_db(expected, after) > sqnr_db(expected, before) + 3


def test_nothing_but_biases_changes(graph, calibration):
    plain, corrected = (onnx.load_from_string(int8.quantize(graph, calibration, **{**PLAIN, "correct_bias": on}).model) for on in (False, True))
    assert list(plain.graph.node) == list(corrected.graph.node)
    changed = {
        a.name for a, b in zip(plain.graph.initializer, corrected.graph.initializer, strict=True) if a.SerializeToString() != b.SerializeToString()
    }
    assert changed
    assert changed <= {layer.bias for layer in heavy_layers(corrected)}


def test_the_batches_that_images_come_in_make_no_difference(graph, images):
    made = [int8.quantize(graph, lambda n=n: (images[i : i + n] for i in range(0, len(images), n)), correct_bias=True).model for n in (1, 5, 24)]
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("option", [{"correct_bias": True}, {"rounding": "adaptive"}])
def test_more_images_take_no_more_memory(graph, images, option, monkeypatch):
    monkeypatch.setattr(_patches, "_TOGETHER", 1_000_000)

    def peak(rounds: int) -> int:
        tracemalloc.start()
        int8.quantize(graph, lambda: (images for _ in range(rounds)), **{**PLAIN, **option})
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(6) < peak(2) + 300_000


def test_a_layer_without_a_bias_gets_one_and_layers_that_share_one_get_their_own(images, calibration, answers):
    make = Net()
    shared = make.constant(make.rng.normal(0, 0.3, 8))
    first = make.node("Relu", make.node("Conv", "input", make.constant(make.rng.normal(0, 0.3, (8, 3, 3, 3))), shared, pads=[1] * 4))
    second = make.node("Relu", make.node("Conv", first, make.constant(make.rng.normal(0, 0.2, (8, 8, 3, 3))), shared, pads=[1] * 4))
    third = make.node("Relu", make.node("Conv", second, make.constant(make.rng.normal(0, 0.2, (8, 8, 3, 3))), pads=[1] * 4))
    make.node("Gemm", make.pooled(third), make.constant(make.rng.normal(0, 0.3, (8, 5))), output="logits")
    graph = make.bytes()
    made = int8.quantize(graph, calibration, **{**PLAIN, **COARSE, "correct_bias": True}).model
    rows = both_means(graph, made, calibration)
    assert [name for name, *_ in rows] == ["n0", "n2", "n4", "n8"]
    for _, expected, found, step in rows:
        assert (np.abs(expected - found) <= 0.51 * step + 1e-5).all()
    assert sqnr_db(answers(graph, images), answers(made, images)) > 20


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_product_may_have_several_rows_of_an_image(calibration, batch):
    """As in a head that is asked at each place, and averaged then."""
    make = Net(batch=batch)
    places = make.node("Transpose", make.node("Relu", make.conv("input", (3, 8))), perm=[0, 2, 3, 1])
    scores = make.linear(make.node("Reshape", places, make.constant([-1, 8], np.int64)), 8, 5)
    make.node(
        "ReduceMean", make.node("Reshape", scores, make.constant([-1, 256, 5], np.int64)), make.constant([1], np.int64), keepdims=0, output="logits"
    )
    graph = make.bytes()
    made = int8.quantize(graph, calibration, **{**PLAIN, **COARSE, "correct_bias": True, "rounding": "adaptive"}).model
    rows = both_means(graph, made, calibration)
    assert [name for name, *_ in rows] == ["n0", "n4"]
    for _, expected, found, step in rows:
        assert (np.abs(expected - found) <= 0.51 * step + 1e-5).all()


def test_products_without_a_bias_are_left(calibration):
    make = Net()
    make.node("MatMul", make.pooled(make.node("Relu", make.conv("input", (3, 8)))), make.constant(make.rng.normal(0, 0.3, (8, 5))), output="logits")
    proto = onnx.load_from_string(int8.quantize(make.bytes(), calibration, correct_bias=True, rounding="adaptive").model)
    assert {layer.node.op_type: bool(layer.bias) for layer in heavy_layers(proto)} == {"Conv": True, "MatMul": False}


def test_a_shift_beyond_int32_ends_there(graph, calibration):
    proto = onnx.load_from_string(int8.quantize(graph, calibration).model)
    layer = heavy_layers(proto)[0]
    correct_bias(proto, layer, np.where(np.arange(16) % 2, 1e30, -1e30), calibration)
    found = next(numpy_helper.to_array(entry) for entry in proto.graph.initializer if entry.name == layer.bias)
    assert found.dtype == np.int32
    assert set(found.tolist()) == {np.iinfo(np.int32).min, np.iinfo(np.int32).max}


@pytest.mark.parametrize("picture", [np.zeros((4, 3, 16, 16)), np.full((4, 3, 16, 16), 0.7)])
def test_images_that_are_all_black_or_all_the_same_are_survived(graph, answers, images, picture):
    """They are told of; the answers to them are right."""
    still = picture.astype(np.float32)
    made = int8.quantize(graph, lambda: iter([still]), equalize=True, correct_bias=True, rounding="adaptive")
    assert "of one flat colour" in (made.note or "")
    assert answers(made.model, still) == pytest.approx(answers(graph, still), abs=0.05)
    assert np.isfinite(answers(made.model, images)).all()

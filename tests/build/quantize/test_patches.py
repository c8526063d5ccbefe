"""The moments of what a layer's weights are multiplied with, held against what onnxruntime makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgecnn.build.quantize import _patches
from edgecnn.build.quantize._patches import moments
from edgecnn.device.engines import open_graph


def convolution(x: np.ndarray, weights: np.ndarray, **attributes: object) -> tuple[ModelProto, np.ndarray]:
    """A graph that convolves what ReLU leaves of its input, and its answers."""
    nodes = [helper.make_node("Relu", ["input"], ["x"]), helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input", "y")]
    edges[0] = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *x.shape[1:]])
    graph = helper.make_graph(nodes, "net", edges[:1], edges[1:], [numpy_helper.from_array(weights, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return proto, open_graph(proto.SerializeToString(), optimize=False).run({"input": x})[0]


def check(x: np.ndarray, weights: np.ndarray, **attributes: object) -> None:
    """The mean of the answers, and of their products, follow from the moments."""
    proto, answers = convolution(x, weights, **attributes)
    groups = attributes.get("group", 1)
    assert isinstance(groups, int)
    found = moments(proto, proto.graph.node[1], weights.shape[2:], lambda: iter([x]))
    rows = weights.reshape(groups, len(weights) // groups, -1).astype(np.float64)
    flat = np.moveaxis(answers, 1, 0).reshape(groups, len(weights) // groups, -1).astype(np.float64)
    np.testing.assert_allclose(np.einsum("gok,gk->go", rows, found.mean), flat.mean(axis=2), atol=1e-5)
    np.testing.assert_allclose(rows @ found.second @ rows.transpose(0, 2, 1), flat @ flat.transpose(0, 2, 1) / flat.shape[2], atol=1e-4)
    centred = flat - flat.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(rows @ found.covariance @ rows.transpose(0, 2, 1), centred @ centred.transpose(0, 2, 1) / flat.shape[2], atol=1e-4)


@given(st.data())
def test_they_are_those_of_the_answers_whatever_the_convolution_is(data):
    draw = data.draw
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 4]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes = {
        "group": groups,
        "strides": [draw(st.integers(1, 2)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "pads": [draw(st.integers(0, 2)) for _ in range(2 * rank)],
    }
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(0, 1, (3, 4, *(draw(st.integers(5, 8)) for _ in range(rank)))).astype(np.float32)
    check(x, rng.normal(0, 1, (4, 4 // groups, *kernel)).astype(np.float32), **attributes)


@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_may_be_automatic(padding, stride):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(0, 1, (2, 3, 9, 8)).astype(np.float32), rng.normal(0, 1, (5, 3, 4, 3)).astype(np.float32)
    check(x, weights, auto_pad=padding, strides=[stride, stride])


def test_a_product_reads_rows():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(0, 1, (7, 6)).astype(np.float32), rng.normal(0, 1, (6, 4)).astype(np.float32)
    nodes = [helper.make_node("Relu", ["input"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("input", 6), ("y", 4))]
    graph = helper.make_graph(nodes, "net", edges[:1], edges[1:], [numpy_helper.from_array(weights, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    found = moments(proto, proto.graph.node[1], (), lambda: iter([x[:4], x[4:]]))
    np.testing.assert_allclose(found.mean[0], np.maximum(x, 0).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.second[0], np.maximum(x, 0).T @ np.maximum(x, 0) / 7, atol=1e-6)


def test_what_varies_little_beside_a_large_mean_is_not_lost():
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(0, 0.01, (16, 2, 8, 8))).astype(np.float32)
    proto, _ = convolution(x, np.ones((2, 2, 1, 1), dtype=np.float32))
    found = moments(proto, proto.graph.node[1], (1, 1), lambda: iter([x]))
    np.testing.assert_allclose(np.diagonal(found.covariance[0]), 1e-4, rtol=0.2)
    assert np.linalg.eigvalsh(found.covariance[0]).min() > 0


def test_of_a_large_map_places_are_taken_that_are_spread_over_it():
    """Of 64 x 64 places some 256: a picture whose right half is 1 keeps its mean."""
    x = np.zeros((2, 1, 64, 64), dtype=np.float32)
    x[..., 32:] = 1
    proto, _ = convolution(x, np.ones((1, 1, 1, 1), dtype=np.float32))
    (patches,) = [_patches._patches(x, proto.graph.node[1], (1, 1))]
    assert patches.shape == (1, 2 * 256, 1)
    assert moments(proto, proto.graph.node[1], (1, 1), lambda: iter([x])).mean == pytest.approx(0.5)


@pytest.mark.parametrize("size", [1, 16, 17, 33, 300])
def test_some_place_is_always_taken(size):
    places = [np.arange(size)[part] for part in _patches._spread((size, 1))]
    assert all(len(part) for part in places)
    assert len(places[0]) <= 2 * _patches.PLACES

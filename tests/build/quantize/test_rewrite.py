"""Changes that keep a graph's answers and let integers reach further."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecnn.build.quantize import int8
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._rewrite import rewrite
from tests.build.quantize.conftest import sqnr_db
from tests.fixtures.onnx_nets import Net


def rewritten(model: bytes) -> onnx.ModelProto:
    proto = load(model, opset=13)
    rewrite(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(("axes", "keepdims"), [([2, 3], 1), ([-1, -2], 0), ([3, 2], 0)])
def test_a_mean_over_height_and_width_is_a_pooling(answers, images, axes, keepdims):
    make = Net()
    mean = make.node("ReduceMean", make.conv("input", (3, 8)), make.constant(axes, np.int64), keepdims=keepdims)
    make.linear(make.node("Flatten", mean), 8, 5, output="logits")
    proto = rewritten(make.bytes())
    assert "ReduceMean" not in operators(proto)
    assert "GlobalAveragePool" in operators(proto)
    np.testing.assert_allclose(answers(proto.SerializeToString(), images), answers(make.bytes(), images), atol=1e-5)


@pytest.mark.parametrize("axes", [[1], [1, 2], [1, 2, 3], [2], None])
def test_another_mean_stays(axes):
    make = Net()
    mean = make.node("ReduceMean", make.conv("input", (3, 8)), *([make.constant(axes, np.int64)] if axes else []))
    make.node("Reshape", make.node("Expand", mean, make.constant([1, 8, 16, 16], np.int64)), make.constant([1, 2048], np.int64), output="logits")
    proto = rewritten(make.bytes(labels=2048))
    assert "ReduceMean" in operators(proto)


def test_a_mean_of_another_rank_stays():
    make = Net()
    rows = make.node("Reshape", make.conv("input", (3, 5)), make.constant([1, 5, 2, 8, 16], np.int64))
    means = make.node(
        "ReduceMean", make.node("ReduceMean", rows, make.constant([2, 3], np.int64), keepdims=0), make.constant([2], np.int64), keepdims=0
    )
    make.node("Identity", means, output="logits")
    assert operators(rewritten(make.bytes())).count("ReduceMean") == 2


def test_a_relu_goes_before_max_pooling_and_both_are_integers(answers, images, calibration):
    make = Net()
    pooled = make.node("Relu", make.node("MaxPool", make.conv("input", (3, 8)), kernel_shape=[2, 2], strides=[2, 2]))
    make.linear(make.pooled(make.conv(pooled, (8, 8))), 8, 5, output="logits")
    proto = rewritten(make.bytes())
    assert operators(proto)[:3] == ["Conv", "Relu", "MaxPool"]
    np.testing.assert_allclose(answers(proto.SerializeToString(), images), answers(make.bytes(), images), atol=1e-5)
    made = onnx.load_from_string(int8.quantize(make.bytes(), calibration).model)
    pool = next(node for node in made.graph.node if node.op_type == "MaxPool")
    makers = {name: node for node in made.graph.node for name in node.output}
    readers = {name: node for node in made.graph.node for name in node.input}
    before, after = makers[pool.input[0]], readers[pool.output[0]]
    assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
    assert list(before.input[1:]) == list(after.input[1:])  # one scale, so that it only moves integers


@pytest.mark.parametrize("other", ["reads the convolution", "reads the pooling", "is the graph's output"])
def test_a_relu_behind_a_pooling_that_something_else_reads_stays(other):
    make = Net()
    conv = make.conv("input", (3, 8))
    pool = make.node("MaxPool", conv, kernel_shape=[2, 2], strides=[2, 2])
    relu = make.node("Relu", pool)
    source = {"reads the convolution": conv, "reads the pooling": pool}.get(other, relu)
    both = make.node("Concat", make.pooled(relu), make.pooled(source), axis=1)
    make.linear(both, 16, 5, output="logits")
    proto = onnx.load_from_string(make.bytes())
    if other == "is the graph's output":
        proto.graph.output.append(helper.make_tensor_value_info(pool, TensorProto.FLOAT, [1, 8, 8, 8]))
    assert operators(rewritten(proto.SerializeToString()))[:3] == ["Conv", "MaxPool", "Relu"]


def test_attributes_that_say_what_holds_without_them_go(answers, images):
    make = Net()
    usual = {"group": 1, "auto_pad": "NOTSET", "dilations": [1, 1], "strides": [1, 1], "kernel_shape": [3, 3]}
    first = make.node("Conv", "input", make.constant(make.rng.normal(0, 0.3, (8, 3, 3, 3))), pads=[0] * 4, **usual)
    telling = {"group": 2, "auto_pad": "SAME_UPPER", "kernel_shape": [3, 3]}
    second = make.node("Conv", first, make.constant(make.rng.normal(0, 0.3, (8, 4, 3, 3))), **telling)
    third = make.node("Conv", second, make.constant(make.rng.normal(0, 0.3, (8, 8, 3, 3))), pads=[1, 0, 0, 0], strides=[1, 2], dilations=[2, 1])
    make.linear(make.pooled(third), 8, 5, output="logits")
    proto = rewritten(make.bytes())
    names = [sorted(entry.name for entry in node.attribute) for node in proto.graph.node if node.op_type == "Conv"]
    assert names == [["kernel_shape"], ["auto_pad", "group", "kernel_shape"], ["dilations", "pads", "strides"]]
    np.testing.assert_allclose(answers(proto.SerializeToString(), images), answers(make.bytes(), images), atol=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.5), (0.25, 3.0), (1.0, 2.0), (-1.0, 1.0)])
def test_a_products_factors_count_in_int8(answers, images, calibration, alpha, beta):
    """onnxruntime's quantizer alone divides the bias by beta."""
    make = Net()
    pooled = make.pooled(make.node("Relu", make.conv("input", (3, 8))))
    weight, bias = make.constant(make.rng.normal(0, 0.3, (8, 5))), make.constant(make.rng.normal(0, 1, 5))
    shared = make.node("Gemm", pooled, weight, bias)
    make.node("Add", shared, make.node("Gemm", pooled, weight, bias, alpha=alpha, beta=beta), output="logits")
    graph = make.bytes()
    np.testing.assert_allclose(answers(rewritten(graph).SerializeToString(), images), answers(graph, images), atol=1e-5)
    assert sqnr_db(answers(graph, images), answers(int8.quantize(graph, calibration).model, images)) > 25

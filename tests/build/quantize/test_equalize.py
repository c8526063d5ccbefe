"""Channels are scaled so that weights on both sides span alike, and every answer stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.build.quantize import int8
from edgecnn.build.quantize._equalize import equalize
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._heavy import own_constants
from edgecnn.device.engines import open_graph
from tests.build.quantize.conftest import sqnr_db
from tests.fixtures.onnx_nets import Net

WIDTH = 8


def chain(*, activation: str = "Relu", trans_b: int = 1, factors: np.ndarray | None = None) -> bytes:
    """Convolution, depthwise one, 1x1 one, and a Gemm behind a flattened map of 2 x 2. factors: of the channels before the depthwise one and
    behind it, (2, 8): a rescaled net is the same function."""
    make = Net(batch="batch", size=4)
    x = make.node(activation, make.conv("input", (3, WIDTH)))
    x = make.node(activation, make.conv(x, (WIDTH, WIDTH), groups=WIDTH))
    x = make.node(activation, make.conv(x, (WIDTH, 6), kernel=1))
    x = make.node("Flatten", make.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    weight = make.rng.normal(0, 0.2, (5, 24))
    bias = make.constant(make.rng.normal(0, 0.3, 5))
    make.node("Gemm", x, make.constant(weight if trans_b else weight.T), bias, transB=trans_b, output="logits")
    if factors is not None:
        values = {entry.name: numpy_helper.to_array(entry).copy() for entry in make.constants}
        for (weight_name, bias_name, behind), factor in zip((("c0", "c1", "c2"), ("c2", "c3", "c4")), factors, strict=True):
            values[weight_name] *= factor.reshape(-1, 1, 1, 1)
            values[bias_name] *= factor
            values[behind] /= factor.reshape(-1, 1, 1, 1) if behind == "c2" else factor.reshape(1, -1, 1, 1)
        make.constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    return make.bytes()


def equalized(model: bytes) -> tuple[bytes, int]:
    proto = load(model)
    own_constants(proto)
    count = equalize(proto)
    return proto.SerializeToString(), count


def constants(model: bytes) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(model).graph.initializer}


def spans(weights: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(weights).max(axis=tuple(place for place in range(weights.ndim) if place != axis))


def check_spans(values: dict[str, np.ndarray]) -> None:
    head = values["c7"] if values["c7"].shape == (5, 24) else values["c7"].T
    np.testing.assert_allclose(spans(values["c0"], 0), spans(values["c2"], 0), rtol=5e-3)
    np.testing.assert_allclose(spans(values["c2"], 0), spans(values["c4"], 1), rtol=5e-3)
    np.testing.assert_allclose(spans(values["c4"], 0), spans(head.reshape(5, 6, 4), 1), rtol=5e-3)


@pytest.fixture
def small(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images[:, :, ::4, ::4])


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Identity"])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_weights_span_alike_on_both_sides_and_answers_stay(small, answers, activation, trans_b):
    model = chain(activation=activation, trans_b=trans_b)
    made, count = equalized(model)
    assert count == 3
    check_spans(constants(made))
    assert sqnr_db(answers(model, small), answers(made, small)) > 110


@given(st.lists(st.floats(-4, 4), min_size=16, max_size=16))
def test_hostile_ranges_are_undone_whatever_they_are(exponents):
    model = chain(factors=np.power(10, np.array(exponents).reshape(2, WIDTH)))
    made, count = equalized(model)
    assert count == 3
    check_spans(constants(made))
    x = np.random.default_rng(0).normal(0, 1, (4, 3, 4, 4)).astype(np.float32)
    expected, found = (open_graph(graph, optimize=False).run({"input": x})[0] for graph in (model, made))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_int8_of_a_rescaled_net_is_as_good_as_of_the_tame_one(small, answers):
    factors = np.exp(np.random.default_rng(1).uniform(-np.log(16), np.log(16), (2, WIDTH)))
    calibration = lambda: iter([small])  # noqa: E731
    expected = answers(chain(), small)
    wild, tame, cured = (
        sqnr_db(expected, answers(int8.quantize(model, calibration, equalize=equal).model, small))
        for model, equal in ((chain(factors=factors), False), (chain(), True), (chain(factors=factors), True))
    )
    assert wild < tame - 6
    assert abs(cured - tame) < 1


def test_what_clips_or_adds_or_is_read_otherwise_stays(images, answers):
    make = Net()
    first = make.node("Clip", make.conv("input", (3, 8)), make.constant(0), make.constant(6))
    second = make.node("Relu", make.conv(first, (8, 8)))
    third = make.node("Add", make.conv(second, (8, 8)), second)
    make.linear(make.pooled(make.node("Sigmoid", make.conv(third, (8, 8)))), 8, 5, output="logits")
    model = make.bytes()
    made, count = equalized(model)
    assert count == 0
    before, after = constants(model), constants(made)
    assert {name: value.tobytes() for name, value in before.items()} == {name: value.tobytes() for name, value in after.items()}


def test_several_layers_may_read_the_same_channels(images, answers):
    make = Net()
    shared = make.node("Relu", make.conv("input", (3, 8)))
    both = make.node("Concat", make.conv(shared, (8, 4)), make.conv(shared, (8, 4), kernel=1), axis=1)
    make.linear(make.pooled(both), 8, 5, output="logits")
    model = make.bytes()
    made, count = equalized(model)
    assert count == 1
    values = constants(made)
    np.testing.assert_allclose(spans(values["c0"], 0), np.maximum(spans(values["c2"], 1), spans(values["c4"], 1)), rtol=2e-3)
    assert sqnr_db(answers(model, images), answers(made, images)) > 110


def test_an_output_of_the_graph_stays(answers, images):
    make = Net()
    make.linear(make.pooled(make.node("Relu", make.conv("input", (3, 8)))), 8, 5, output="logits")
    proto = onnx.load_from_string(make.bytes())
    proto.graph.output.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, [1, 8, 16, 16]))
    assert equalized(proto.SerializeToString())[1] == 0


def test_what_a_subgraph_reads_stays():
    make = Net()
    relu = make.node("Relu", make.conv("input", (3, 8)))
    make.conv(relu, (8, 8))
    branch = helper.make_graph(
        [helper.make_node("Identity", [relu], ["inner"])], "then", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    )
    condition = make.constant(True, np.bool_)
    chosen = make.node("If", condition, then_branch=branch, else_branch=branch)
    make.linear(make.pooled(chosen), 8, 5, output="logits")
    proto = helper.make_model(
        helper.make_graph(
            make.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 16])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
            make.constants,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    assert equalized(proto.SerializeToString())[1] == 0


@pytest.mark.parametrize("left", [0.0, 1e-30])
def test_what_a_dead_channel_leaves_does_not_outgrow_the_others(small, answers, left):
    """A channel with next to no weights answers its bias: scaled like its weights, it would be a range of its own."""
    proto = onnx.load_from_string(chain())
    for entry in proto.graph.initializer:
        values = numpy_helper.to_array(entry).copy()
        if entry.name == "c0":
            values[3] *= left
        if entry.name == "c1":
            values[3] = 0.5
        entry.CopyFrom(numpy_helper.from_array(values, entry.name))
    model = proto.SerializeToString()
    made, _ = equalized(model)
    biases = np.abs(constants(made)["c1"])
    assert biases[3] < 20 * np.delete(biases, 3).max()
    expected = answers(model, small)
    assert sqnr_db(expected, answers(made, small)) > 100
    assert sqnr_db(expected, answers(int8.quantize(model, lambda: iter([small]), equalize=True).model, small)) > 20


def test_layers_that_share_weights_are_scaled_each_for_itself(images, answers):
    make = Net()
    weight, bias = make.constant(make.rng.normal(0, 0.2, (8, 8, 3, 3))), make.constant(make.rng.normal(0, 0.3, 8))
    x = make.node("Relu", make.conv("input", (3, 8)))
    for _ in range(3):
        x = make.node("Relu", make.node("Conv", x, weight, bias, pads=[1] * 4))
    make.linear(make.pooled(x), 8, 5, output="logits")
    model = make.bytes()
    made, count = equalized(model)
    assert count == 3
    assert sqnr_db(answers(model, images), answers(made, images)) > 100


def test_the_option_is_in_the_graph_and_in_no_other_way_than_by_weights(small: np.ndarray) -> None:
    model = chain()
    calibrate = lambda: iter([small])  # noqa: E731
    plain, equal = (onnx.load_from_string(int8.quantize(model, calibrate, equalize=option).model) for option in (False, True))
    assert [(node.op_type, node.input, node.output) for node in plain.graph.node] == [(n.op_type, n.input, n.output) for n in equal.graph.node]
    before, after = (constants(graph.SerializeToString())["c4_quantized"] for graph in (plain, equal))
    assert (before != after).any()

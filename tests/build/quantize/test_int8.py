from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from edgecnn.build.quantize import int8
from edgecnn.errors import DataRejected, ImageRejected, SourceRejected, UsageError
from tests.fixtures.plain_int8 import PLAIN


def test_onnxruntime_runs_integers_from_the_input_to_the_last_product(graph, calibration, operators):
    found = operators(int8.quantize(graph, calibration).model)
    assert found.count("QuantizeLinear") == 1  # the input
    assert not {"DequantizeLinear", "Relu", "Clip", "Conv", "Add", "Gemm"} & set(found)
    assert {"QLinearConv", "QLinearAdd", "QGemm", "QLinearGlobalAveragePool"} <= set(found)


def test_no_relu_or_clip_is_left_before_a_pair(graph, calibration):
    found = [node.op_type for node in onnx.load_from_string(int8.quantize(graph, calibration).model).graph.node]
    assert "Relu" not in found
    assert "Clip" not in found


def test_weights_are_per_channel_int8_and_biases_int32(graph, calibration):
    proto = onnx.load_from_string(int8.quantize(graph, calibration).model)
    kinds = {entry.name: (entry.data_type, tuple(entry.dims)) for entry in proto.graph.initializer}
    assert kinds["c0_quantized"] == (onnx.TensorProto.INT8, (16, 3, 3, 3))
    assert kinds["c0_scale"] == (onnx.TensorProto.FLOAT, (16,))
    assert kinds["c1_quantized"] == (onnx.TensorProto.INT32, (16,))
    assert kinds["input_zero_point"][0] == onnx.TensorProto.UINT8


def test_zero_points_are_free_so_that_a_relu_uses_the_whole_range(graph, calibration):
    for kind, lowest in (("uint8", 0), ("int8", -128)):
        proto = onnx.load_from_string(int8.quantize(graph, calibration, activation_type=kind).model)
        points = {entry.name: onnx.numpy_helper.to_array(entry) for entry in proto.graph.initializer}
        assert points["t1_zero_point"] == lowest
        assert points["input_zero_point"] != lowest


def test_the_batches_that_images_come_in_make_no_difference(graph, images):
    made = [int8.quantize(graph, lambda n=n: (images[i : i + n] for i in range(0, len(images), n))).model for n in (1, 5, 24)]
    assert made[0] == made[1] == made[2]


def test_more_images_take_no_more_memory(graph, images):
    def peak(rounds: int) -> int:
        tracemalloc.start()
        int8.quantize(graph, lambda: (images for _ in range(rounds)), **PLAIN)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(40) < peak(2) + 100_000


def test_a_clip_that_keeps_away_from_zero_stays(net, images, calibration, answers, sqnr):
    make = net()
    clipped = make.node("Clip", make.conv("input", (3, 8)), make.constant(0.5), make.constant(1))
    make.linear(make.pooled(make.conv(clipped, (8, 8))), 8, 5, output="logits")
    graph = make.bytes()
    assert sqnr(answers(graph, images), answers(int8.quantize(graph, calibration).model, images)) > 25


def test_a_relu_behind_max_pooling_is_absorbed_too(net, images, calibration, operators, answers, sqnr):
    make = net()
    pooled = make.node("Relu", make.node("MaxPool", make.conv("input", (3, 8)), kernel_shape=[2, 2], strides=[2, 2]))
    make.linear(make.pooled(make.conv(pooled, (8, 8))), 8, 5, output="logits")
    graph = make.bytes()
    made = int8.quantize(graph, calibration).model
    found = operators(made)
    assert not {"Relu", "DequantizeLinear"} & set(found)
    assert sqnr(answers(graph, images), answers(made, images)) > 25


def test_what_follows_the_last_product_stays_float(net, calibration, operators):
    """Groups of classes folded with log-sum-exp: rounding the logits to 256 levels before it would cost answers."""
    make = net()
    logits = make.linear(make.pooled(make.node("Relu", make.conv("input", (3, 8)))), 8, 10)
    groups = make.node("Reshape", logits, make.constant([1, 5, 2], np.int64))
    total = make.node("ReduceSum", make.node("Exp", groups), make.constant([2], np.int64), keepdims=0)
    make.node("Concat", make.node("Log", total), output="logits", axis=1)
    proto = onnx.load_from_string(int8.quantize(make.bytes(), calibration).model)
    rounded = [node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    maker = {name: node.op_type for node in proto.graph.node for name in node.output}
    assert {maker.get(name, "the input") for name in rounded} == {"the input", "Conv", "GlobalAveragePool", "Flatten"}
    assert "QGemm" in operators(proto.SerializeToString())


def test_a_relu_behind_a_convolution_at_the_very_end_is_absorbed(net, images, calibration, operators, answers, sqnr):
    make = net()
    scores = make.node("Relu", make.conv(make.node("Relu", make.conv("input", (3, 8))), (8, 5), kernel=1))
    make.node("Flatten", make.node("GlobalAveragePool", scores), output="logits")
    graph = make.bytes()
    made = int8.quantize(graph, calibration).model
    assert operators(made).count("QLinearConv") == 2
    assert "Relu" not in operators(made)
    assert sqnr(answers(graph, images), answers(made, images)) > 25


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_that_drops_height_and_width_is_pooled_as_integers(net, images, calibration, operators, answers, sqnr, axes):
    make = net(batch="batch")
    mean = make.node("ReduceMean", make.node("Relu", make.conv("input", (3, 8))), make.constant(axes, np.int64), keepdims=0)
    make.linear(mean, 8, 5, output="logits")
    graph = make.bytes()
    made = int8.quantize(graph, calibration).model
    assert "QLinearGlobalAveragePool" in operators(made)
    assert "DequantizeLinear" not in operators(made)
    assert sqnr(answers(graph, images), answers(made, images)) > 25


def test_operators_that_gain_nothing_stay_float(net, images, calibration, operators, answers, sqnr):
    make = net()
    gate = make.node("HardSigmoid", make.conv("input", (3, 8)))
    normed = make.node("Mul", gate, make.conv("input", (3, 8)))
    make.linear(make.pooled(make.conv(normed, (8, 8))), 8, 5, output="logits")
    graph = make.bytes()
    made = int8.quantize(graph, calibration).model
    assert "HardSigmoid" in operators(made)
    assert sqnr(answers(graph, images), answers(made, images)) > 25


def test_opset_11_is_raised_for_per_channel_weights(net, calibration):
    make = net(opset=11)
    mean = make.node("ReduceMean", make.node("Relu", make.conv("input", (3, 8))), axes=[2, 3], keepdims=1)
    make.linear(make.node("Flatten", mean), 8, 5, output="logits")
    proto = onnx.load_from_string(int8.quantize(make.bytes(), calibration).model)
    assert [entry.version for entry in proto.opset_import] == [13]
    assert "GlobalAveragePool" in [node.op_type for node in proto.graph.node]


def test_a_dead_channel_and_a_constant_activation_are_survived(net, images, calibration, answers):
    make = net()
    weight = make.rng.normal(0, 0.3, (8, 3, 3, 3))
    weight[2] = 0
    dead = make.node("Relu", make.node("Conv", "input", make.constant(weight), make.constant(np.zeros(8)), pads=[1] * 4))
    silent = make.node("Relu", make.node("Conv", dead, make.constant(np.zeros((8, 8, 1, 1)))))
    make.linear(make.pooled(silent), 8, 5, output="logits")
    graph = make.bytes()
    assert answers(int8.quantize(graph, calibration).model, images) == pytest.approx(answers(graph, images), abs=1e-3)


CORRECTIONS = {"ranges": "mse", "equalize": True, "rounding": "adaptive", "correct_bias": True}


def gated(make):
    """An operator without integers between convolutions, and a product that has no bias."""
    gate = make.node("HardSigmoid", make.conv("input", (3, 8)))
    mixed = make.node("Mul", make.conv(gate, (8, 8), groups=4), make.conv("input", (3, 8), kernel=1))
    make.node("MatMul", make.pooled(mixed), make.constant(make.rng.normal(0, 0.3, (8, 5))), output="logits")


def branched(make):
    """Branches that are joined, of which one layer's answers nobody but a pooling reads."""
    first = make.node("Relu", make.conv("input", (3, 8)))
    joined = make.node("Concat", make.node("Relu", make.conv(first, (8, 4))), make.node("MaxPool", first, kernel_shape=[1, 1]), axis=1)
    make.linear(make.pooled(make.node("Relu", make.conv(joined, (12, 8)))), 8, 5, output="logits")


def dead(make):
    """A dead channel, and a layer of nothing but zeros beside a live one."""
    weight = make.rng.normal(0, 0.3, (8, 3, 3, 3))
    weight[2] = 0
    first = make.node("Relu", make.node("Conv", "input", make.constant(weight), make.constant(make.rng.normal(0, 1, 8)), pads=[1] * 4))
    silent = make.node("Relu", make.node("Conv", first, make.constant(np.zeros((8, 8, 1, 1)))))
    make.linear(make.pooled(make.node("Add", make.conv(first, (8, 8)), silent)), 8, 5, output="logits")


@pytest.mark.parametrize("build", [gated, branched, dead])
@pytest.mark.parametrize("scheme", [{}, {"per_channel": False, "activation_type": "int8"}])
def test_corrections_never_cost_much_whatever_the_net_is(net, images, calibration, answers, sqnr, build, scheme):
    make = net()
    build(make)
    expected = answers(make.bytes(), images)
    plain, corrected = (answers(int8.quantize(make.bytes(), calibration, **scheme, **more).model, images) for more in ({}, CORRECTIONS))
    assert sqnr(expected, corrected) > max(25, sqnr(expected, plain) - 1)


def test_what_stays_in_float_and_what_never_changes_is_told(net, calibration):
    make = net()
    gated(make)
    assert int8.quantize(make.bytes(), calibration).note == "left in float: 1 HardSigmoid"
    make = net()
    dead(make)
    note = int8.quantize(make.bytes(), calibration, **CORRECTIONS).note
    assert note == "one and the same value on all calibration images comes from n2, n3: dead channels, or images that don't fit"


def test_pictures_that_are_all_the_same_are_told(graph, images):
    note = int8.quantize(graph, lambda: iter([images[:1], images[:1]])).note or ""
    assert note.startswith("all calibration images are the same picture")


def test_a_graph_without_convolutions_or_products_is_left_and_told(net, calibration):
    make = net()
    flat = make.node("Flatten", make.node("GlobalAveragePool", "input"))
    make.node("Relu", flat, output="logits")
    graph = make.bytes(labels=3)
    made = int8.quantize(graph, calibration)
    assert "nothing was quantized" in (made.note or "")
    assert [node.op_type for node in onnx.load_from_string(made.model).graph.node] == ["GlobalAveragePool", "Flatten", "Relu"]


def test_without_calibration_images_it_is_a_usage_error(graph):
    with pytest.raises(UsageError, match="needs calibration images"):
        int8.quantize(graph, None)


@pytest.mark.parametrize("empty", [[], [np.zeros((0, 3, 16, 16), np.float32)]])
def test_no_images_are_refused(graph, empty):
    with pytest.raises(DataRejected, match="holds no images"):
        int8.quantize(graph, lambda: iter(empty))


@pytest.mark.parametrize("options", [{}, CORRECTIONS])
def test_infinite_activations_are_refused_with_the_tensors_name(net, images, options):
    make = net()
    blown = make.node("Exp", make.node("Mul", make.conv("input", (3, 8)), make.constant(1e4)))
    make.linear(make.pooled(make.conv(blown, (8, 8))), 8, 5, output="logits")
    with pytest.raises(SourceRejected, match="t2 is NaN or infinite on a calibration image"):
        int8.quantize(make.bytes(), lambda: iter([np.abs(images) + 1]), **options)


def test_an_unreadable_image_stops_it(graph):
    def broken():
        yield np.zeros((1, 3, 16, 16), np.float32)
        raise ImageRejected("cat.jpg is no image that can be read.")

    with pytest.raises(ImageRejected, match=r"cat\.jpg"):
        int8.quantize(graph, broken)

"""What layers cost, against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.graph import layers, read_graph
from edgecnn.artifact.records import Layer
from tests.artifact import onnx_models
from tests.artifact.onnx_models import floats, save, weight


def single(node: onnx.NodeProto, *weights: TensorProto, x: tuple[int | str, ...] | None, y: tuple[int | str, ...] | None) -> Layer:
    """The only layer of a graph from x to y."""
    inputs = [floats("x", *x) if x is not None else floats("x", None)]
    if x is None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    outputs = [floats("y", *y) if y is not None else helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    (layer,) = layers(read_graph(save(helper.make_graph([node], "g", inputs, outputs, list(weights)))))
    return layer


def test_a_convolution() -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv1")
    found = single(node, weight("w", 16, 3, 5, 3), weight("b", 16), x=(1, 3, 32, 32), y=(1, 16, 28, 30))
    assert found == Layer(
        name="conv1",
        operator="Conv",
        output_shape=(1, 16, 28, 30),
        parameters=16 * 3 * 5 * 3 + 16,
        macs=(16 * 28 * 30) * (3 * 5 * 3),
        bytes=4 * (16 * 3 * 5 * 3 + 16),
    )


@pytest.mark.parametrize("batch", [1, 8, "batch"])
def test_the_batch_counts_as_one(batch: int | str) -> None:
    conv = single(helper.make_node("Conv", ["x", "w"], ["y"]), weight("w", 4, 3, 1, 1), x=(batch, 3, 6, 6), y=(batch, 4, 6, 6))
    assert conv.macs == 4 * 6 * 6 * 3
    gemm = single(helper.make_node("Gemm", ["x", "w"], ["y"]), weight("w", 20, 10), x=(batch, 20), y=(batch, 10))
    assert gemm.macs == 200
    matmul = single(helper.make_node("MatMul", ["x", "w"], ["y"]), weight("w", 20, 10), x=(batch, 7, 20), y=(batch, 7, 10))
    assert matmul.macs == 7 * 20 * 10


def test_grouped_and_depthwise_convolutions() -> None:
    grouped = single(helper.make_node("Conv", ["x", "w"], ["y"], group=2), weight("w", 8, 3, 3, 3), x=(1, 6, 9, 9), y=(1, 8, 7, 7))
    assert grouped.macs == 8 * 7 * 7 * (6 // 2) * 9
    depthwise = single(helper.make_node("Conv", ["x", "w"], ["y"], group=32), weight("w", 32, 1, 3, 3), x=(1, 32, 9, 9), y=(1, 32, 7, 7))
    assert depthwise.macs == 32 * 7 * 7 * 9


def test_a_transposed_convolution_multiplies_each_input() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], group=2)
    found = single(node, weight("w", 8, 3, 2, 2), x=(1, 8, 5, 5), y=(1, 6, 10, 10))
    assert found.macs == (8 * 5 * 5) * (3 * 2 * 2)


def test_gemm_with_either_layout_of_weights() -> None:
    plain = single(helper.make_node("Gemm", ["x", "w", "b"], ["y"]), weight("w", 20, 10), weight("b", 10), x=(1, 20), y=(1, 10))
    turned = single(helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), weight("w", 10, 20), weight("b", 10), x=(1, 20), y=(1, 10))
    assert plain.macs == turned.macs == 200
    assert plain.parameters == 210


def test_rows_of_a_gemm_that_are_not_the_batch() -> None:
    found = single(helper.make_node("Gemm", ["x", "w"], ["y"]), weight("w", 20, 10), x=(1, 20), y=(49, 10))
    assert found.macs == 49 * 200


def test_two_activations_multiplied() -> None:
    inputs = [floats("a", "batch", 4, 7, 16), floats("b", "batch", 4, 16, 7)]
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    (found,) = layers(read_graph(save(helper.make_graph([node], "g", inputs, [floats("y", "batch", 4, 7, 7)]))))
    assert (found.macs, found.parameters) == (4 * 7 * 7 * 16, 0)


def test_quantized_operators() -> None:
    scale, zero = weight("s"), weight("z", dtype="uint8")
    w, b = weight("w", 8, 3, 3, 3, dtype="int8"), weight("b", 8, dtype="int32")
    conv = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z", "b"], ["y"])
    found = single(conv, scale, zero, w, b, x=(1, 3, 8, 8), y=(1, 8, 6, 6))
    assert (found.parameters, found.macs, found.bytes) == (8 * 27 + 8, 8 * 36 * 27, 8 * 27 + 8 * 4 + 4 + 1)
    integer = single(helper.make_node("ConvInteger", ["x", "w", "z", "z"], ["y"]), w, zero, x=(1, 3, 8, 8), y=(1, 8, 6, 6))
    assert (integer.parameters, integer.macs) == (8 * 27, 8 * 36 * 27)
    matrix = weight("m", 20, 10, dtype="int8")
    qlinear = single(helper.make_node("QLinearMatMul", ["x", "s", "z", "m", "s", "z", "s", "z"], ["y"]), scale, zero, matrix, x=(1, 20), y=(1, 10))
    assert (qlinear.parameters, qlinear.macs) == (200, 200)
    qgemm = helper.make_node("QGemm", ["x", "s", "z", "m", "s", "z"], ["y"], domain="com.microsoft", transB=1)
    assert single(qgemm, scale, zero, weight("m", 10, 20, dtype="int8"), x=(1, 20), y=(1, 10)).macs == 200


def test_shapes_that_the_graph_leaves_out_or_names_otherwise_are_told() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    for stated in (None, ("unk__0", 4, 6, 6), ("other", "c", "h", "w")):
        found = single(conv, weight("w", 4, 3, 1, 1), x=("batch", 3, 6, 6), y=stated)
        assert (found.output_shape, found.macs) == (("batch", 4, 6, 6), 4 * 6 * 6 * 3)


def test_multiples_of_an_open_batch_are_shown_as_such() -> None:
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    shape = numpy_helper.from_array(np.array([-1, 5]), "s")
    assert single(node, shape, x=("n", 4, 10), y=None).output_shape == ("8*n", 5)
    assert single(node, shape, x=(None, 4, 10), y=None).output_shape == ("8*?", 5)


def test_unknown_shapes_give_no_number_instead_of_a_wrong_one() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    assert single(conv, weight("w", 4, 3, 1, 1), x=None, y=None).macs is None
    assert single(conv, weight("w", 4, 3, 1, 1), x=None, y=None).output_shape is None
    partly = single(conv, weight("w", 4, 3, 1, 1), x=("batch", 3, "h", 6), y=("batch", 4, "h", 6))
    assert partly.macs is None
    assert partly.output_shape == ("batch", 4, "h", 6)
    (branching,) = layers(read_graph(onnx_models.branches()))
    assert (branching.operator, branching.macs) == ("If", None)


def test_an_axis_without_a_name_is_shown_as_a_question_mark() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, None]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    assert layers(read_graph(save(graph)))[0].output_shape == (3, "?")


def test_scales_of_a_dynamically_quantized_graph_are_no_parameters() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "w", "xz"], ["integers"]),
        helper.make_node("Mul", ["xs", "ws"], ["scale"]),
        helper.make_node("Cast", ["integers"], ["floats"], to=1),
        helper.make_node("Mul", ["floats", "scale"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    constants = [weight("w", 20, 10, dtype="int8"), weight("ws", 10), weight("b", 10)]
    found = layers(read_graph(save(helper.make_graph(nodes, "g", [floats("x", 1, 20)], [floats("y", 1, 10)], constants))))
    assert sum(layer.parameters for layer in found) == 210
    assert [layer.output_shape for layer in found][2:] == [(10,), (1, 10), (1, 10), (1, 10)]


def test_what_only_makes_constants_belongs_to_its_reader() -> None:
    half = numpy_helper.from_array(np.ones((10, 20), np.float16), "")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=half),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Transpose", ["f"], ["w"], perm=[1, 0]),
        helper.make_node("Gemm", ["x", "w"], ["h"], name="fc"),
        helper.make_node("Add", ["h", "bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [floats("x", 1, 20)], [floats("y", 1, 10)], [weight("bias", 10)], value_info=[floats("h", 1, 10), floats("w", 20, 10)]
    )
    gemm, add = layers(read_graph(save(graph)))
    assert (gemm.name, gemm.parameters, gemm.macs, gemm.bytes) == ("fc", 200, 200, 400)
    assert (add.name, add.operator, add.parameters, add.macs, add.bytes) == ("y", "Add", 10, 0, 40)


def test_a_weight_that_two_layers_share_is_counted_once() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Conv", ["h", "w"], ["y"])]
    shape = (1, 3, 4, 4)
    graph = helper.make_graph(nodes, "g", [floats("x", *shape)], [floats("y", *shape)], [weight("w", 3, 3, 1, 1)], value_info=[floats("h", *shape)])
    first, second = layers(read_graph(save(graph)))
    assert (first.parameters, second.parameters) == (9, 0)
    assert first.macs == second.macs == 3 * 16 * 3


def test_numbers_that_state_how_to_compute_are_no_parameters() -> None:
    reshape = single(helper.make_node("Reshape", ["x", "s"], ["y"]), weight("s", 2, dtype="int64"), x=(1, 4), y=(1, 4))
    clip = single(helper.make_node("Clip", ["x", "low", "high"], ["y"]), weight("low"), weight("high"), x=(1, 4), y=(1, 4))
    assert (reshape.parameters, reshape.bytes) == (0, 16)
    assert (clip.parameters, clip.bytes) == (0, 8)


def test_the_quantized_net_has_the_shapes_parameters_and_macs_of_the_original() -> None:
    original = layers(read_graph(onnx_models.exported()))
    quantized = layers(read_graph(onnx_models.quantized()))
    expected = {
        "parameters": (3 * 9 * 16 + 16) + (9 * 16 + 16) + (16 * 32 + 32) + (32 * 10 + 10),
        "macs": 16 * 32 * 32 * 27 + 16 * 16 * 16 * 9 + 32 * 16 * 16 * 16 + 320,
    }
    for found in (original, quantized):
        assert sum(layer.parameters for layer in found) == expected["parameters"]
        assert sum(layer.macs or 0 for layer in found) == expected["macs"]
        assert all(layer.macs is not None and layer.output_shape is not None for layer in found)
    assert sum(layer.bytes for layer in quantized) < sum(layer.bytes for layer in original) / 2
    assert not any(layer.operator == "Constant" for layer in quantized)
    convolutions = [layer.output_shape for layer in quantized if layer.operator == "Conv"]
    assert convolutions == [(1, 16, 32, 32), (1, 16, 16, 16), (1, 32, 16, 16)]

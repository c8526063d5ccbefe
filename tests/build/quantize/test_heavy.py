from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.build.quantize import int8
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._heavy import heavy_layers, own_constants, replace_constant
from tests.fixtures.onnx_nets import Net
from tests.fixtures.plain_int8 import PLAIN


def test_layers_are_found_with_what_their_integers_are_worth(graph, calibration):
    proto = onnx.load_from_string(int8.quantize(graph, calibration, **PLAIN).model)
    originals = {entry.name: numpy_helper.to_array(entry) for entry in load(graph).graph.initializer}
    values = {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
    layers = heavy_layers(proto)
    assert [layer.node.name for layer in layers] == ["n0", "n2", "n4", "n9"]
    for layer in layers:
        shape = [-1 if place == layer.axis else 1 for place in range(values[layer.weights].ndim)]
        restored = values[layer.weights] * layer.scale.reshape(shape)
        assert np.abs(restored - originals[layer.weights.removesuffix("_quantized")]).max() <= 0.51 * layer.scale.max()
        assert values[layer.bias].dtype == np.int32
        assert layer.bias_scale is not None
        assert layer.bias_scale.shape == values[layer.bias].shape


def test_a_float_graph_has_none(graph):
    assert heavy_layers(load(graph)) == ()


def test_shared_constants_are_copied_and_missing_biases_made(images, answers):
    make = Net()
    weight, bias = make.constant(make.rng.normal(0, 0.2, (8, 8, 3, 3))), make.constant(make.rng.normal(0, 0.2, 8))
    x = make.conv("input", (3, 8))
    for inputs in ((weight, bias), (weight,), (weight, bias)):
        x = make.node("Relu", make.node("Conv", x, *inputs, pads=[1] * 4))
    make.node("MatMul", make.pooled(x), make.constant(make.rng.normal(0, 0.2, (8, 5))), output="logits")
    graph = make.bytes()
    proto = load(graph)
    own_constants(proto)
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    constants = [name for node in convolutions for name in node.input[1:]]
    assert len(constants) == len(set(constants)) == 8
    assert len(proto.graph.node[-1].input) == 2
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_array_equal(answers(proto.SerializeToString(), images), answers(graph, images))


def test_constants_of_their_own_are_left(graph):
    before = load(graph)
    after = load(graph)
    own_constants(after)
    assert after == before


def test_a_replaced_constant_keeps_its_type(graph):
    proto = load(graph)
    replace_constant(proto, "c0", np.ones((16, 3, 3, 3), dtype=np.float64))
    entry = next(entry for entry in proto.graph.initializer if entry.name == "c0")
    assert entry.data_type == onnx.TensorProto.FLOAT
    with pytest.raises(StopIteration):
        replace_constant(proto, "nobody", np.ones(3))

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecnn.build.quantize import int8
from edgecnn.build.quantize._slim import slim


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_slim_graph_answers_bit_by_bit_as_before(graph, calibration, images, answers, operators, per_channel, monkeypatch):
    slender = int8.quantize(graph, calibration, per_channel=per_channel).model
    monkeypatch.setattr(int8, "slim", lambda proto: None)
    stout = int8.quantize(graph, calibration, per_channel=per_channel).model
    assert len(slender) < 0.9 * len(stout)
    np.testing.assert_array_equal(answers(slender, images), answers(stout, images))
    assert operators(slender) == operators(stout)


def test_biases_have_no_zero_point_and_weights_of_a_size_share_theirs(graph, calibration):
    proto = onnx.load_from_string(int8.quantize(graph, calibration).model)
    kinds = {entry.name: (entry.data_type, tuple(entry.dims)) for entry in proto.graph.initializer}
    backs = [node for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in kinds]
    biases = [node for node in backs if kinds[node.input[0]][0] == onnx.TensorProto.INT32]
    weights = [node for node in backs if kinds[node.input[0]][0] == onnx.TensorProto.INT8]
    assert (len(biases), len(weights)) == (4, 4)
    assert {len(node.input) for node in biases} == {2}
    assert len({node.input[2] for node in weights}) == 2  # 16 channels, and 5 labels


def test_names_that_are_taken_stay_and_other_zero_points_too():
    """Somebody else's graph may hold any name, and zero points that aren't 0."""
    constants = [
        numpy_helper.from_array(np.array([3, -4], np.int32), "b"),
        numpy_helper.from_array(np.array([0.5, 0.5], np.float32), "s"),
        numpy_helper.from_array(np.array([1, 0], np.int32), "z"),
    ]
    nodes = [
        helper.make_node("Identity", ["x"], ["t_q"], name="t_q"),
        helper.make_node("QuantizeLinear", ["t_q", "one"], ["t_QuantizeLinear_Output"], name="t_QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["t_QuantizeLinear_Output", "one"], ["t_DequantizeLinear_Output"], name="t_DequantizeLinear"),
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["b_DequantizeLinear_Output"], name="b_DequantizeLinear", axis=0),
        helper.make_node("Add", ["t_DequantizeLinear_Output", "b_DequantizeLinear_Output"], ["y"], name="add"),
    ]
    edges = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    proto = helper.make_model(helper.make_graph(nodes, "net", edges[:1], edges[1:], constants))
    slim(proto)
    assert [(node.name, list(node.output)) for node in proto.graph.node] == [
        ("t_q", ["t_q"]),
        ("t_QuantizeLinear", ["t_QuantizeLinear_Output"]),
        ("t_dq", ["t_dq"]),
        ("b_dq", ["b_dq"]),
        ("add", ["y"]),
    ]
    assert list(proto.graph.node[3].input) == ["b", "s", "z"]
    assert list(proto.graph.node[4].input) == ["t_dq", "b_dq"]


def test_an_output_of_the_graph_keeps_its_name(net, calibration, images, answers):
    """A convolution at the very end, whose pair is read by nobody."""
    make = net()
    pooled = make.node("GlobalAveragePool", make.conv(make.node("Relu", make.conv("input", (3, 8))), (8, 5), kernel=1))
    make.node("Flatten", pooled, output="logits")
    proto = onnx.load_from_string(int8.quantize(make.bytes(), calibration).model)
    assert [value.name for value in proto.graph.output] == ["logits"]
    assert answers(proto.SerializeToString(), images).shape == (24, 5)

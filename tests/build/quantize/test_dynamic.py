from __future__ import annotations

import onnx

from edgecnn.build.quantize import dynamic


def test_products_are_int8_and_convolutions_float(graph, operators):
    found = operators(dynamic.quantize(graph).model)
    assert "DynamicQuantizeMatMul" in found
    assert "Gemm" not in found
    assert "ConvInteger" not in found


def test_weights_have_a_scale_for_each_output(graph):
    proto = onnx.load_from_string(dynamic.quantize(graph).model)
    scales = [tuple(entry.dims) for entry in proto.graph.initializer if entry.name.endswith("_scale")]
    assert scales == [(5,)]


def test_a_graph_without_products_is_left_and_told(net):
    make = net()
    make.node("Flatten", make.node("GlobalAveragePool", make.conv("input", (3, 5))), output="logits")
    made = dynamic.quantize(make.bytes())
    assert "nothing was quantized" in (made.note or "")

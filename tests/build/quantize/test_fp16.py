from __future__ import annotations

import numpy as np
import onnx

from edgecnn.build.quantize import fp16


def test_onnxruntime_computes_as_before_without_a_cast(graph, operators):
    assert operators(fp16.quantize(graph).model) == operators(graph)


def test_large_tensors_are_halves_and_small_ones_are_not(graph):
    kinds = {entry.name: entry.data_type for entry in onnx.load_from_string(fp16.quantize(graph).model).graph.initializer}
    assert kinds["c0_float16"] == onnx.TensorProto.FLOAT16
    assert kinds["c1"] == onnx.TensorProto.FLOAT  # a bias of 16 values


def test_each_weight_is_the_nearest_half(graph):
    before = onnx.load_from_string(graph).graph.initializer[0]
    after = next(e for e in onnx.load_from_string(fp16.quantize(graph).model).graph.initializer if e.name == "c0_float16")
    wanted = onnx.numpy_helper.to_array(before).astype(np.float16)
    assert np.array_equal(onnx.numpy_helper.to_array(after), wanted)


def test_weights_beyond_its_range_stay_float32_and_are_told(net, images, answers):
    make = net()
    huge = make.node("Conv", "input", make.constant(make.rng.normal(0, 1e5, (8, 3, 3, 3))))
    make.linear(make.pooled(make.node("Mul", huge, make.constant(1e-5))), 8, 5, output="logits")
    made = fp16.quantize(make.bytes())
    assert made.note == "left in float32, too large for float16: c0"
    assert np.isfinite(answers(made.model, images)).all()

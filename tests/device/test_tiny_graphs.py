"""The bytes that are written by hand are what onnx itself would write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from edgecnn.artifact.graph import read_graph
from edgecnn.device.engines import open_graph
from edgecnn.device.tiny_graphs import CHANNELS, SIDE, WANTED, all_products_largest, relu
from edgecnn.errors import GraphRejected

X = np.full((1, CHANNELS, SIDE, SIDE), 255, dtype=np.float32)


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (18, 8), (20, 9)])
def test_a_relu_is_a_whole_model_of_the_opset_and_ir_asked_for(opset: int, ir_version: int) -> None:
    data = relu(opset=opset, ir_version=ir_version)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    graph = read_graph(data)
    assert (graph.opsets, graph.ir_version) == ({"": opset}, ir_version)
    x = np.array([-2.5], dtype=np.float32)
    assert open_graph(data).run_one(x) == [0]
    assert open_graph(data).run_one(-x) == [2.5]


def test_the_convolution_is_a_whole_model_and_onnx_s_own_evaluator_gives_the_sum_exactly() -> None:
    proto = onnx.load_from_string(all_products_largest())
    onnx.checker.check_model(proto, full_check=True)
    proto.opset_import[0].version = 21  # the evaluator knows these operators since; they mean the same
    assert ReferenceEvaluator(proto).run(None, {"x": X})[0].reshape(()) == WANTED == 259_080


def test_the_products_are_computed_in_integers_and_not_taken_for_floats() -> None:
    """What a CPU does to floats says nothing of its integers."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(all_products_largest(), options, providers=["CPUExecutionProvider"])
        operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert "QLinearConv" in operators
    assert "Conv" not in operators


def test_an_opset_that_no_runtime_knows_is_refused() -> None:
    with pytest.raises(GraphRejected):
        open_graph(relu(opset=99, ir_version=7))
    with pytest.raises(GraphRejected):
        open_graph(relu(opset=13, ir_version=99))

"""Which graphs a device takes."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from edgecnn.artifact.graph import check_agrees, check_device_graph, read_graph
from edgecnn.artifact.rules.operators import RULES
from edgecnn.errors import GraphRejected, ManifestRejected
from tests.artifact import onnx_models
from tests.artifact.onnx_models import floats, one, save, weight
from tests.artifact.samples import spec
from tests.fixtures.graphs import IR_VERSION, OPSET, one_node, tiny_classifier

ACCEPTED = {
    "a tiny classifier": tiny_classifier,
    "torch's exporter": onnx_models.exported,
    "static quantization": onnx_models.quantized,
    "float16 weights": onnx_models.half,
    "onnxruntime's quantized operators": lambda: one(
        helper.make_node("QLinearAdd", ["x", "s", "z", "x", "s", "z", "s", "z"], ["y"], domain="com.microsoft"),
        weight("s"),
        weight("z", dtype="uint8"),
    ),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_good_graphs_pass(make: object) -> None:
    check_device_graph(read_graph(make()))  # type: ignore[operator]


def _with_training() -> bytes:
    model = onnx.load_from_string(tiny_classifier())
    model.training_info.append(onnx.TrainingInfoProto())
    return model.SerializeToString()


def _loop() -> bytes:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    return one(helper.make_node("Loop", ["x"], ["y"], body=body))


def _inside_a_branch(domain: str) -> bytes:
    branch = helper.make_graph([helper.make_node("Evil", [], ["e"], domain=domain)], "branch", [], [])
    return one(helper.make_node("If", ["x"], ["y"], then_branch=branch))


def _external() -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.external_data.add(key="location", value="/etc/passwd")
    return save(helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [floats("x", 2)], [floats("y", 2)], [tensor]))


REFUSED = {
    "weights in another file": (_external, "another file"),
    "functions": (onnx_models.with_function, "functions of its own"),
    "training": (_with_training, "training graphs"),
    "a foreign domain": (lambda: one(helper.make_node("Relu", ["x"], ["y"], domain="custom.ops")), r"Relu of the domain 'custom\.ops'"),
    "a foreign domain in a branch": (lambda: _inside_a_branch("x.y"), r"Evil of the domain 'x\.y'"),
    "a compiled blob": (lambda: one(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")), "com.microsoft:EPContext"),
    "a loop": (_loop, "Loop"),
    "branches": (onnx_models.branches, "uses If"),
    "audio": (lambda: one(helper.make_node("STFT", ["x"], ["y"])), "STFT"),
    "a layer with a memory": (lambda: one(helper.make_node("LSTM", ["x"], ["y"])), "LSTM"),
    "regions of a detector": (lambda: one(helper.make_node("RoiAlign", ["x"], ["y"])), "RoiAlign"),
    "sizes that depend on the data": (lambda: one_node("NonZero"), "NonZero"),
    "random numbers": (lambda: one_node("RandomNormalLike"), "RandomNormalLike"),
    "classical machine learning": (lambda: one(helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")), "ai.onnx.ml"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_devices_must_not_run_is_refused_by_name(make: object, message: str) -> None:
    graph = read_graph(make())  # type: ignore[operator]
    with pytest.raises(GraphRejected, match=message):
        check_device_graph(graph)


def test_every_operator_in_the_lists_exists() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known = {"": {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}}
    known["com.microsoft"] = {schema.name for schema in get_all_operator_schema() if schema.domain == "com.microsoft"}
    for domain, operator in RULES:
        assert operator in known[domain]


def test_a_graph_agrees_with_its_own_spec() -> None:
    check_agrees(read_graph(tiny_classifier()), spec(), opset=OPSET, ir_version=IR_VERSION)
    check_agrees(read_graph(tiny_classifier(batch="any")), spec(batch="batch"), opset=OPSET, ir_version=IR_VERSION)


def _edges(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> bytes:
    return save(helper.make_graph([helper.make_node("Relu", ["input"], ["logits"])], "g", inputs, outputs, [weight("unused", 1)]))


X, Y = floats("input", 1, 3, 8, 8), floats("logits", 1, 3)
EDGES = {
    "a second output": (_edges([X], [Y, floats("more", 1)]), r"one output, logits, the graph has 2 \(logits, more\)"),
    "a second input": (_edges([X, floats("mask", 1)], [Y]), r"one input, input, the graph has 2 \(input, mask\)"),
    "no input": (_edges([], [Y]), r"the graph has 0 \(none\)"),
    "an output of unknown shape": (_edges([X], [helper.make_tensor_value_info("logits", 1, None)]), "of shape unknown"),
    "an output with an open axis": (_edges([X], [floats("logits", 1, None)]), r"\[1, \?\]"),
    "another rank": (_edges([X], [floats("logits", 1, 3, 1, 1)]), r"\[1, 3, 1, 1\]"),
    "another dtype": (_edges([helper.make_tensor_value_info("input", TensorProto.UINT8, [1, 3, 8, 8])], [Y]), "the graph has uint8 input"),
}


@pytest.mark.parametrize(("data", "message"), EDGES.values(), ids=EDGES.keys())
def test_other_inputs_or_outputs_are_refused_with_both_sides(data: bytes, message: str) -> None:
    with pytest.raises(ManifestRejected, match=message):
        check_agrees(read_graph(data), spec(), opset=OPSET, ir_version=IR_VERSION)

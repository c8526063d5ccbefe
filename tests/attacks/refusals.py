"""Graphs that hold what no device runs: data elsewhere, foreign code, loops. Each is a change to a good model."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.attacks.bombs import Change


def _external(location: str = "../../etc/passwd") -> TensorProto:
    tensor = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def _add_constant(model: onnx.ModelProto, **attribute: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["stolen"], **attribute))


def _sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=_external(), indices=_external(), dims=[4])


def _add_branch(model: onnx.ModelProto) -> None:
    """A Constant within a branch within a branch."""
    inner = helper.make_graph([helper.make_node("Constant", [], ["stolen"], value=_external())], "inner", [], [])
    for _ in range(2):
        inner = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)], "outer", [], [])
    model.graph.node.extend(inner.node)


def _add_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["b"], value=_external())
    model.functions.append(helper.make_function("own", "F", [], ["b"], [node], [helper.make_opsetid("", 18)]))


def _nested(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        inner = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=inner)], "level", [], [])
    model.graph.node.extend(inner.node)


def _domain(model: onnx.ModelProto, operator: str, domain: str) -> None:
    model.graph.node[0].op_type = operator
    model.graph.node[0].domain = domain
    model.opset_import.append(helper.make_opsetid(domain, 1))


REFUSALS: dict[str, Change] = {
    "external-initializer": lambda model: model.graph.initializer.append(_external()),
    "external-memory-address": lambda model: model.graph.initializer.append(_external("*/_ORT_MEM_ADDR_/*")),
    "external-attribute": lambda model: _add_constant(model, value=_external()),
    "external-sparse": lambda model: model.graph.sparse_initializer.append(_sparse()),
    "external-subgraph": lambda model: _add_constant(model, branch=helper.make_graph([], "g", [], [], [_external()])),
    "external-function": _add_function,
    "external-in-a-branch": _add_branch,
    "external-sparse-attribute": lambda model: _add_constant(model, sparse_value=_sparse()),
    "external-list-of-tensors": lambda model: _add_constant(model, values=[_external(), _external()]),
    "external-training": lambda model: model.training_info.append(
        onnx.TrainingInfoProto(algorithm=helper.make_graph([], "g", [], [], [_external()]))
    ),
    "foreign-domain": lambda model: _domain(model, "Relu", "evil.ops"),
    "ep-context": lambda model: _domain(model, "EPContext", "com.microsoft"),
    "loop": lambda model: model.graph.node.append(helper.make_node("Loop", ["", ""], ["z"], body=helper.make_graph([], "b", [], []))),
    "nested": _nested,
    "unbounded-size": lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "h"),
    "another-opset": lambda model: setattr(model.opset_import[0], "version", 19),
    "another-output": lambda model: setattr(model.graph.output[0], "name", "other"),
    "two-outputs": lambda model: model.graph.output.append(model.graph.value_info[0] if model.graph.value_info else model.graph.input[0]),
}

"""Node names say where a node comes from; nothing else of the exporter's notes stays."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import helper

from edgecnn.build.metadata import name_nodes, strip
from edgecnn.build.onnx_io import parse, serialize

Make = Callable[..., onnx.ModelProto]


def scoped(model: onnx.ModelProto, *scopes: str | None) -> None:
    for node, scope in zip(model.graph.node, scopes, strict=False):
        if scope is not None:
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scope)


def names(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node]


def test_names_are_the_modules_paths(unfolded: Make) -> None:
    model = unfolded()
    scoped(
        model,
        "['', 'stem', 'stem.0', 'conv2d']",
        "['', 'stem', 'stem.1', 'batch_norm']",
        "['', 'relu']",
        "['', 'relu']",
        None,
        "['', 'fc', 'linear']",
    )
    name_nodes(model)
    assert names(model) == ["stem.0/Conv", "stem.1/BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "fc/Gemm"]


def test_a_layer_that_swallowed_another_keeps_its_weights_name(unfolded: Make) -> None:
    model = unfolded()
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "stem.0.weight"
    scoped(model, "['', 'stem', 'stem.1', '_native_batch_norm']")
    name_nodes(model)
    assert names(model)[0] == "stem.0/Conv"


def test_names_given_by_others_stay_and_nameless_nodes_get_one(unfolded: Make) -> None:
    model = unfolded()
    for node in model.graph.node[2:]:
        node.name = ""
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z"]))
    name_nodes(model)
    assert names(model) == ["conv", "norm", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Relu_2"]


def test_damaged_notes_are_no_names(unfolded: Make) -> None:
    model = unfolded()
    scoped(model, "not a list", "[]", "__import__('os')", "3")
    name_nodes(model)
    assert names(model)[:4] == ["conv", "norm", "relu", "pool"]


def test_strip_takes_all_notes_and_leaves_the_graph(unfolded: Make) -> None:
    model = unfolded()
    bare = serialize(model)
    model.doc_string = model.graph.doc_string = "/home/somebody"
    scoped(model, "['', 'x']")
    model.graph.node[0].doc_string = model.graph.initializer[0].doc_string = model.graph.input[0].doc_string = "/home/somebody"
    model.graph.node[0].attribute[0].doc_string = "/home/somebody"
    for place in (model, model.graph, model.graph.input[0], model.graph.initializer[0]):
        place.metadata_props.add(key="path", value="/home/somebody")
    strip(model)
    assert serialize(model) == serialize(parse(bare))

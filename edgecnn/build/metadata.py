"""What a graph says of itself: the exporter's traces out, scopes as node names, the model's essentials in."""

from __future__ import annotations

import ast
import json
from collections import Counter
from typing import Any

import onnx

from edgecnn.artifact.codec import encode
from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.onnx_io import all_nodes, all_tensors, parse, serialize, subgraphs

_SCOPES = "pkg.torch.onnx.name_scopes"


def name_nodes(model: onnx.ModelProto) -> None:
    """Name nodes by their place in the network, as "layer1.0.conv1/Conv", where the exporter recorded it; name what has no name. In place.

    A layer that others were folded into (a BatchNorm into its convolution) is named for its weight's owner.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    taken: Counter[str] = Counter()
    scopes = [_scope(node) for node in all_nodes(model)]
    if any(scopes):
        scopes = [scope or "" for scope in scopes]  # what the exporter made itself has no place
    for node, scope in zip(all_nodes(model), scopes, strict=True):
        weight = node.input[1] if len(node.input) > 1 else ""
        if scope is not None and weight in weights and weight.endswith(".weight"):
            scope = weight.removesuffix(".weight")
        name = node.name if scope is None and node.name else "/".join(filter(None, (scope, node.op_type)))
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _scope(node: onnx.NodeProto) -> str | None:
    """The dotted path of the module that a node comes from ("" for the network itself), None where it wasn't recorded."""
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
    if text is None:
        return None
    try:
        *modules, _ = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return None
    return str(modules[-1]) if modules else ""


def strip(model: onnx.ModelProto) -> None:
    """Remove documentation and metadata everywhere (exporters write absolute paths, stack traces and dates there). In place."""
    model.ClearField("doc_string")
    del model.metadata_props[:]
    for graph in subgraphs(model.graph):
        graph.ClearField("doc_string")
        del graph.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.ClearField("doc_string")
            del value.metadata_props[:]
    for function in model.functions:
        function.ClearField("doc_string")
        del function.metadata_props[:]
    for node in all_nodes(model):
        node.ClearField("doc_string")
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
    for tensor in all_tensors(model):
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]


def stamp(model: bytes, spec: ModelSpec) -> bytes:
    """The graph with the model's essentials in its metadata_props, so that the bare graph still tells what it is; earlier metadata goes."""
    proto = parse(model)
    strip(proto)
    essentials = {
        "edgecnn.labels": _compact(spec.labels),
        "edgecnn.name": spec.name,
        "edgecnn.preprocess": _compact(spec.preprocess),
        "edgecnn.task": spec.task,
        "edgecnn.version": spec.version,
    }
    for key, value in essentials.items():
        proto.metadata_props.add(key=key, value=value)
    return serialize(proto)


def _compact(value: Any) -> str:
    return json.dumps(encode(value), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

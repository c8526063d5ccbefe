"""Bytes that a QDQ graph can do without: in a net of a megabyte they are a tenth."""

from __future__ import annotations

from onnx import ModelProto, TensorProto

_SHORT = {"_QuantizeLinear_Output": "_q", "_DequantizeLinear_Output": "_dq", "_QuantizeLinear": "_q", "_DequantizeLinear": "_dq"}


def slim(proto: ModelProto) -> None:
    """Shorter names for pairs, one zero point for all weights of a size, and none for biases, in place.

    Weights keep theirs: onnxruntime 1.17 to 1.31 runs a Gemm without as floats, or not at all.
    """
    _zero_points(proto)
    _names(proto)


def _zero_points(proto: ModelProto) -> None:
    graph = proto.graph
    constants = {entry.name: entry for entry in graph.initializer}
    first: dict[bytes, str] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants or len(node.input) < 3:
            continue
        unnamed = TensorProto.FromString(constants[node.input[2]].SerializeToString())
        unnamed.ClearField("name")
        if constants[node.input[0]].data_type != TensorProto.INT32:
            node.input[2] = first.setdefault(unnamed.SerializeToString(), node.input[2])
        elif not any(unnamed.int32_data) and not any(unnamed.raw_data):
            del node.input[2]


def _names(proto: ModelProto) -> None:
    """Of what onnxruntime's quantizer named: nodes and their outputs, where the short name is free."""
    graph = proto.graph
    tensors = {name for node in graph.node for name in (*node.input, *node.output)} | {entry.name for entry in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    kept = {value.name for value in (*graph.input, *graph.output)}
    short = {name: _shortened(name, tensors) for node in pairs for name in node.output if name not in kept}
    nodes = {node.name for node in graph.node}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
    for node in pairs:
        node.name = _shortened(node.name, nodes)


def _shortened(name: str, taken: set[str]) -> str:
    for end, instead in _SHORT.items():
        wanted = f"{name.removesuffix(end)}{instead}"
        if name.endswith(end) and wanted not in taken:
            taken.add(wanted)
            return wanted
    return name

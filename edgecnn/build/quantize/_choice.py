"""Which nodes int8 computes: convolutions, matrix products and what lies between them, but for those that are to stay in float."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from edgecnn.build.quantize._graph import constant, consumers
from edgecnn.errors import UsageError

HEAVY = ("Conv", "Gemm", "MatMul")
CLAMPS = ("Relu", "Clip")
BETWEEN = (
    *("Add", "Mul", "Concat", "Sigmoid", "LeakyRelu"),  # onnxruntime has integer kernels for them
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Pad"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice"),  # these only move bytes
)


def choose(proto: ModelProto, keep_float: Sequence[str] = ()) -> frozenset[str]:
    """The names of the nodes to quantize. keep_float: those of nodes that stay as they are, and cost no pair more than their neighbours need.

    Raises UsageError for a name that no node has.
    """
    _check_known([node.name for node in proto.graph.node], keep_float)
    weights = {entry.name for entry in proto.graph.initializer if entry.data_type == TensorProto.FLOAT}
    able = {node.name for node in proto.graph.node if node.op_type in HEAVY and not node.domain and _constant_weights(node, weights)}
    heavy = able.difference(keep_float)
    upstream = _upstream_of(proto, heavy, frozenset(keep_float))
    chosen: set[str] = set()
    integer: dict[str, NodeProto] = {}
    for node in proto.graph.node:
        maker = integer.get(node.input[0]) if node.input else None
        if node.domain or node.name in keep_float:
            take = False
        elif node.op_type in CLAMPS:
            take = maker is not None and _holds_zero(proto, node) and (node.name in upstream or maker.op_type == "Conv")
        elif node.op_type in BETWEEN:
            take = node.name in upstream and any(name in integer for name in node.input) and _float_output(proto, node)
        else:
            take = node.name in heavy
        if take:
            chosen.add(node.name)
            integer.update(dict.fromkeys(node.output, node))
    return frozenset(chosen)


def _check_known(known: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise UsageError(f"there is no layer {name} to keep in float; the nearest are {', '.join(near)} (edgecnn inspect lists all of them).")


def left_in_float(proto: ModelProto, chosen: frozenset[str], keep_float: Sequence[str] = ()) -> str | None:
    """Which operators stay in float though something quantized lies behind them, or though they do the heavy work; None where none does.

    Those that were asked for, and what computes shapes and constants only, aren't told of.
    """
    upstream = _upstream_of(proto, set(chosen), frozenset())
    live = _reached(proto)
    count = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in proto.graph.node
        if node.name not in chosen
        and node.name not in keep_float
        and node.output[0] in live
        and (node.name in upstream or node.op_type in (*HEAVY, "ConvTranspose"))
        and node.op_type not in (*CLAMPS, *BETWEEN, "Identity", "Dropout", "Shape", "Cast", "Gather")
    )
    return f"left in float: {', '.join(f'{number} {name}' for name, number in sorted(count.items()))}" if count else None


def _reached(proto: ModelProto) -> set[str]:
    """The tensors that depend on the graph's input."""
    found = {value.name for value in proto.graph.input}
    for node in proto.graph.node:
        if not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _constant_weights(node: NodeProto, weights: set[str]) -> bool:
    """MatMul may also multiply two activations; a Gemm's or a Conv's bias must be constant, so that it can be an int32."""
    return node.op_type == "MatMul" or all(name in weights for name in node.input[1:] if name)


def _upstream_of(proto: ModelProto, heavy: set[str], float_nodes: frozenset[str]) -> set[str]:
    """The names of the nodes that a heavy one lies behind, and of the heavy ones. What lies behind one of float_nodes doesn't count: its input
    is a float again, so integers right before it would only cost a pair."""
    readers = consumers(proto.graph.node)
    found = set(heavy)
    for node in reversed(proto.graph.node):
        if node.name not in float_nodes and any(reader.name in found for name in node.output for reader in readers.get(name, [])):
            found.add(node.name)
    return found


def _holds_zero(proto: ModelProto, node: NodeProto) -> bool:
    """A range always holds 0, so a Clip to one side of it can't be absorbed."""
    if node.op_type == "Relu":
        return True
    bounds = [constant(proto, name) for name in node.input[1:] if name]
    if any(bound is None for bound in bounds):
        return False
    low = constant(proto, node.input[1]) if len(node.input) > 1 and node.input[1] else -np.inf
    high = constant(proto, node.input[2]) if len(node.input) > 2 and node.input[2] else np.inf
    return bool(low <= 0 <= high)


def _float_output(proto: ModelProto, node: NodeProto) -> bool:
    values = {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.value_info, *proto.graph.output)}
    return all(values.get(name) == TensorProto.FLOAT for name in node.output if name)


def activations(proto: ModelProto, chosen: frozenset[str]) -> list[str]:
    """The float tensors that the chosen nodes read or write and that aren't constant, in the graph's order."""
    known = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {entry.name for entry in proto.graph.initializer}
    tensors = (name for node in proto.graph.node if node.name in chosen for name in (*node.input, *node.output))
    return list(dict.fromkeys(name for name in tensors if name in floats and name not in constants))

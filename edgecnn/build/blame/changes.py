"""Two graphs that ought to be one: which node or constant is otherwise, and which tensor is the first to differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgecnn.build.onnx_io import parse
from edgecnn.build.pairs import watch
from edgecnn.build.sensitivity import feed
from edgecnn.device.engines import open_graph
from edgecnn.errors import EdgecnnError

MOST = 5
_BATCH = 4


def changes(wanted: bytes, found: bytes) -> tuple[str, ...]:
    """What of `found` is otherwise than in `wanted`, a sentence each in the order of `wanted`'s nodes, five at most and how many more."""
    told = list(_changes(parse(wanted).graph, parse(found).graph))
    return tuple(told[:MOST]) + ((f"and {len(told) - MOST} more differences",) if len(told) > MOST else ())


def _changes(wanted: GraphProto, found: GraphProto) -> Iterator[str]:
    there = {node.name: node for node in found.node}
    constants = [{entry.name: entry for entry in graph.initializer} for graph in (wanted, found)]
    for node in wanted.node:
        other = there.pop(node.name, None)
        if other is None:
            yield f"{node.name} ({node.op_type}) is missing in it"
            continue
        yield from _of_node(node, other)
        for name in node.input:
            before, after = (side.pop(name, None) for side in constants)
            if before is not None:
                yield from _of_constant(f"{_layer(wanted, node)}: its constant {name}", before, after)
    yield from (f"{name} ({node.op_type}) isn't in the rebuilt graph" for name, node in there.items())


def _layer(graph: GraphProto, node: NodeProto) -> str:
    """The name of the node that a node which only rounds or restores belongs to."""
    if node.op_type == "DequantizeLinear":
        return str(next((reader.name for reader in graph.node if node.output[0] in reader.input), node.name))
    if node.op_type == "QuantizeLinear":
        return str(next((maker.name for maker in graph.node if node.input[0] in maker.output), node.input[0]))
    return str(node.name)


def changed_attributes(wanted: ModelProto, found: ModelProto) -> tuple[str, ...]:
    """`changes` as far as a quantized graph and its float one are comparable: the attributes of nodes of one name and operator."""
    there = {(node.name, node.op_type): node for node in found.graph.node}
    pairs = ((node, there.get((node.name, node.op_type))) for node in wanted.graph.node)
    return tuple(said for node, other in pairs if other is not None for said in _of_attributes(node, other))[:MOST]


def _of_node(node: NodeProto, other: NodeProto) -> Iterator[str]:
    if node.op_type != other.op_type:
        yield f"{node.name} is a {other.op_type} where a rebuild gives a {node.op_type}"
        return
    yield from _of_attributes(node, other)
    if list(node.input) != list(other.input):
        yield f"{node.name} reads {', '.join(other.input)} where a rebuild reads {', '.join(node.input)}"


def _of_attributes(node: NodeProto, other: NodeProto) -> Iterator[str]:
    before, after = ({entry.name: helper.get_attribute_value(entry) for entry in each.attribute} for each in (node, other))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{node.name}: its {name} is {after.get(name, 'left away')} where a rebuild gives {before.get(name, 'none')}"


def _of_constant(what: str, before: TensorProto, after: TensorProto | None) -> Iterator[str]:
    if after is None:
        yield f"{what} is missing"
        return
    a, b = numpy_helper.to_array(before), numpy_helper.to_array(after)
    if a.shape != b.shape or a.dtype != b.dtype:
        yield f"{what} is {b.dtype} {list(b.shape)} where a rebuild gives {a.dtype} {list(a.shape)}"
    elif not np.array_equal(a, b):
        yield f"{what} is otherwise{_how(a, b)}"


def _how(a: NDArray[np.generic], b: NDArray[np.generic]) -> str:
    if a.ndim >= 2 and a.shape[0] == a.shape[1] and np.array_equal(a.swapaxes(0, 1), b):
        return ": its first two axes are swapped"
    if a.ndim == 4 and np.array_equal(a.swapaxes(2, 3), b):
        return ": height and width are swapped"
    if a.ndim >= 2 and np.array_equal(np.flip(a, 1), b):
        return ": its input channels are in reverse"
    if a.size == 1 and np.issubdtype(a.dtype, np.floating) and a.reshape(-1)[0]:
        return f", {float(b.reshape(-1)[0]):.6g} where a rebuild gives {float(a.reshape(-1)[0]):.6g}"
    return f" in {int(np.count_nonzero(a != b))} of {a.size} values"


def first_difference(before: bytes, after: bytes, inputs: NDArray[np.float32], *, tolerance: float) -> str | None:
    """The first tensor, in `after`'s order, that both graphs have by one name and shape and that differs by more than `tolerance` of its largest
    value; None where there is none. Both take `inputs`, float32 (n, channels, height, width), and are run as they stand."""
    graphs = [parse(model) for model in (before, after)]
    known = {name for node in graphs[0].graph.node for name in node.output}
    makers = {name: node for node in graphs[1].graph.node for name in node.output if name in known}
    floats = _floats(graphs[0]) & _floats(graphs[1])
    names = [name for name in makers if name in floats]
    try:
        engines = [open_graph(watch(graph, names), optimize=False) for graph in graphs]
        places = [{value.name: i for i, value in enumerate(engine.outputs)} for engine in engines]
        worst: dict[str, bool] = {}
        for start in range(0, len(inputs), _BATCH):
            answers = [feed(engine, inputs[start : start + _BATCH]) for engine in engines]
            for name in names:
                a, b = (found[place[name]] for found, place in zip(answers, places, strict=True))
                close = a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= tolerance * max(1.0, float(np.abs(a).max(initial=0.0))))
                worst[name] = worst.get(name, False) or not close
    except EdgecnnError:
        return None
    first = next((name for name in names if worst.get(name)), None)
    return None if first is None else f"the first tensor that differs is {first}, from {makers[first].name} ({makers[first].op_type})"


def _floats(proto: ModelProto) -> set[str]:
    """The names of its float32 tensors, as far as they can be told."""
    known = onnx.shape_inference.infer_shapes(proto).graph
    return {value.name for value in (*known.value_info, *known.output) if value.type.tensor_type.elem_type == TensorProto.FLOAT}

"""Graphs to compare: one net, and what is done to it for real."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from edgecnn.report.diff import compare
from edgecnn.report.diff.records import Diff
from edgecnn.report.diff.side import of_graph
from tests.fixtures.onnx_nets import residual

Edit = Callable[[ModelProto], object]


def compared(a: bytes, b: bytes) -> Diff:
    return compare(of_graph(a, file="a.onnx"), of_graph(b, file="b.onnx"))


def edited(model: bytes, *edits: Edit) -> bytes:
    """The model after each edit, which is checked to be a graph still."""
    proto = onnx.load_from_string(model)
    for edit in edits:
        edit(proto)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def node(proto: ModelProto, operator: str, at: int = 0) -> NodeProto:
    """The `at`-th node of an operator."""
    return [found for found in proto.graph.node if found.op_type == operator][at]


def constant(proto: ModelProto, name: str) -> NDArray[Any]:
    return numpy_helper.to_array(next(entry for entry in proto.graph.initializer if entry.name == name))


def put_constant(proto: ModelProto, name: str, values: Any) -> None:
    entry = next((entry for entry in proto.graph.initializer if entry.name == name), None) or proto.graph.initializer.add()
    entry.CopyFrom(numpy_helper.from_array(np.asarray(values), name))


def renamed(proto: ModelProto) -> None:
    """Every node and every tensor inside is called otherwise."""
    edges = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for at, entry in enumerate(proto.graph.node):
        entry.name = f"other_{len(proto.graph.node) - at}"
        for names in (entry.input, entry.output):
            names[:] = [name if name in edges or not name else f"x_{name}" for name in names]
    for entry in proto.graph.initializer:
        entry.name = f"x_{entry.name}"


def shuffled(seed: int) -> Edit:
    """Nodes that don't wait for each other in another order, and the constants too."""

    def edit(proto: ModelProto) -> None:
        draw = np.random.default_rng(seed)
        known = {value.name for value in proto.graph.input} | {entry.name for entry in proto.graph.initializer} | {""}
        waiting, order = list(proto.graph.node), []
        while waiting:
            ready = [entry for entry in waiting if known.issuperset(entry.input)]
            chosen = ready[int(draw.integers(len(ready)))]
            waiting.remove(chosen)
            known |= set(chosen.output)
            order.append(chosen)
        constants = list(proto.graph.initializer)
        del proto.graph.node[:], proto.graph.initializer[:]
        proto.graph.node.extend(order)
        proto.graph.initializer.extend(constants[at] for at in draw.permutation(len(constants)))

    return edit


@cache
def quantized(kind: str, **options: Any) -> bytes:
    """`residual()` as the quantizer `kind` makes it."""
    import importlib

    draw = np.random.default_rng(3)
    images = draw.normal(0, 1, (8, 3, 16, 16)).astype(np.float32)
    module = importlib.import_module(f"edgecnn.build.quantize.{kind}")
    found: bytes = module.quantize(residual(), lambda: iter((images,)), **options).model
    return found

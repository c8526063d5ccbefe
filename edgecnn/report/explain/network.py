"""An artifact's graph as plain values: nodes in order, constants as arrays, and what every tensor is for one input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.device.engines import Engine, open_graph
from edgecnn.errors import GraphRejected
from edgecnn.report.formulas import Array, Attributes, formula


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operator. attributes: numbers, texts, tuples of them, arrays."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Network:
    """A graph with one input and one output, loaded so that every tensor of it can be seen. batch: how many inputs a run takes."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    input: str
    output: str
    batch: int
    engine: Engine

    def trace(self, x: Array) -> dict[str, Array]:
        """Every tensor by name, for one input (1, channels, height, width), as onnxruntime computes the graph exactly as it stands.

        A larger batch is filled up with the same input. Raises GraphRejected where the graph fails on it.
        """
        found = self.engine.run({self.input: np.repeat(x, self.batch, axis=0)})
        names = (value.name for value in self.engine.outputs)
        return {**self.constants, self.input: np.repeat(x, self.batch, axis=0), **dict(zip(names, found, strict=True))}


def read_network(model: bytes, *, batch: int, threads: int | None = None) -> Network:
    """The graph in a model.onnx that passed `check_device_graph`. Raises GraphRejected where onnxruntime can't load it."""
    import onnx

    proto = onnx.ModelProto()
    proto.ParseFromString(model)
    graph = proto.graph
    constants: dict[str, Array] = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    nodes = tuple(_node(node) for node in graph.node)
    known = {value.name for value in graph.output}
    for node in nodes:
        for name in node.outputs:
            if name and name not in known:
                graph.output.append(onnx.ValueInfoProto(name=name))  # onnxruntime finds its type out itself
    inputs = [value.name for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise GraphRejected(f"the graph has {len(inputs)} inputs, one image was wanted.")
    return Network(
        nodes=nodes,
        constants=constants,
        input=inputs[0],
        output=graph.output[0].name,
        batch=batch,
        engine=open_graph(proto.SerializeToString(), threads=threads, optimize=False),
    )


def _node(node: Any) -> Node:
    import onnx

    attributes = {attribute.name: _plain(onnx.helper.get_attribute_value(attribute)) for attribute in node.attribute}
    return Node(
        name=node.name or next(iter(node.output), ""),
        operator=node.op_type,
        domain="" if node.domain == "ai.onnx" else node.domain,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes=attributes,
    )


def _plain(value: Any) -> Any:
    import onnx

    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value if isinstance(value, (int, float)) else tuple(map(_plain, value))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """A node's formula, computed again, beside onnxruntime's answer. apart: the largest difference; scale: the largest number of the answer."""

    apart: float
    scale: float

    @property
    def close(self) -> bool:
        """Whether they differ by no more than float32 sums may: a hundred-thousandth of the largest number."""
        return bool(self.apart <= 1e-5 * max(self.scale, 1e-6))


def agreement(node: Node, values: Mapping[str, Array]) -> Agreement | None:
    """Compute the node again from onnxruntime's own inputs of it; None for an operator whose formula isn't known here.

    values: as `Network.trace` gives them.
    """
    computing = formula(node.operator, node.domain)
    if computing is None:
        return None
    try:
        found = computing([values[name] if name else None for name in node.inputs], node.attributes)
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    apart, scale = 0.0, 0.0
    for name, mine in zip(node.outputs, found, strict=False):
        if not name:
            continue
        theirs = values[name]
        if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
            return Agreement(apart=float("inf"), scale=1.0)
        if not theirs.size:
            continue
        a, b = (np.asarray(side, dtype=np.float64) for side in (mine, theirs))
        with np.errstate(invalid="ignore"):
            different = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        apart = max(apart, float("inf") if np.isnan(different).any() else float(different.max()))
        finite = np.abs(b[np.isfinite(b)])
        scale = max(scale, float(finite.max()) if finite.size else 0.0)
    return Agreement(apart=apart, scale=scale)

"""What the quantizers share: an ONNX graph made ready for them, and tidied up after them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, numpy_helper, version_converter

from edgecnn.build.chatter import log
from edgecnn.build.onnx_io import parse, serialize
from edgecnn.errors import SourceRejected


def tools() -> dict[str, str]:
    """The versions of the libraries that quantize."""
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def load(model: bytes, *, opset: int = 0) -> ModelProto:
    """A graph of at least `opset` whose nodes have names of their own, whose constants are initializers and whose shapes are inferred.

    Raises SourceRejected where it can't be brought to that opset.
    """
    proto = parse(model)
    found = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if found < opset:
        try:
            proto = version_converter.convert_version(proto, opset)
        except RuntimeError as error:
            raise SourceRejected(
                f"the graph has opset {found} and can't be raised to {opset}, which quantization needs ({error}); export it anew."
            ) from None
    _constants_to_initializers(proto)
    _name_nodes(proto)
    return onnx.shape_inference.infer_shapes(proto)


def _constants_to_initializers(proto: ModelProto) -> None:
    graph = proto.graph
    for node in [node for node in graph.node if node.op_type == "Constant" and not node.domain]:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if value is not None:
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def _name_nodes(proto: ModelProto) -> None:
    taken: set[str] = set()
    for position, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            node.name = next(name for name in (f"{node.op_type}_{position}", f"{node.output[0]}_{node.op_type}_{position}") if name not in taken)
        taken.add(node.name)


def finish(proto: ModelProto, original: ModelProto) -> bytes:
    """`proto` as bytes: nodes in the order of `original`'s, nothing unused, shapes inferred, signed as `original` was.

    Pairs have no shapes of their own: they would be a hundredth of a small net's bytes, and say what their inputs' say. Equal graphs give equal
    bytes.
    """
    graph = proto.graph
    sort_nodes(proto)
    read = set(reads(graph.node)) | {value.name for value in graph.output}
    made = {name for node in graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear") for name in node.output}
    _keep(graph.initializer, [entry for entry in graph.initializer if entry.name in read])
    proto.producer_name, proto.producer_version = original.producer_name, original.producer_version
    _keep(proto.metadata_props, original.metadata_props)
    used = {node.domain for node in graph.node} | {"", "ai.onnx"}
    _keep(proto.opset_import, [entry for entry in proto.opset_import if entry.domain in used])
    inferred = onnx.shape_inference.infer_shapes(proto)
    _keep(inferred.graph.value_info, [entry for entry in inferred.graph.value_info if entry.name in made])
    return serialize(inferred)


def reads(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """What the nodes read, those of their subgraphs included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from reads(inner.node)
                yield from (value.name for value in inner.output)


def _keep(field: Any, entries: Iterable[Any]) -> None:
    kept = list(entries)
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
    del field[:]
    field.extend(copies)


def sort_nodes(proto: ModelProto) -> None:
    """Put the graph's nodes `in_order`."""
    ordered = in_order(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(ordered)


def in_order(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes in their order, except that each comes after those whose outputs it reads, and they right before it."""
    waiting = list(nodes)
    maker = {name: node for node in waiting for name in node.output if name}
    placed: set[int] = set()
    ordered: list[NodeProto] = []
    for node in waiting:
        stack = [node]
        while stack:
            last = stack[-1]
            missing = [maker[name] for name in last.input if name in maker and id(maker[name]) not in placed]
            if id(last) in placed or not missing:
                stack.pop()
                if id(last) not in placed:
                    placed.add(id(last))
                    ordered.append(last)
            else:
                stack.extend(reversed(missing))
    return ordered


def consumers(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor."""
    found: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def constant(proto: ModelProto, name: str) -> Any:
    """The value of the initializer `name` as an array, or None where there is none."""
    found = next((entry for entry in proto.graph.initializer if entry.name == name), None)
    return None if found is None else numpy_helper.to_array(found)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where it has none."""
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


@contextlib.contextmanager
def root_log_aside() -> Iterator[None]:
    """onnxruntime's quantizers speak to the root logger: what they say goes to the logger "edgecnn.build" instead, as debugging talk."""
    root = logging.getLogger()
    keeper = logging.NullHandler()  # without any handler, logging.warning() would set one up on stderr for good

    def divert(record: logging.LogRecord) -> bool:
        record.name, record.levelno, record.levelname = log.name, logging.DEBUG, "DEBUG"
        if log.isEnabledFor(logging.DEBUG):
            log.handle(record)
        return False

    root.addHandler(keeper)
    root.addFilter(divert)
    try:
        yield
    finally:
        root.removeFilter(divert)
        root.removeHandler(keeper)


def import_tidily(name: str) -> Any:
    """A module of onnxruntime's; importing its quantization adds a folder to sys.path, which is taken off again."""
    before = list(sys.path)
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before

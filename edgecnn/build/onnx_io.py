"""Read an .onnx as one whole: external data is inlined, and never read from outside the file's own folder.

onnx had a run of vulnerabilities there: ".." (CVE-2022-25882), also behind a folder (CVE-2024-27318), links in the middle of a path
(CVE-2026-27489) and at its end (-34447), hard links (-34446), keys and lengths that are taken as they come (-34445). So locations are relative,
without "..", walked folder by folder without following symbolic links; the file is a regular one with a single name, judged through the very
descriptor that it is read from; offset and length are plain decimals that agree with the tensor's shape and the file's size, before anything is
read; other keys mean nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from edgecnn.build.source import first_line
from edgecnn.errors import GraphRejected, InputMissing

MAX_BYTES = (1 << 31) - (1 << 20)  # protobuf serializes less than 2 GiB


def load_onnx(path: Path | str) -> bytes:
    """The graph at `path` with all its tensors inside. Nothing but `path` and files below its folder is read.

    Raises InputMissing, or GraphRejected for what is no ONNX graph, breaks its rules, or has external data that is not safely within the folder.
    """
    path = Path(path)
    data = _whole_file(path)
    model = parse(data, name=str(path))
    external = [tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data]
    total = len(data)
    for tensor in external:
        total += _size(tensor, path)
        if total > MAX_BYTES:
            raise GraphRejected(f"{path} and its external data come to 2 GiB or more, which one ONNX file can't hold.")
    for tensor in external:
        _inline(tensor, path)
    whole = not external and not model.training_info
    del model.training_info[:]
    check(model, name=str(path))
    return data if whole else serialize(model)


def _whole_file(path: Path) -> bytes:
    """Not of a pipe or a device, which may never end."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as stream:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise GraphRejected(f"{path} is no regular file, an .onnx file was wanted.")
            data = b"" if found.st_size > MAX_BYTES else stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give the path of an .onnx file.") from None
    if max(found.st_size, len(data)) > MAX_BYTES:
        raise GraphRejected(f"{path} has 2 GiB or more, which one ONNX file can't have.")
    return data


def parse(data: bytes, *, name: str = "the graph") -> onnx.ModelProto:
    """A ModelProto from its bytes. Raises GraphRejected for what is none or has no nodes."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's own error class has no typed home
        raise GraphRejected(f"{name} is no ONNX graph: its bytes are damaged, cut short or of another format.") from None
    if not model.graph.node or not model.ir_version:
        raise GraphRejected(f"{name} is no ONNX graph: it has no nodes.")
    return model


def serialize(model: onnx.ModelProto) -> bytes:
    """Equal models give equal bytes. Raises GraphRejected at 2 GiB."""
    try:
        data = model.SerializeToString(deterministic=True)
    except Exception:  # protobuf's own error class has no typed home
        raise GraphRejected("The graph has 2 GiB or more, which one ONNX file can't hold.") from None
    return bytes(data)


def check(model: onnx.ModelProto, *, name: str = "the graph") -> None:
    """onnx's own check. Raises GraphRejected with its first line."""
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise GraphRejected(f"{name} breaks the rules of ONNX: {first_line(error)}.") from None


def subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and the graphs within its nodes, outermost first."""
    yield graph
    for node in graph.node:
        yield from _graphs_in(node.attribute)


def _graphs_in(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from subgraphs(inner)


def _all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph, and those within nodes and within local functions: in their nodes, and in what their attributes are by default."""
    yield from subgraphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _graphs_in(node.attribute)
        yield from _graphs_in(function.attribute_proto)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, of subgraphs and local functions too."""
    for graph in _all_graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _all_attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    for node in all_nodes(model):
        yield from node.attribute
    for function in model.functions:
        yield from function.attribute_proto


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model can hold: initializers (sparse ones too) and attributes, of subgraphs and functions too.

    Training graphs are no part of what is exported and are left out.
    """
    for attribute in _all_attributes(model):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
    for graph in _all_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _size(tensor: onnx.TensorProto, path: Path) -> int:
    """Bytes that the tensor's type and shape ask for."""
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        item = 0
    if not item or tensor.data_type == onnx.TensorProto.STRING or any(size < 0 for size in tensor.dims):
        raise GraphRejected(f"{path}: tensor {tensor.name!r} has external data of a type or shape that can't be stored so.")
    return math.prod(int(size) for size in tensor.dims) * int(item)


def _inline(tensor: onnx.TensorProto, path: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise GraphRejected(f"{path}: the external data of tensor {tensor.name!r} names a key twice.")
    wanted = _size(tensor, path)
    offset = _number(entries.get("offset", "0"), "offset", tensor, path)
    length = _number(entries.get("length", str(wanted)), "length", tensor, path)
    if length != wanted:
        raise GraphRejected(f"{path}: tensor {tensor.name!r} has external data of {length} bytes, its shape {list(tensor.dims)} needs {wanted}.")
    location = entries.get("location", "")
    with _open_inside(path, location, tensor) as (file, size):
        if offset + wanted > size:
            raise GraphRejected(f"{path}: tensor {tensor.name!r} wants bytes up to {offset + wanted} of {location!r}, which has {size}.")
        with os.fdopen(file, "rb", closefd=False) as stream:
            stream.seek(offset)
            data = stream.read(wanted)
        if len(data) != wanted:
            raise GraphRejected(f"{path}: {location!r} became shorter while it was read; try again when nothing writes to it.")
        tensor.raw_data = data
    tensor.ClearField("data_location")
    del tensor.external_data[:]


def _number(text: str, key: str, tensor: onnx.TensorProto, path: Path) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise GraphRejected(f"{path}: the external data of tensor {tensor.name!r} has {key} {text[:40]!r}, which is no plain number.")
    return int(text)


@contextlib.contextmanager
def _open_inside(path: Path, location: str, tensor: onnx.TensorProto) -> Iterator[tuple[int, int]]:
    """(a read-only descriptor of the regular file `location` below `path`'s folder, its size); closed at the end."""
    parts = location.split("/")
    if "\\" in location or "\0" in location or ":" in location or any(part in ("", ".", "..") for part in parts):
        raise GraphRejected(f"{path}: tensor {tensor.name!r} asks for {location[:150]!r}; a plain path below the file's folder was wanted.")
    opened: list[int] = []
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        opened.append(folder)
        for part in parts[:-1]:
            folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            opened.append(folder)
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        opened.append(file)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise GraphRejected(f"{path}: its external data {location!r} is no plain file of its own (a link or a device); put a copy there.")
        yield file, found.st_size
    except FileNotFoundError:
        raise InputMissing(f"{path} has external data in {location!r}, which isn't beside it; put it there.") from None
    except OSError as error:  # ELOOP and ENOTDIR are what O_NOFOLLOW gives for a symbolic link
        raise GraphRejected(f"{path}: its external data {location!r} can't be opened ({error.strerror}); a plain file was wanted.") from None
    finally:
        for descriptor in reversed(opened):
            os.close(descriptor)

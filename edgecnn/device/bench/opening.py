"""A file, opened by an engine, with inputs to run it on."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import GraphRejected, UsageError

if TYPE_CHECKING:
    from edgecnn.artifact.graph import Graph
    from edgecnn.device.engines import Engine

Shapes = Mapping[str, tuple[int, ...]]
"""Sizes by the input's name, "" for the only one."""

_MOST_ELEMENTS = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """feeds: arrays by the input's name; model: the graph's bytes, or its file; load_ns: from the file to the open graph; open_batch: the
    graph takes any number of images; precise: see edgecnn.device.engines.open_graph."""

    engine: Engine
    feeds: Mapping[str, NDArray[Any]]
    model: bytes | Path
    graph_sha256: str
    load_ns: int
    open_batch: bool
    precise: bool | None
    quantization: str | None

    @property
    def batch(self) -> int:
        x = next(iter(self.feeds.values()))
        return int(x.shape[0]) if x.ndim > 1 else 1

    def run(self) -> object:
        """One inference, by bound buffers where the graph has one input and one output."""
        engine = self.engine
        if len(engine.inputs) == 1 and len(engine.outputs) == 1:
            return engine.run_one(next(iter(self.feeds.values())))
        return engine.run(self.feeds)


def open_file(
    path: Path,
    *,
    threads: int | None = None,
    trust_key: Path | str | None = None,
    engine: str = "ort",
    provider: str | None = None,
    shapes: Shapes | None = None,
    images: int = 1,
) -> Opened:
    """An artifact with its golden inputs, or a bare .onnx (by its name's end) with seeded random ones.

    images: as many where the batch is open. shapes: sizes of a bare graph's inputs that it leaves open.
    Raises InputMissing, ArtifactRejected, GraphRejected, SignatureRejected or KeyRejected, what the engine raises, and UsageError for sizes that
    are open beside the batch, or that don't fit.
    """
    from edgecnn.device.engines import engine_module

    engine_module(engine).runtime()  # so that its import doesn't count as the first graph's loading
    how: dict[str, Any] = {"engine": engine, "threads": threads, "provider": provider}
    bare = path.suffix.lower() == ".onnx"
    return _open_graph(path, trust_key, shapes or {}, images, how) if bare else _open_artifact(path, trust_key, shapes, images, how)


def _open_graph(path: Path, trust_key: Path | str | None, shapes: Shapes, images: int, how: Mapping[str, Any]) -> Opened:
    from edgecnn.device.engines import open_graph

    start = time.perf_counter_ns()
    data = _read_graph(path, trust_key, shapes)
    engine = open_graph(data, **how)
    load_ns = time.perf_counter_ns() - start
    feeds = {info.name: _example(info.name, info.dtype, _sizes(info.name, info.shape, shapes, images), path) for info in engine.inputs}
    if not feeds:
        raise UsageError(f"{path} takes no input, so there is nothing to time; give a network that takes one.")
    first = engine.inputs[0].shape
    return Opened(
        engine=engine,
        feeds=feeds,
        model=data,
        graph_sha256=hashlib.sha256(data).hexdigest(),
        load_ns=load_ns,
        open_batch=bool(first) and not isinstance(first[0], int) and not shapes,
        precise=None,
        quantization=None,
    )


def _open_artifact(path: Path, trust_key: Path | str | None, shapes: Shapes | None, images: int, how: Mapping[str, Any]) -> Opened:
    from edgecnn.device.golden import read_golden
    from edgecnn.device.saturation import precise_for
    from edgecnn.device.session import open_session
    from edgecnn.sign import open_trusted

    if shapes:
        raise UsageError(f"{path} is an artifact, which states its sizes; --shape is for a bare .onnx that leaves some open.")
    start = time.perf_counter_ns()
    with open_trusted(path, trust_key) as bundle:
        spec = bundle.manifest.spec
        model, precise = bundle.graph_source(), precise_for(bundle) if how["engine"] == "ort" else None
        engine = open_session(model, spec, precise=precise, **how).engine
        load_ns = time.perf_counter_ns() - start
        inputs = read_golden(bundle).inputs
        rows = np.arange(spec.batch or images) % len(inputs)
        return Opened(
            engine=engine,
            feeds={spec.input.name: inputs[rows].astype(spec.input.dtype)},
            model=model,
            graph_sha256=bundle.manifest.member("model.onnx").sha256,
            load_ns=load_ns,
            open_batch=not spec.batch,
            precise=precise,
            quantization=bundle.manifest.quantization,
        )


def _read_graph(path: Path, trust_key: Path | str | None, shapes: Shapes) -> bytes:
    """The bytes of a .onnx file that holds nothing but a graph of its own."""
    from edgecnn.artifact.graph import check_device_graph, read_graph, read_onnx

    data = read_onnx(path)
    if trust_key is not None:
        from edgecnn.sign.check import check_data

        check_data(data, path, trust_key)
    graph = read_graph(data)
    check_open(graph, path, shapes)
    check_device_graph(with_shapes(graph, shapes))
    return data


def check_open(graph: Graph, path: Path, shapes: Shapes) -> None:
    """Raises UsageError where `shapes` names no input of the graph or doesn't fit what it states, GraphRejected where it is needed and not there."""
    inputs = {value.name: value for value in graph.inputs}
    for name, sizes in shapes.items():
        if name not in inputs and (name or len(inputs) != 1):
            what = f"no input {name!r}" if name else f"{len(inputs)} inputs, so --shape must name one"
            raise UsageError(
                f"{path} has {what}; its inputs are {', '.join(inputs) or 'none'}, e.g. --shape {next(iter(inputs), 'input')}=1x3x32x32."
            )
        stated = (inputs[name] if name else graph.inputs[0]).shape
        fits = stated is None or (
            len(stated) == len(sizes) and all(not isinstance(size, int) or size == given for size, given in zip(stated, sizes, strict=True))
        )
        if not fits:
            sizes_given, which = "x".join(map(str, sizes)), name or graph.inputs[0].name
            raise UsageError(f"--shape {sizes_given} doesn't fit the input {which} of {path}, which is {_shown(stated or ())}.")
    for value in graph.inputs:
        shape = value.shape
        if value.name not in shapes and "" not in shapes and shape is not None and any(not isinstance(size, int) for size in shape[1:]):
            example = "x".join(str(size) if isinstance(size, int) else "1" if at == 0 else "224" for at, size in enumerate(shape))
            raise GraphRejected(
                f"The input {value.name} of {path} has the shape {_shown(shape)}; beside the batch devices want fixed sizes, so export it "
                f"with such, or say what to time, e.g. --shape {value.name}={example}."
            )


def with_shapes(graph: Graph, shapes: Shapes) -> Graph:
    """The graph as it is where its inputs have these sizes."""
    if not shapes:
        return graph
    inputs = tuple(replace(value, shape=shapes.get(value.name, shapes.get("", value.shape))) for value in graph.inputs)
    return replace(graph, inputs=inputs, values={**graph.values, **{value.name: value for value in inputs}})


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """(input's name or "", sizes) of "NAME=1x3x32x32", "1x3x32x32" or the same with commas. Raises UsageError."""
    name, _, sizes = text.rpartition("=")
    if not re.fullmatch(r"[0-9]{1,9}([x,][0-9]{1,9})*", sizes):
        raise UsageError(f"--shape {text!r} is no shape; give an input's sizes, e.g. 1x3x32x32 or input=1,3,32,32.")
    found = tuple(int(size) for size in re.split("[x,]", sizes))
    if not 0 < math.prod(found) <= _MOST_ELEMENTS:
        raise UsageError(f"--shape {text!r} has {math.prod(found)} elements; at least 1 and at most {_MOST_ELEMENTS} were wanted.")
    return name, found


def _shown(shape: Sequence[int | str | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _sizes(name: str, shape: Sequence[int | str | None], shapes: Shapes, images: int) -> list[int | str | None]:
    given = shapes.get(name, shapes.get(""))
    return list(given) if given is not None else [images if axis == 0 and not isinstance(size, int) else size for axis, size in enumerate(shape)]


def _example(name: str, dtype: str, sizes: Sequence[int | str | None], path: Path) -> NDArray[Any]:
    """Seeded values of an input's dtype and shape; standard normal where it takes floats, any pixel where it takes bytes."""
    fixed = [size for size in sizes if isinstance(size, int) and size > 0]
    if len(fixed) != len(sizes):
        raise UsageError(f"input {name} of {path} has the shape {_shown(sizes)}, which is open beside the batch; give its sizes with --shape.")
    random = np.random.Generator(np.random.PCG64(0))
    if dtype in ("float32", "float16", "float64"):
        return random.standard_normal(fixed).astype(dtype)
    if dtype in ("uint8", "int8"):
        return random.integers(0, 256, fixed, dtype=np.uint8).view(dtype)
    raise UsageError(f"input {name} of {path} is {dtype}; float32, float16, float64, uint8 or int8 was wanted.")

"""OpenVINO: a second engine, on the CPU. Often the faster one for int8 on x86 (docs/engines.md); the extra `openvino` brings it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.device.engines import TensorInfo, allowed_threads
from edgecnn.device.host import may_saturate
from edgecnn.errors import ExtraMissing, GraphRejected, InputMissing, ProviderMissing, UsageError

_DTYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64", "boolean": "bool"}
_PREAMBLES = ("Exception from", "Check '", "While validating", "[ ERROR", "FrontEnd API failed", "Model wasn't fully converted", "Summary:")
_KEPT = 4
"""Compiled forms of one graph, of an open batch's sizes: compiling takes a hundred times as long as running."""


def available() -> bool:
    """Whether openvino is installed; it is not imported for that."""
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


def runtime() -> Any:
    """The module openvino. Raises ExtraMissing where it isn't installed, ProviderMissing where it can't be imported."""
    try:
        with _unheard():
            import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise ExtraMissing.of("openvino", "openvino") from None
    except ImportError as error:
        raise ProviderMissing(f"openvino can't be imported here ({_said(error)}); install it anew.") from error
    return openvino


@contextmanager
def _unheard() -> Iterator[None]:
    """Its converter, which its import brings along, reports each import over the network; without the package that sends them it does not."""
    name = "openvino_telemetry"
    if name in sys.modules or "openvino" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def open_graph(
    model: bytes | Path, *, threads: int | None = None, optimize: bool = True, provider: str | None = None, precise: bool | None = None
) -> OpenvinoEngine:
    """See edgecnn.device.engines.open_graph. `optimize=False` is refused: OpenVINO always rewrites a graph. With `precise` the layers of an int8
    graph are computed in float32, which takes as long as float32 does."""
    threads = allowed_threads(threads)
    openvino = runtime()
    if provider is not None and provider.lower() != "cpu":
        raise ProviderMissing(f"the engine openvino computes on the CPU alone; {provider} was asked for, leave it out.")
    if not optimize:
        raise UsageError("the engine openvino always rewrites a graph, so it can't run one as it stands; take the engine ort for that.")
    if isinstance(model, Path):
        if not model.is_file():
            raise InputMissing(f"{model} doesn't exist; give an ONNX file.")
        model = model.read_bytes()
    try:
        read = _read(openvino, model)
        return OpenvinoEngine(read, _settings(threads, may_saturate() if precise is None else precise), threads=threads)
    except Exception as error:  # openvino's errors share no base class of their own
        if not _is_openvino_error(error):
            raise
        raise GraphRejected(f"openvino {openvino.__version__.partition('-')[0]} can't load the graph ({_said(error)}).") from error


def _read(openvino: Any, data: bytes) -> Any:
    """The graph from memory, by the reader of ONNX and no other: OpenVINO knows more formats, and guesses."""
    import io

    reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
    model = reader.convert(reader.load(io.BytesIO(data)))
    if not model.outputs:
        raise GraphRejected("the graph has no output; export it again.")  # no bytes at all are an empty graph
    return model


def _settings(threads: int, precise: bool) -> dict[str, Any]:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # pinned threads stand still where another program has their core
        "ENABLE_CPU_PINNING": False,
        # by default it computes in bfloat16 where the CPU can, and quantizes activations of what only has int8 weights
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    return {**settings, "LP_TRANSFORMS_MODE": "NO"} if precise else settings


@contextmanager
def _same_signal_stack() -> Iterator[None]:
    """Where OpenVINO's CPU plugin compiles it gives the thread another stack for signals, and a compiled graph that is let go puts back the one
    before: of several it leaves one that is freed, and Ctrl-C crashes. So what was there is put back at once."""
    import ctypes

    swap = getattr(ctypes.CDLL(None), "sigaltstack", None) if os.name == "posix" else None
    before = ctypes.create_string_buffer(64)  # a stack_t, which takes 24 bytes or less
    known = swap is not None and swap(None, before) == 0
    try:
        yield
    finally:
        if swap is not None and known:
            swap(before, None)


class OpenvinoEngine:
    """A graph compiled by OpenVINO behind the Engine protocol. Where its batch is open each size that comes is compiled for itself, which is
    faster than a form for all; the last few are kept. Not for several threads at once."""

    name, provider = "openvino", "OpenVINO CPU"

    def __init__(self, model: Any, settings: Mapping[str, Any], *, threads: int) -> None:
        self._model, self._settings, self.threads = model, settings, threads
        self.inputs = tuple(_tensor(port) for port in model.inputs)
        self.outputs = tuple(_tensor(port) for port in model.outputs)
        self._compiled: dict[tuple[tuple[int, ...], ...], _Compiled] = {}
        if all(isinstance(size, int) for info in self.inputs for size in info.shape):
            self._compile(tuple(tuple(size for size in info.shape if isinstance(size, int)) for info in self.inputs))
        else:  # that it can be run at all is found out now, not at the first image
            self._compile(tuple(tuple(size if isinstance(size, int) else 1 for size in info.shape) for info in self.inputs))

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """See Engine.run."""
        names = [info.name for info in self.inputs]
        if set(feeds) != set(names):
            raise UsageError(f"the graph takes {', '.join(names) or 'no input'}; {', '.join(feeds) or 'nothing'} was given.")
        return tuple(array.copy() for array in self._infer([feeds[name] for name in names]))

    def run_one(self, x: NDArray[Any]) -> NDArray[Any]:
        """See Engine.run_one."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise UsageError(f"the graph has {len(self.inputs)} inputs and {len(self.outputs)} outputs; one of each was wanted.")
        return self._infer([x])[0].copy()

    def _infer(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        for info, x in zip(self.inputs, arrays, strict=True):
            _check(info, x)
        shapes = tuple(x.shape for x in arrays)
        compiled = self._compiled.get(shapes)
        try:
            if compiled is None:
                compiled = self._compile(shapes)
            return compiled(arrays)
        except Exception as error:
            if not _is_openvino_error(error):
                raise
            raise GraphRejected(f"the graph fails on this input ({_said(error)}).") from error

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> _Compiled:
        openvino = runtime()
        model = self._model
        if model.is_dynamic():
            model = model.clone()
            model.reshape({info.name: list(shape) for info, shape in zip(self.inputs, shapes, strict=True)})
        with _same_signal_stack():
            made = _Compiled(openvino, openvino.Core().compile_model(model, "CPU", dict(self._settings)))
        while len(self._compiled) >= _KEPT:
            del self._compiled[next(iter(self._compiled))]
        self._compiled[shapes] = made
        return made


class _Compiled:
    """One compiled graph with the request and the arrays that it reads from."""

    def __init__(self, openvino: Any, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = []
        for place, port in enumerate(compiled.inputs):
            array = np.zeros(tuple(port.shape), dtype=_DTYPES[port.element_type.get_type_name()])
            self._request.set_input_tensor(place, openvino.Tensor(array, shared_memory=True))
            self._inputs.append(array)
        self._fixed = not any(port.partial_shape.is_dynamic for port in compiled.outputs)
        self._count = len(compiled.outputs)
        self._outputs = self._views() if self._fixed else []

    def _views(self) -> list[NDArray[Any]]:
        return [self._request.get_output_tensor(place).data for place in range(self._count)]

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The outputs, as views of what the next call overwrites."""
        for own, given in zip(self._inputs, arrays, strict=True):
            np.copyto(own, given)
        self._request.infer(share_outputs=True)
        return self._outputs if self._fixed else self._views()


def _tensor(port: Any) -> TensorInfo:
    axes = tuple(axis.get_length() if axis.is_static else None for axis in port.partial_shape)
    kind = port.element_type.get_type_name()
    return TensorInfo(port.any_name, _DTYPES.get(kind, kind), axes)


def _check(info: TensorInfo, x: NDArray[Any]) -> None:
    """OpenVINO would cast a dtype and take another shape as it comes. Raises UsageError."""
    fits = len(x.shape) == len(info.shape) and all(size in (None, found) for size, found in zip(info.shape, x.shape, strict=True))
    if not fits or str(x.dtype) != info.dtype:
        wanted = f"{info.dtype} of shape {list(info.shape)}"
        raise UsageError(f"the graph doesn't take this input ({info.name} is {x.dtype} of shape {list(x.shape)}, {wanted} was wanted).")


def _is_openvino_error(error: Exception) -> bool:
    return isinstance(error, (RuntimeError, ValueError)) or type(error).__module__.startswith("openvino.")


def _said(error: Exception) -> str:
    """OpenVINO's own words in one line: its messages begin with the source files that they come from."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_PREAMBLES)]
    return (told or [line for line in lines if line] or [type(error).__name__])[0].rstrip(".")[:300]

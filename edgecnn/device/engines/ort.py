"""onnxruntime: the reference engine, on the CPU unless another execution provider is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.device.engines import TensorInfo, allowed_threads
from edgecnn.device.host import installed_runtime, may_saturate
from edgecnn.errors import GraphRejected, InputMissing, ProviderMissing, UsageError

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
_FATAL = 4  # of onnxruntime's severities 0 to 4: what is an error it raises as well, and we say it in our words

_SPIN_US, _SPIN_BOUNDED_SINCE = 50, (1, 26)
"""Microseconds that a thread spins for its next piece of work, and the onnxruntime that can be told them."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def available() -> bool:
    """Whether onnxruntime is installed; it is not imported for that."""
    import importlib.util

    return importlib.util.find_spec("onnxruntime") is not None


def runtime() -> Any:
    """The module onnxruntime. Raises ProviderMissing where it is installed and can't be imported, ModuleNotFoundError where it isn't there."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        raise ProviderMissing(f"onnxruntime can't be imported here ({_import_fault(error)}).") from error
    return onnxruntime


def _import_fault(error: ImportError) -> str:
    version = installed_runtime() or "of unknown version"
    release = _release(version)
    # its own requirements let pip take a newer numpy, and then it says nothing
    if () < release < (1, 19) and int(np.__version__.partition(".")[0]) >= 2:
        return f"{version} was built for numpy 1, and numpy {np.__version__} is installed; run: pip install 'numpy<2'"
    return f"{_first_line(error)}; install it anew, or another version than {version}"


def _release(version: str) -> tuple[int, ...]:
    """(1, 31) of "1.31.1", () of what has no numbers."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def open_graph(
    model: bytes | Path, *, threads: int | None = None, optimize: bool = True, provider: str | None = None, precise: bool | None = None
) -> OrtEngine:
    """See edgecnn.device.engines.open_graph."""
    threads = allowed_threads(threads)
    onnxruntime = runtime()
    if isinstance(model, Path) and not model.is_file():
        raise InputMissing(f"{model} doesn't exist; give an ONNX file.")
    provider = _provider(provider, onnxruntime.get_available_providers())
    chain = [provider] if provider == CPU else [provider, CPU]
    source = str(model) if isinstance(model, Path) else model
    try:
        # without enable_fallback=0 a provider that fails prints a banner, and the CPU quietly takes its place
        options = session_options(threads, optimize, may_saturate() if precise is None else precise)
        session = onnxruntime.InferenceSession(source, options, providers=chain, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        if provider != CPU and (isinstance(error, (RuntimeError, ValueError)) or type(error).__name__ in ("EPFail", "EngineError")):
            raise ProviderMissing(f"{provider} can't be loaded here ({_first_line(error)}); use {CPU}.") from error
        if not _is_ort_error(error):
            raise
        raise GraphRejected(f"onnxruntime {onnxruntime.__version__} can't load the graph ({_first_line(error)}).") from error
    loaded = session.get_providers()[0]
    if loaded != provider:
        raise ProviderMissing(f"{provider} was asked for, onnxruntime loaded {loaded}; use {CPU}, or install what {provider} needs.")
    return OrtEngine(session, provider=loaded, threads=threads)


def session_options(threads: int, optimize: bool, precise: bool) -> onnxruntime.SessionOptions:
    """How edgecnn sets onnxruntime up, whatever it runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # a number of its own keeps onnxruntime from pinning threads to cores, which warns where a container forbids it
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # waking a thread takes as long as a layer of a small net, so waiting ones spin for that long; without a bound they would go on while there is
    # nothing to do, so what can't be bounded doesn't spin
    bounded = _release(onnxruntime.__version__) >= _SPIN_BOUNDED_SINCE
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(bounded)))
    if bounded:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    options.log_severity_level = _FATAL
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if precise:
        # a slower kernel, which doesn't add products in 16 bits; onnxruntime takes it only where its own would saturate
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _provider(wanted: str | None, here: Sequence[str]) -> str:
    """The full name of a provider, from that or a short one ("cuda")."""
    if wanted is None:
        return CPU
    for name in here:
        if wanted.lower() in (name.lower(), name.lower().removesuffix("executionprovider")):
            return name
    raise ProviderMissing(f"this onnxruntime has no execution provider {wanted}; it has {', '.join(here)}.")


def _is_ort_error(error: Exception) -> bool:
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")


def _first_line(error: Exception) -> str:
    """onnxruntime's own words, without the code's number and file in front: "[ONNXRuntimeError] : 10 : INVALID_GRAPH : ..."."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split(" : ", 3)[-1].rstrip(". ")


class OrtEngine:
    """An onnxruntime session behind the Engine protocol. Not for several threads at once: `run_one` keeps its buffers."""

    name = "ort"

    def __init__(self, session: onnxruntime.InferenceSession, *, provider: str, threads: int) -> None:
        self._session = session
        self.provider = provider
        self.threads = threads
        self.inputs = tuple(_tensor(value) for value in session.get_inputs())
        self.outputs = tuple(_tensor(value) for value in session.get_outputs())
        self._bound: _Bound | None = None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """See Engine.run."""
        try:
            return tuple(self._session.run(None, dict(feeds)))
        except Exception as error:
            raise _refusal(error) from error

    def run_one(self, x: NDArray[Any]) -> NDArray[Any]:
        """See Engine.run_one."""
        bound = self._bound
        if bound is None or bound.input.shape != x.shape or bound.input.dtype != x.dtype:
            bound = self._bound = self._bind(x)
            if bound is None:
                return self.run({self.inputs[0].name: x})[0]
        np.copyto(bound.input, x)
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception as error:
            raise _refusal(error) from error
        return bound.output.copy()

    def _bind(self, x: NDArray[Any]) -> _Bound | None:
        """Buffers for inputs like `x`; None where the output's shape isn't known beforehand, or onnxruntime must refuse `x` itself."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise UsageError(f"the graph has {len(self.inputs)} inputs and {len(self.outputs)} outputs; one of each was wanted.")
        source, result = self.inputs[0], self.outputs[0]
        shape = _output_shape(source.shape, x.shape, result.shape)
        if self.provider != CPU or shape is None or str(x.dtype) != source.dtype or result.dtype not in _DTYPES.values():
            return None
        bound = _Bound(np.empty(x.shape, x.dtype), np.empty(shape, result.dtype), self._session.io_binding())
        for name, array, bind in ((source.name, bound.input, bound.binding.bind_input), (result.name, bound.output, bound.binding.bind_output)):
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return bound


class _Bound:
    """Arrays that onnxruntime reads from and writes to in place; they live as long as the binding that points at them."""

    __slots__ = ("binding", "input", "output")

    def __init__(self, x: NDArray[Any], y: NDArray[Any], binding: Any) -> None:
        self.input, self.output, self.binding = x, y, binding


def _output_shape(declared: Sequence[int | str | None], found: Sequence[int], output: Sequence[int | str | None]) -> tuple[int, ...] | None:
    """The output's shape for an input of shape `found`, where the declared shapes settle it and fit."""
    if len(declared) != len(found):
        return None
    known: dict[str, int] = {}
    for axis, size in zip(declared, found, strict=True):
        if isinstance(axis, int) and axis != size:
            return None
        if isinstance(axis, str) and known.setdefault(axis, size) != size:
            return None
    shape = tuple(known.get(axis) if isinstance(axis, str) else axis for axis in output)
    return tuple(size for size in shape if size is not None) if None not in shape else None


def _tensor(value: Any) -> TensorInfo:
    return TensorInfo(value.name, _DTYPES.get(value.type, value.type), tuple(value.shape))


def _refusal(error: Exception) -> Exception:
    """onnxruntime's complaint about its feeds as UsageError, a node that can't compute as GraphRejected; others as they are."""
    if isinstance(error, ValueError) or type(error).__name__ == "InvalidArgument":
        return UsageError(f"the graph doesn't take this input ({_first_line(error)}).")
    if _is_ort_error(error):
        return GraphRejected(f"the graph fails on this input ({_first_line(error)}).")
    return error

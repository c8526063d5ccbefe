"""Inference engines, one a file, behind one small protocol. The file's name is the engine's name.

Each module has `available() -> bool`, `runtime()`, which gives the package that it runs on, and
`open_graph(model, *, threads=None, optimize=True, provider=None, precise=None) -> Engine`; it imports that package only inside these.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgecnn.artifact.codec import suggestion
from edgecnn.device.host import available_cores
from edgecnn.errors import UsageError

if TYPE_CHECKING:  # numpy takes half of a short start-up, and helpers are started before it
    from numpy.typing import NDArray


class TensorInfo(NamedTuple):
    """A tensor at the graph's edge: its name, its dtype as numpy spells it, and its shape, with a name or None for an open axis."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Engine(Protocol):
    """A loaded graph, ready to run. One thread at a time may use it.

    name: the engine's own; provider: the execution provider that was really loaded; threads: how many it computes with.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...
    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...
    @property
    def provider(self) -> str: ...
    @property
    def threads(self) -> int: ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """All outputs, in the order of `outputs`, for arrays named as `inputs`. Raises UsageError where they don't fit the graph."""
        ...

    def run_one(self, x: NDArray[Any]) -> NDArray[Any]:
        """The one output for the one input, on the shortest way; the result is the caller's own. Raises UsageError as `run` does."""
        ...


def names() -> tuple[str, ...]:
    """The engines' names, found without importing them."""
    import pkgutil

    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def engine_module(engine: str) -> Any:
    """The engine's module, with `available`, `runtime` and `open_graph`. Raises UsageError for a name that there is none of."""
    try:
        return importlib.import_module(f"{__name__}.{engine}")
    except ModuleNotFoundError:
        if engine in names():
            raise
        raise UsageError(f"there is no engine {engine!r}{suggestion(engine, names())}; the engines are {', '.join(names())}.") from None


def allowed_threads(threads: int | None) -> int:
    """`threads`, or all that this process may use. Raises UsageError for fewer than one or more than allowed."""
    allowed = available_cores()
    if threads is None:
        return allowed
    if not 1 <= threads <= allowed:
        raise UsageError(f"{threads} threads were asked for, this process may use {allowed}; give a number from 1 to {allowed}.")
    return threads


def open_graph(
    model: bytes | Path,
    *,
    engine: str = "ort",
    threads: int | None = None,
    optimize: bool = True,
    provider: str | None = None,
    precise: bool | None = None,
) -> Engine:
    """An ONNX graph (its bytes, or a file) loaded into the named engine.

    threads: at most what this process may use, which is the default; optimize: False runs the graph exactly as it stands, for references;
    provider: the engine's execution provider, its CPU one by default; precise: whether int8 products that this CPU would let saturate are to be
    computed by slower kernels that don't, which they are by default wherever it may.
    Raises UsageError, GraphRejected, InputMissing or ProviderMissing.
    """
    opened: Engine = engine_module(engine).open_graph(model, threads=threads, optimize=optimize, provider=provider, precise=precise)
    return opened

"""A graph that is known to be what its ModelSpec says, ready to give logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, TensorSpec
from edgecnn.device.engines import Engine, TensorInfo, open_graph
from edgecnn.errors import GraphRejected, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """An engine with the graph of `spec` loaded. One thread at a time may use it."""

    spec: ModelSpec
    engine: Engine

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """(n, channels, height, width), float32 or (where the graph normalizes) uint8, as `to_input` makes it -> float32 (n, labels).

        Where the model's batch is fixed, n may be any number: the last round is filled up with zeros, whose answers are dropped.
        Raises UsageError for another dtype or shape, for no input at all, and for NaN or infinities.
        """
        spec = self.spec
        check_input(x, spec)
        fed = x.astype(spec.input.dtype, copy=False)
        step = spec.batch or len(x)
        rounds = [self._round(fed[start : start + step], step) for start in range(0, len(x), step)]
        found = rounds[0] if len(rounds) == 1 else np.concatenate(rounds)
        if found.shape != (len(x), len(spec.labels)):
            raise GraphRejected(f"the graph of {spec.name} answered {list(found.shape)}, {[len(x), len(spec.labels)]} was wanted; export it again.")
        return found.astype(np.float32, copy=False)

    def _round(self, x: NDArray[Any], step: int) -> NDArray[Any]:
        if len(x) == step:
            return self.engine.run_one(x)
        full = np.zeros((step, *x.shape[1:]), dtype=x.dtype)
        full[: len(x)] = x
        return self.engine.run_one(full)[: len(x)]


def check_input(x: NDArray[Any], spec: ModelSpec) -> None:
    """Raises UsageError unless `x` is finite float32, or uint8 where the graph normalizes, (n, channels, height, width), n at least 1."""
    wanted, dtype = spec.input.shape[1:], spec.preprocess.dtype
    if not isinstance(x, np.ndarray) or x.dtype != dtype or x.shape[1:] != wanted or x.ndim != len(wanted) + 1:
        found = f"{x.dtype} of shape {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise UsageError(f"{spec.name} takes {dtype} arrays of shape (n, {', '.join(map(str, wanted))}), {found} was found.")
    if not len(x):
        raise UsageError(f"{spec.name} was given an array of no inputs; give at least one.")
    if not np.isfinite(x).all():
        raise UsageError("the input holds NaN or infinity; give finite numbers.")


def open_session(
    model: bytes | Path,
    spec: ModelSpec,
    *,
    threads: int | None = None,
    optimize: bool = True,
    provider: str | None = None,
    precise: bool | None = None,
    engine: str = "ort",
) -> Session:
    """The graph (its bytes, or a file) as a Session, once it is seen to have the spec's input and output and no others.

    The keywords are those of edgecnn.device.engines.open_graph. Raises what that does, and GraphRejected where the graph isn't the spec's.
    """
    opened = open_graph(model, engine=engine, threads=threads, optimize=optimize, provider=provider, precise=precise)
    for kind, found, wanted in (("input", opened.inputs, spec.input), ("output", opened.outputs, spec.output)):
        known = ("float32", "float16", *(["uint8"] if kind == "input" else []))
        if wanted.dtype not in known:
            raise GraphRejected(f"{spec.name} has an {kind} of {wanted.dtype}; {', '.join(known)} can be run.")
        if len(found) != 1 or not _fits(found[0], wanted):
            shown = ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in found) or "none"
            raise GraphRejected(f"the graph's {kind} is {shown}; {spec.name} says {wanted.name} {wanted.dtype} {list(wanted.shape)}.")
    return Session(spec=spec, engine=opened)


def _fits(found: TensorInfo, wanted: TensorSpec) -> bool:
    if (found.name, found.dtype, len(found.shape)) != (wanted.name, wanted.dtype, len(wanted.shape)):
        return False
    # an axis that the graph leaves open takes what the spec says
    return all(size == axis for size, axis in zip(found.shape, wanted.shape, strict=True) if isinstance(size, int))

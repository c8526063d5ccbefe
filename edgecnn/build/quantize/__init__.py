"""Quantizers, one a file; the file's name is what `--quantize` takes.

A quantizer's module has `NEEDS_CALIBRATION: bool` and `quantize(model: bytes, calibration: Calibration | None, **config) -> Quantized`:
an ONNX graph in, a smaller one out, with the same input and output (names, shapes, float32). It writes no file and keeps nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.codec import suggestion
from edgecnn.artifact.records import Scalar
from edgecnn.errors import UsageError

Calibration = Callable[[], Iterator[NDArray[np.float32]]]
"""Gives the calibration images from the first one on, each time it is called: float32 batches (n, channels, height, width), n as it likes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """What a quantizer made: the graph, the configuration it worked with, its tools' versions, and what there is to say."""

    model: bytes
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


def names() -> tuple[str, ...]:
    """The names of all quantizers, found without importing them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def needs_calibration(name: str) -> bool:
    """Whether the quantizer `name` needs images to measure ranges on. Raises UsageError for an unknown name."""
    return bool(_module(name).NEEDS_CALIBRATION)


def quantize(name: str, model: bytes, calibration: Calibration | None = None, **config: Any) -> Quantized:
    """The ONNX graph `model` through the quantizer `name`, with its configuration.

    Raises UsageError for an unknown name or missing calibration, DataRejected for an empty one, SourceRejected for a graph that can't be
    quantized, and whatever `calibration` raises.
    """
    made: Quantized = _module(name).quantize(model, calibration, **config)
    return made


def _module(name: str) -> Any:
    if name not in names():
        raise UsageError(f"there is no quantizer {name}{suggestion(name, names())}; there are {', '.join(names())}.")
    return importlib.import_module(f"{__name__}.{name}")

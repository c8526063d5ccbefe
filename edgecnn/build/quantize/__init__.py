"""Quantizers, one a file; the file's name is what `--quantize` takes.

A quantizer's module has `NEEDS_CALIBRATION: bool` and `quantize(model: bytes, calibration: Calibration | None, *, ...) -> Quantized`:
an ONNX graph in, a smaller one out, with the same input and output (names, shapes, float32). Its keyword-only arguments are its options, as
`--config` takes them: see _options.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgecnn.artifact.codec import suggestion
from edgecnn.artifact.records import Scalar
from edgecnn.build.quantize import _options
from edgecnn.build.quantize._options import Option
from edgecnn.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Calibration: TypeAlias = "Callable[[], Iterator[NDArray[np.float32]]]"
"""Gives the calibration images from the first one on, each time it is called: float32 batches (n, channels, height, width), n as it likes.

Where it has an attribute `identity`, a text that is equal for equal images only, what is measured on them may be kept for the next time.
Where it has an attribute `training` that isn't None, a graph may be fine-tuned on that."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Training:
    """Images to fine-tune on: how many, the sha256 of their own, uint8 pixels (n, height, width, channels) when they are asked for, and what
    makes float32 inputs (n, channels, height, width) of some; multi_label: whether several labels may hold. progress hears of each step."""

    count: int
    sha256: str
    pixels: Callable[[], NDArray[np.uint8]]
    normalize: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    multi_label: bool
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """What a quantizer made: the graph, how it was made, its tools' versions, and what there is to say.

    configuration: of a module, facts such as weight_type; of `quantize` below, all its options as well.
    """

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


def options(name: str) -> tuple[Option, ...]:
    """What can be configured of the quantizer `name`, without importing it. Raises UsageError for an unknown name."""
    _check(name)
    return _options.declared(Path(__path__[0]) / f"{name}.py")


def configure(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each option of the quantizer `name`: that of `config`, as it is or as text (true, 99.9, conv1,conv2), or the default.

    Raises UsageError for an unknown option, or a value that it doesn't take.
    """
    return dict(_options.complete(name, options(name), config))


def recorded(configuration: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The options in a stage's configuration, as `quantize` takes them again: {} where the stage quantized nothing."""
    name = configuration.get("quantizer")
    known = {option.name for option in options(name)} if isinstance(name, str) and name in names() else set()
    return {key: value for key, value in configuration.items() if key in known}


def quantize(name: str, model: bytes, calibration: Calibration | None = None, **config: Any) -> Quantized:
    """The ONNX graph `model` through the quantizer `name`; config: as for `configure`. All its options are in the result's configuration.

    Raises UsageError for an unknown name or missing calibration, or as `configure` does; DataRejected for an empty calibration, SourceRejected
    for a graph that can't be quantized, and whatever `calibration` raises.
    """
    values = configure(name, config)
    made: Quantized = _module(name).quantize(model, calibration, **values)
    return replace(made, configuration={**made.configuration, **_options.as_scalars(values)})


def _module(name: str) -> Any:
    _check(name)
    return importlib.import_module(f"{__name__}.{name}")


def _check(name: str) -> None:
    if name not in names():
        raise UsageError(f"there is no quantizer {name}{suggestion(name, names())}; there are {', '.join(names())}.")

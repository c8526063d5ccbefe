"""Network architectures, one a file; the file's name is the network's name.

A network's module has `build(*, num_classes, in_channels, input_size, **options) -> torch.nn.Module`: a network from float32
(batch, in_channels, height, width) to logits (batch, num_classes). Its options are keyword-only, typed, and have defaults.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgecnn.artifact.codec import CodecError, decode, suggestion
from edgecnn.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

_GIVEN = ("num_classes", "in_channels", "input_size")


def names() -> tuple[str, ...]:
    """The names of all networks, found without importing them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def build_net(name: str, *, num_classes: int, in_channels: int, input_size: tuple[int, int], options: Mapping[str, Any] | None = None) -> nn.Module:
    """The network `name` with fresh weights, for images of input_size = (height, width).

    options: the network's own, as a recipe or a checkpoint holds them (lists stand for tuples).
    Raises UsageError for an unknown network or option, a value that doesn't fit, or an input too small for the network.
    """
    if name not in names():
        raise UsageError(f"there is no network {name}{suggestion(name, names())}; there are {', '.join(names())}.")
    for what, value in (("num_classes", num_classes), ("in_channels", in_channels), ("input_size", min(input_size))):
        if value < 1:
            raise UsageError(f"{what} is {value}; at least 1 was wanted.")
    build = importlib.import_module(f"{__name__}.{name}").build
    chosen = _checked(name, build, options or {})
    net: nn.Module = build(num_classes=num_classes, in_channels=in_channels, input_size=input_size, **chosen)
    return net


def _checked(name: str, build: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    known = [parameter for parameter in inspect.signature(build).parameters if parameter not in _GIVEN]
    hints = typing.get_type_hints(build)
    chosen = {}
    for key, value in options.items():
        if key not in known:
            raise UsageError(f"{name} has no option {key}{suggestion(key, known)}; it has {', '.join(known) or 'none'}.")
        try:
            chosen[key] = decode(hints[key], value, where=key)
        except CodecError as error:
            raise UsageError(f"{name}'s option {error.sentence}") from None
    return chosen

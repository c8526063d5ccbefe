"""The candidates of `--quantize auto`: what differs in speed or size, and what only differs in accuracy."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence

from edgecnn.build.quantize import names
from edgecnn.build.search.records import FLOAT32, Candidate, Value

KEEPS_FLOAT = "keep_float"
"""The option that names the layers which stay in float32."""

QAT = "qat_steps"
"""The option that says how long to fine-tune, where there are training images."""

SCHEMES: Mapping[str, Sequence[Mapping[str, Value]]] = {
    "int8": ({}, {"per_channel": False}, {"activation_type": "int8"}, {"activation_type": "int8", "per_channel": False})
}
"""What of a quantizer's options changes which kernels run; one that isn't named here has its defaults only."""

REFINEMENTS: Mapping[str, Sequence[tuple[str, Sequence[Value]]]] = {"int8": (("ranges", ("percentile", "entropy", "mse")),)}
"""What changes a quantizer's numbers alone: an option, and the values to try beside its default, one after the other."""

LAST_RESORTS: Mapping[str, Sequence[tuple[str, Value]]] = {"int8": (("rounding", "adaptive"), (QAT, 300))}
"""Refinements that take so long that they are tried, one after the other, only where no other was enough."""


def schemes(*, batch: int | None) -> tuple[Candidate, ...]:
    """float32, then each quantizer in each way that may differ in speed or size; dynamic ranges span a batch, so they want a batch of 1."""
    found = [name for name in names() if name != "dynamic" or batch == 1]
    return (FLOAT32, *(Candidate(quantizer=name, config=config) for name in found for config in SCHEMES.get(name, ({},))))


def refinements(quantizer: str) -> tuple[tuple[str, Sequence[Value]], ...]:
    """Those of REFINEMENTS that the quantizer takes."""
    return tuple((option, values) for option, values in REFINEMENTS.get(quantizer, ()) if takes(quantizer, option))


def last_resorts(quantizer: str, *, training: bool) -> tuple[tuple[str, Value], ...]:
    """Those of LAST_RESORTS that the quantizer takes; training: whether there are images to fine-tune on."""
    return tuple((option, value) for option, value in LAST_RESORTS.get(quantizer, ()) if takes(quantizer, option) and (training or option != QAT))


def takes(quantizer: str, option: str) -> bool:
    """Whether a quantizer has an option."""
    return option in _defaults(quantizer)


def complete(candidate: Candidate) -> dict[str, Value]:
    """All options of its quantizer, so that it stays what it is when defaults change."""
    return {} if candidate == FLOAT32 else {**_defaults(candidate.quantizer), **candidate.config}


def _defaults(quantizer: str) -> dict[str, Value]:
    parameters = inspect.signature(importlib.import_module(f"edgecnn.build.quantize.{quantizer}").quantize).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}

"""Other options that the artifact may be exported with, tried: each quantizes the float graph again, and answers the images of the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.build import quantize as quantizers
from edgecnn.build.blame.advice import Options
from edgecnn.build.blame.records import Cure, LayerRow
from edgecnn.build.onnx_io import parse
from edgecnn.build.pairs import floats_between_integers
from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize import quantize as run_quantizer
from edgecnn.build.sensitivity import matching_graph
from edgecnn.device.differences import Differences, differences
from edgecnn.device.session import open_session
from edgecnn.errors import EdgecnnError

Config = Mapping[str, str]

_BETTER = (("per_channel", False, "true"), ("equalize", False, "true"), ("correct_bias", False, "true"), ("rounding", "nearest", "adaptive"))
"""Options, as they are now, and what may be better, the quickest to try first."""

KEEP = "keep_float"
SLOW = "rounding="
"""What takes minutes for a large network is tried only where nothing else is enough at no cost."""


def cures(quantizer: str, options: Options, keep: Sequence[str], float_model: bytes) -> Iterator[Cure]:
    """What may be tried with a quantizer that made a graph with these options. keep: layers that may stay in float."""
    better = [Cure(config=f"{name}={value}") for name, now, value in _BETTER if options.get(name) == now]
    yield from (cure for cure in better if not cure.config.startswith(SLOW))
    methods = next((option.choices for option in quantizers.options(quantizer) if option.name == "ranges"), ())
    yield from (Cure(config=f"ranges={method}") for method in methods if method != options.get("ranges"))
    if KEEP in options:
        known = {node.name for node in matching_graph(float_model).graph.node}
        kept = tuple(name for name in dict.fromkeys((*options[KEEP], *keep)) if name in known)
        if set(kept) - set(options[KEEP]):
            yield Cure(config=f"{KEEP}={','.join(kept)}", costs=True)
    yield from (cure for cure in better if cure.config.startswith(SLOW))


def to_keep(layers: Sequence[LayerRow], model: bytes) -> tuple[str, ...]:
    """The layers to keep in float, with what reads them: while a tensor is read as integers it is rounded, and onnxruntime rounds the float
    weights of a layer between integers, too. Such layers of the graph `model` are among them, for what reads them."""
    between = floats_between_integers(parse(model))
    return tuple(
        dict.fromkeys((*(name for row in layers for name in (row.layer, *row.readers)), *(n for name in between for n in (name, *between[name]))))
    )


def try_out(
    found: Sequence[Cure],
    *,
    quantizer: str,
    options: Options,
    float_model: bytes,
    calibration: Calibration | None,
    spec: ModelSpec,
    inputs: NDArray[np.float32],
    expected: NDArray[np.float32],
    enough: Callable[[Differences], bool],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Cure, ...]:
    """Each cure with its answers to `inputs`, float32 (n, channels, height, width), against those `expected` of the source network, (n, labels).

    What can't be quantized so is left as it was. Those that are enough come first, of them those that cost no speed; then by their SQNR.
    """

    def answered(cure: Cure) -> Cure:
        name, _, value = cure.config.partition("=")
        try:
            model = run_quantizer(quantizer, float_model, calibration, **{**options, name: value}).model
            answers = open_session(model, spec).logits(inputs)
        except EdgecnnError:
            return cure
        if not np.isfinite(answers).all():
            return cure
        apart = differences(expected, answers, spec)
        return replace(cure, found=apart, enough=enough(apart))

    tried: list[Cure] = []
    for done, cure in enumerate(found):
        progress(done, len(found))
        needless = cure.config.startswith(SLOW) and any(other.enough and not other.costs for other in tried)
        tried.append(cure if needless else answered(cure))
    progress(len(found), len(found))
    return tuple(sorted(tried, key=_rank))


def _rank(cure: Cure) -> tuple[bool, bool, float]:
    if cure.found is None:
        return True, True, 0.0
    noise = cure.found.sqnr_db
    return not cure.enough, cure.enough and cure.costs, -(noise if noise is not None else float("inf"))


def as_it_is(answers: NDArray[np.float32], expected: NDArray[np.float32], spec: ModelSpec, enough: Callable[[Differences], bool]) -> Cure:
    """The artifact itself, to hold its cures against."""
    apart = differences(expected, answers, spec)
    return Cure(config="", found=apart, enough=enough(apart))

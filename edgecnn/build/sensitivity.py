"""How much each quantized layer costs by itself: the float graph with that layer alone quantized, and what becomes of its answers.

Errors of layers add up nearly as independent noise does, so the layers with the least SQNR here are those whose return to float helps most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgecnn.build.onnx_io import parse
from edgecnn.build.pairs import Activation, Constant, QuantizedLayer, quantize_only, quantized_layers
from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._equalize import equalize
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._heavy import own_constants
from edgecnn.build.quantize._rewrite import rewrite
from edgecnn.device.differences import decibels
from edgecnn.device.engines import Engine, open_graph
from edgecnn.errors import DataRejected, SourceRejected

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSensitivity:
    """Of one layer: the SQNR of the logits, in dB, with nothing quantized but its weights and its output; then with its weights alone, and
    with its output alone, None where it has none that is quantized. inf: the logits didn't change, -inf: they are no longer finite."""

    name: str
    operator: str
    sqnr_db: float
    weights_sqnr_db: float | None = None
    activations_sqnr_db: float | None = None


def sensitivity(
    float_model: bytes, quantized_model: bytes, images: Calibration, *, progress: Progress = lambda done, total: None
) -> tuple[LayerSensitivity, ...]:
    """Each quantized layer of `quantized_model` that has its like in `float_model`, the graph that it was made from; the worst first.

    images: what gives inputs, as for a quantizer; it is called two or three times a layer, so let it give them from memory: some 64 will do
    to tell large from small. progress: told how many layers of how many are done.
    Raises DataRejected where there are no images, SourceRejected where the float graph's own answers aren't finite.
    """
    reference = matching_graph(float_model)
    return measure_layers(reference, quantized_layers(reference, parse(quantized_model)), images, progress=progress)


def matching_graph(float_model: bytes, *, equalized: bool = False) -> ModelProto:
    """The float graph as quantizers see it: the same function, with the nodes and tensors that its quantized form has. Raises SourceRejected.

    equalized: whether its channels were scaled before it was quantized, as here then.
    """
    proto = load(float_model, opset=13)
    rewrite(proto)
    if equalized:
        own_constants(proto)
        equalize(proto)
    return proto


def measure_layers(
    reference: ModelProto, layers: tuple[QuantizedLayer, ...], images: Calibration, *, progress: Progress = lambda done, total: None
) -> tuple[LayerSensitivity, ...]:
    """`sensitivity` of layers that are found already; reference: from matching_graph."""
    expected = _reference_answers(reference, images)
    found = []
    for done, layer in enumerate(layers):
        progress(done, len(layers))
        constants = tuple(constant for constant in layer.constants if constant.reference is not None)
        activations = tuple(activation for activation in layer.activations if activation.tensor is not None)
        if constants or activations:
            found.append(_measure_layer(reference, layer, constants, activations, images, expected))
    progress(len(layers), len(layers))
    return tuple(sorted(found, key=lambda layer: layer.sqnr_db))


def _measure_layer(
    reference: ModelProto,
    layer: QuantizedLayer,
    constants: tuple[Constant, ...],
    activations: tuple[Activation, ...],
    images: Calibration,
    expected: list[NDArray[np.float64]],
) -> LayerSensitivity:
    def alone(constants: tuple[Constant, ...] = (), activations: tuple[Activation, ...] = ()) -> float | None:
        if not constants and not activations:
            return None
        return _sqnr(quantize_only(reference, constants=constants, activations=activations), images, expected)

    weights, outputs = alone(constants), alone((), activations)
    both = alone(constants, activations) if constants and activations else weights if weights is not None else outputs
    assert both is not None
    return LayerSensitivity(name=layer.name, operator=layer.operator, sqnr_db=both, weights_sqnr_db=weights, activations_sqnr_db=outputs)


def _reference_answers(reference: ModelProto, images: Calibration) -> list[NDArray[np.float64]]:
    engine = open_graph(reference.SerializeToString(), optimize=False)
    expected = [feed(engine, x)[0].astype(np.float64) for x in images()]
    if not sum(map(len, expected)):
        raise DataRejected("there are no images to measure the layers on; give at least one.")
    if not all(np.isfinite(answers).all() for answers in expected):
        raise SourceRejected("the float graph answers NaN or infinity, so nothing can be measured against it; look at its weights.")
    return expected


def _sqnr(model: bytes, images: Calibration, expected: list[NDArray[np.float64]]) -> float:
    engine = open_graph(model, optimize=False)
    signal = noise = 0.0
    for x, wanted in zip(images(), expected, strict=True):
        apart = feed(engine, x)[0] - wanted
        signal += float(np.sum(wanted * wanted))
        noise += float(np.sum(apart * apart))
    return decibels(signal, noise) if math.isfinite(noise) else -math.inf


def feed(engine: Engine, x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """All outputs of a graph for the inputs x, however many there are: a fixed batch is filled up with the last one."""
    parts = list(_parts(engine, x))
    return parts[0] if len(parts) == 1 else tuple(np.concatenate(pieces) for pieces in zip(*parts, strict=True))


def _parts(engine: Engine, x: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    source = engine.inputs[0]
    size = source.shape[0] if isinstance(source.shape[0], int) else max(1, len(x))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        count = len(part)
        if count < size:
            part = np.concatenate([part, np.repeat(part[-1:], size - count, axis=0)])
        answers = engine.run({source.name: np.ascontiguousarray(part)})
        yield tuple(found[:count] if found.ndim and len(found) == size else np.atleast_1d(found) for found in answers)

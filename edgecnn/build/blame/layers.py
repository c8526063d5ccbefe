"""Layer by layer: what rounding costs each tensor, what arrives of it, and what each layer alone costs the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgecnn.build.blame.advice import Options, advise, outstanding
from edgecnn.build.blame.records import LayerRow, TensorRow
from edgecnn.build.onnx_io import parse
from edgecnn.build.pairs import Activation, Constant, QuantizedLayer, quantized_layers, watch
from edgecnn.build.sensitivity import LayerSensitivity, feed, matching_graph, measure_layers
from edgecnn.device.differences import decibels
from edgecnn.device.engines import Engine, open_graph

_BATCH = 4
"""Images whose tensors are in memory together, where the batch is open."""

WORST = -999.0
"""In dB, for what is NaN or infinite."""

Progress = Callable[[int, int], None]


def measure(
    float_model: bytes,
    quantized_model: bytes,
    inputs: NDArray[np.float32],
    *,
    quantized_inputs: NDArray[np.generic] | None = None,
    options: Options | None = None,
    allowed_db: float = math.inf,
    progress: Progress = lambda done, total: None,
) -> tuple[LayerRow, ...]:
    """The quantized layers of `quantized_model` against `float_model`, the worst first; empty where it has no pairs.

    inputs: float32 (n, channels, height, width); quantized_inputs: the same images as the quantized graph takes them, where that is otherwise;
    options: of the quantizer, with their values, which advice may name; allowed_db: the least SQNR of the logits that will do.
    Memory doesn't grow with the images but by the inputs themselves.
    """
    reference, quantized = matching_graph(float_model, equalized=bool(options and options.get("equalize"))), parse(quantized_model)
    layers = quantized_layers(reference, quantized)
    if not layers:
        return ()
    taken = _activations(reference, quantized, layers, inputs, inputs if quantized_inputs is None else quantized_inputs)
    found = {each.name: each for each in measure_layers(reference, layers, lambda: iter((inputs,)), progress=progress)}
    rows = [_row(layer, found.get(layer.name), taken) for layer in layers]
    apart = outstanding(rows, allowed_db=allowed_db)
    rows = [replace(row, advice=advise(row, options or {})) if row.layer in apart else row for row in rows]
    return tuple(sorted(rows, key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db))


def _row(layer: QuantizedLayer, found: LayerSensitivity | None, taken: dict[str, TensorRow]) -> LayerRow:
    return LayerRow(
        layer=layer.name,
        operator=layer.operator,
        sqnr_db=_known(found.sqnr_db if found else None),
        weights_sqnr_db=_known(found.weights_sqnr_db if found else None),
        activations_sqnr_db=_known(found.activations_sqnr_db if found else None),
        tensors=(*map(_constant, layer.constants), *(taken[activation.restored] for activation in layer.activations)),
        readers=layer.readers,
    )


def _known(value: float | None) -> float | None:
    """Without inf; what is no longer finite is the worst there is."""
    return None if value is None or value == math.inf else max(value, WORST)


def _ratio(signal: float, noise: float) -> float | None:
    return _known(decibels(signal, noise)) if math.isfinite(noise) else WORST


def _constant(constant: Constant) -> TensorRow:
    row = TensorRow(tensor=constant.tensor, kind="bias" if constant.values.ndim <= 1 else "weight", matched=constant.reference is not None)
    if constant.scale is not None and constant.zero_point is not None and constant.integers is not None:
        low, high, scale = _holds(constant)
        row = replace(
            row,
            range_low=float(low.min()),
            range_high=float(high.max()),
            channels=constant.scale.size,
            scale=(float(scale.min()), float(scale.max())),
            zero_point=(int(constant.zero_point.min()), int(constant.zero_point.max())),
        )
    if constant.reference is None:
        return row
    wanted = constant.reference.astype(np.float64)
    apart = constant.values - wanted
    return replace(
        row,
        sqnr_db=_ratio(float(np.sum(wanted * wanted)), float(np.sum(apart * apart))),
        low=float(wanted.min(initial=0.0)),
        high=float(wanted.max(initial=0.0)),
        saturated=_saturated_constants(constant) if row.scale is not None else None,
    )


def _holds(constant: Constant) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What the integers of each scale can hold, and the scale. One that stands for zeros alone says nothing, as long as there are others."""
    assert constant.integers is not None
    assert constant.scale is not None
    assert constant.zero_point is not None
    ends, zero = np.iinfo(constant.integers.dtype), constant.zero_point.astype(np.float64).reshape(-1)
    scale = constant.scale.astype(np.float64).reshape(-1)
    zero = np.broadcast_to(zero, scale.shape)
    if (live := constant.live).any():
        scale, zero = scale[live], zero[live]
    return (ends.min - zero) * scale, (ends.max - zero) * scale, scale


def _saturated_constants(constant: Constant) -> float:
    """The share that an end of the integers holds off by more than half a step."""
    assert constant.integers is not None
    assert constant.reference is not None
    ends = np.iinfo(constant.integers.dtype)
    at_end = (constant.integers <= ends.min + (ends.min < 0)) | (constant.integers >= ends.max)
    step = float(np.max(constant.scale)) if constant.scale is not None else 0.0
    return float(np.mean(at_end & (np.abs(constant.values - constant.reference) > 0.51 * step))) if constant.values.size else 0.0


@dataclass(slots=True, kw_only=True)
class _Sums:
    """Of one activation over all images; channels: the largest absolute value of each."""

    activation: Activation
    channels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    signal: float = 0.0
    rounding: float = 0.0
    arriving: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    beyond: int = 0
    count: int = 0
    comparable: bool = field(default=True)

    def add(self, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        if wanted.shape != found.shape:
            self.comparable = False
            return
        low, high = self.activation.range
        values = wanted.astype(np.float64)
        half = self.activation.scale / 2
        steps = np.rint(values / self.activation.scale) * self.activation.scale
        self.signal += float(np.sum(values * values))
        self.rounding += float(np.sum(np.square(np.clip(steps, low, high) - values)))
        self.arriving += float(np.sum(np.square(found - values)))
        self.low, self.high = min(self.low, float(values.min(initial=math.inf))), max(self.high, float(values.max(initial=-math.inf)))
        if values.ndim > 1:
            self.channels = np.maximum(self.channels, np.abs(values).max(axis=(0, *range(2, values.ndim)), initial=0.0))
        self.beyond += int(np.count_nonzero((values < low - half) | (values > high + half)))
        self.count += values.size

    @property
    def row(self) -> TensorRow:
        activation, live = self.activation, self.channels[self.channels > 0]
        low, high = activation.range
        row = TensorRow(
            tensor=activation.tensor or activation.restored,
            kind="activation",
            matched=activation.tensor is not None and self.comparable and self.count > 0,
            range_low=low,
            range_high=high,
            channels=1,
            scale=(activation.scale, activation.scale),
            zero_point=(activation.zero_point, activation.zero_point),
        )
        if not row.matched:
            return row
        return replace(
            row,
            sqnr_db=_ratio(self.signal, self.rounding),
            arriving_sqnr_db=_ratio(self.signal, self.arriving),
            low=self.low,
            high=self.high,
            saturated=self.beyond / self.count,
            channel_high=(float(np.median(live)), float(live.max())) if live.size else (0.0, 0.0),
        )


def _activations(
    reference: ModelProto,
    quantized: ModelProto,
    layers: Sequence[QuantizedLayer],
    inputs: NDArray[np.float32],
    quantized_inputs: NDArray[np.generic],
) -> dict[str, TensorRow]:
    """Of each activation, by its name behind the pair: both graphs side by side, a few images at a time."""
    sums = {activation.restored: _Sums(activation=activation) for layer in layers for activation in layer.activations}
    watched = {restored: each.activation.tensor for restored, each in sums.items() if each.activation.tensor is not None}
    before = open_graph(watch(reference, [tensor for tensor in watched.values() if tensor is not None]), optimize=False)
    after = open_graph(watch(quantized, watched), optimize=False)
    for start in range(0, len(inputs), _BATCH):
        x = inputs[start : start + _BATCH]
        wanted = {before.inputs[0].name: x, **_named(before, x)}
        found = _named(after, quantized_inputs[start : start + _BATCH])
        for restored, tensor in watched.items():
            assert tensor is not None
            sums[restored].add(wanted[tensor], found[restored])
    return {restored: each.row for restored, each in sums.items()}


def _named(engine: Engine, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
    return dict(zip((value.name for value in engine.outputs), feed(engine, x), strict=True))

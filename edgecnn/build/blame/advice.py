"""From what was measured of a layer to what is wrong with it, and what may be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn.build.blame.records import Advice, LayerRow, TensorRow
from edgecnn.build.blame.records import number_text as _n

Options = Mapping[str, Any]
"""A quantizer's options, and what they are now; others aren't named."""

FINE_DB = 20.0
"""A layer that makes so much less noise than is allowed isn't worth a change: it is 1 %."""

MOST_OF_IT = 0.75
"""Layers stand out where a few of them make so much of the noise that all make, each measured alone."""

PART_DB = 6.0
"""A part of a layer, its weights or its output, is told of where it makes a quarter of the layer's noise."""

TAILS_DB = 38.0
"""Of an output whose levels are all in reach: less than this leaves most of them to a few values."""

IN_FLOAT = "keep it in float with what reads it"

UNEVEN = 8.0
"""A channel so many times as loud as the middle one: three bits are lost to half of the channels."""


def outstanding(rows: Sequence[LayerRow], *, allowed_db: float) -> tuple[str, ...]:
    """The layers that stand out, the worst first: the fewest that make most of the noise, as long as they are a third of all or fewer.

    allowed_db: the least SQNR that will do, of the logits.
    """
    powers = {row.layer: 10 ** (-row.sqnr_db / 10) for row in rows if row.sqnr_db is not None}
    found: list[str] = []
    for name in sorted(powers, key=lambda name: -powers[name]):
        if sum(powers[other] for other in found) >= MOST_OF_IT * sum(powers.values()):
            break
        found.append(name)
    fine = 10 ** (-(allowed_db + FINE_DB) / 10)
    return tuple(name for name in found if powers[name] > fine) if len(found) <= max(1, len(rows) // 3) else ()


def advise(row: LayerRow, options: Options) -> tuple[Advice, ...]:
    """What is wrong with the parts of a layer that stands out, and what to do."""
    return () if row.sqnr_db is None else tuple(_told(row, row.sqnr_db, options))


def _told(row: LayerRow, costs: float, options: Options) -> Iterator[Advice]:
    for tensor in row.tensors:
        part = {"weight": row.weights_sqnr_db, "activation": row.activations_sqnr_db}.get(tensor.kind)
        if part is not None and part <= costs + PART_DB:
            yield (_weight if tensor.kind == "weight" else _activation)(tensor, options)


def _weight(tensor: TensorRow, options: Options) -> Advice:
    if tensor.foreign:
        cause = f"its weights {tensor.tensor} aren't the reference's ({tensor.sqnr_db:.1f} dB), which no rounding explains"
        return Advice(cause=cause, cure="export it again", sure=True)
    if tensor.channels == 1 and options.get("per_channel") is False:
        return Advice(cause=f"its weights {tensor.tensor} have one scale for all channels", cure="give each its own (per_channel=true)")
    cures = [f"{name}={better}" for name, now, better in _FOR_WEIGHTS if options.get(name) == now]
    return Advice(cause=f"its weights {tensor.tensor} don't bear 8 bits", cure=_or("correct what rounding does", cures, IN_FLOAT))


_FOR_WEIGHTS = (("equalize", False, "true"), ("correct_bias", False, "true"), ("rounding", "nearest", "adaptive"))


def _or(what: str, cures: Sequence[str], otherwise: str) -> str:
    return f"{what} ({', '.join(cures)}), or {otherwise}" if cures else otherwise


def _activation(tensor: TensorRow, options: Options) -> Advice:
    low, high, bottom, top = tensor.low, tensor.high, tensor.range_low, tensor.range_high
    like_these = "calibrate on images like these"
    if low is None or high is None or bottom is None or top is None or tensor.saturated is None or tensor.channel_high is None:
        return Advice(cause=f"its output {tensor.tensor} doesn't bear 8 bits", cure=IN_FLOAT)
    seen = f"its output {tensor.tensor} goes from {_n(low)} to {_n(high)} and its range from {_n(bottom)} to {_n(top)}"
    middle, loudest = tensor.channel_high
    method = options.get("ranges")
    if tensor.saturates:
        wider = ["ranges=minmax"] if method not in (None, "minmax") else []
        return Advice(cause=f"{seen}, so {tensor.saturated:.1%} of it saturate", cure=_or("take wider ranges", wider, like_these), sure=True)
    if tensor.unused:
        return Advice(cause=f"{seen}, so most levels are never used", cure=f"{like_these}, without odd ones", sure=True)
    if 0 < UNEVEN * middle <= loudest:
        why = f"for a channel that reaches {_n(loudest)}, where half of the channels stay within {_n(middle)} and share few levels"
        alike = ["equalize=true"] if options.get("equalize") is False else []
        return Advice(cause=f"{seen}, {why}", cure=_or("make the channels alike", alike, IN_FLOAT))
    if tensor.sqnr_db is not None and tensor.sqnr_db < TAILS_DB:
        narrower = ["ranges=entropy", "ranges=mse"] if method == "minmax" else []
        return Advice(cause=f"{seen}, and few of its values lie near the ends", cure=_or("give these up", narrower, IN_FLOAT))
    return Advice(cause=f"{seen}, and the answers hang on it", cure=IN_FLOAT)

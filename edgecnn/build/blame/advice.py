"""From what was measured of a layer to what may be done about it, the likeliest cure first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn.build.blame.records import LayerRow, TensorRow

Options = Mapping[str, Any]
"""A quantizer's options, and what they are now; others aren't named."""

FINE_DB = 45.0
"""A layer that costs the answers less than this isn't worth a change."""

FOREIGN_DB = 3.0
"""Of weights: noise as large as the signal isn't rounding."""

TAILS_DB = 38.0
"""Of an output whose levels are all in reach: less than this leaves most of them to a few values."""

SATURATED = 0.01
UNUSED = 4.0
"""A range so many times as wide as the values: two bits are lost."""


def worth(rows: Sequence[LayerRow]) -> float:
    """The SQNR in dB up to which a layer is worth a change: its noise is no less than the layers' mean, and told at all."""
    powers = [10 ** (-row.sqnr_db / 10) for row in rows if row.sqnr_db is not None]
    return min(FINE_DB, -10 * math.log10(sum(powers) / len(powers)) + 1e-9) if powers else -math.inf


def advise(row: LayerRow, options: Options, *, bound: float) -> tuple[str, ...]:
    """What to do about a layer that costs more than `bound`, from `worth`."""
    if row.sqnr_db is None or row.sqnr_db > bound:
        return ()
    told = [said for tensor in row.tensors for said in _told(tensor, row, options, bound)]
    if "keep_float" in options and row.operator != "input":
        told.append(f"keep it in float (--config keep_float={row.layer})")
    return tuple(dict.fromkeys(told))


def _told(tensor: TensorRow, row: LayerRow, options: Options, bound: float) -> Iterator[str]:
    """Of the part, weights or output, that costs half of what is worth a change, or more."""
    costs = {"weight": row.weights_sqnr_db, "activation": row.activations_sqnr_db}.get(tensor.kind)
    if costs is not None and costs <= bound + 3:
        yield from (_weight if tensor.kind == "weight" else _activation)(tensor, options)


def _weight(tensor: TensorRow, options: Options) -> Iterator[str]:
    if tensor.sqnr_db is not None and tensor.sqnr_db < FOREIGN_DB:
        yield f"the weights {tensor.tensor} aren't the reference's ({tensor.sqnr_db:.1f} dB), which no rounding explains: export it again"
        return
    if tensor.channels == 1 and options.get("per_channel") is False:
        yield "give each channel of its weights a scale (--config per_channel=true)"
    if options.get("equalize") is False:
        yield "make the ranges of its channels alike (--config equalize=true)"
    if options.get("rounding") == "nearest":
        yield "round its weights by what they do to the answer (--config rounding=adaptive)"


def _activation(tensor: TensorRow, options: Options) -> Iterator[str]:
    low, high, bottom, top = tensor.low, tensor.high, tensor.range_low, tensor.range_high
    if low is None or high is None or bottom is None or top is None or tensor.saturated is None:
        return
    seen = f"values of {tensor.tensor} go from {low:.3g} to {high:.3g}, its range from {bottom:.3g} to {top:.3g}"
    method = options.get("ranges")
    if tensor.saturated > SATURATED:
        wider = _range("minmax") if method not in (None, "minmax") else ""
        yield f"{seen}, so {tensor.saturated:.1%} saturate: calibrate on images like these{wider}"
    elif top - bottom > UNUSED * max(max(high, 0.0) - min(low, 0.0), 1e-30):
        yield f"{seen}, so most of its levels are never used: calibrate on images like these"
    elif method == "minmax" and tensor.sqnr_db is not None and tensor.sqnr_db < TAILS_DB:
        yield f"{seen}, and few values lie near its ends: give these up{_range('mse')}"


def _range(method: str) -> str:
    return f" (--config ranges={method})"

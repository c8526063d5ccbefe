"""From numbers to pictures. Black is 0, orange is positive, blue is negative: one scale of colours for all maps, in light pages and dark ones."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.report.formulas import Array

Pixels = NDArray[np.uint8]

# black to orange to pale yellow, black to blue to pale blue: both rise in lightness, so they can be told in grey as well
_POSITIVE = ((20, 21, 26), (206, 84, 28), (255, 226, 156))
_NEGATIVE = ((20, 21, 26), (42, 104, 206), (178, 228, 255))
_PLACES = (0.0, 0.5, 1.0)
_LEVELS = 40
"""Colours on each side of 0: more are hardly told apart, and pictures of few colours take a third of the bytes."""


def colors(values: Array, most: float) -> NDArray[np.uint8]:
    """(height, width) -> places in `palette()`. most: the number that has the palest colour; NaN has a grey of its own."""
    share = np.clip(np.nan_to_num(values.astype(np.float64), nan=0.0) / (most or 1.0), -1, 1)
    found: NDArray[np.uint8] = (np.rint(share * _LEVELS) + _LEVELS).astype(np.uint8)
    found[np.isnan(values)] = 2 * _LEVELS + 1
    return found


@cache
def palette() -> Pixels:
    """uint8 (colours, 3): from the most negative to the most positive, then the grey of NaN."""
    sizes = np.arange(_LEVELS + 1) / _LEVELS
    up, down = (np.stack([np.interp(sizes, _PLACES, [stop[i] for stop in stops]) for i in range(3)], axis=1) for stops in (_POSITIVE, _NEGATIVE))
    found: Pixels = np.rint(np.concatenate([down[:0:-1], up, [[128.0] * 3]])).astype(np.uint8)
    return found


def map_uri(values: Array, most: float) -> str:
    """`colors` as a data URI of a PNG."""
    from PIL import Image

    image = Image.fromarray(colors(values, most))
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def strongest(values: Array) -> float:
    """The number that gets the palest colour: the largest, but for the uppermost thousandth, so that one outlier doesn't black out the rest."""
    size = np.abs(values[np.isfinite(values)].astype(np.float64))
    if not size.size:
        return 1.0
    return float(np.quantile(size, 0.999)) or float(size.max()) or 1.0


def photo(values: Array, channels: str) -> Pixels:
    """Numbers (channels, height, width) as a picture, the lowest black and the highest white. channels: RGB, BGR or L."""
    finite = np.nan_to_num(values.astype(np.float64))
    low, high = float(finite.min()), float(finite.max())
    grey: Pixels = np.rint((finite - low) / (high - low or 1.0) * 255).astype(np.uint8)
    return in_color(np.moveaxis(grey, 0, -1), channels)


def in_color(pixels: NDArray[Any], channels: str) -> Pixels:
    """(height, width, channels) in the network's order as red, green, blue, or as (height, width)."""
    found = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, ::-1] if channels == "BGR" else pixels
    return np.ascontiguousarray(found)


def filter_picture(weight: Array, channels: str) -> Pixels:
    """One filter (channels, height, width) over an image: in colour, where grey is 0 and the strongest weight of it has full colour."""
    most = float(np.abs(weight).max()) or 1.0
    if len(weight) != 3:
        return palette()[colors(weight[0], most)]
    return in_color(np.moveaxis(np.rint(127.5 + 127.5 * weight.astype(np.float64) / most).astype(np.uint8), 0, -1), channels)


def overlay(photo: Pixels, heat: Array, most: float) -> Pixels:
    """Heat (height, width) over a picture of the same size, which turns grey: orange for, blue against, nothing at 0."""
    grey = photo if photo.ndim == 2 else photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    base = np.repeat(grey[:, :, None].astype(np.float64) * 0.75 + 40, 3, axis=2)
    share = np.clip(heat.astype(np.float64) / (most or 1.0), -1, 1)
    tint = np.where(share[:, :, None] >= 0, np.array([255.0, 122.0, 20.0]), np.array([40.0, 120.0, 255.0]))
    alpha = 0.78 * np.abs(share)[:, :, None]
    found: Pixels = np.clip(np.rint(base * (1 - alpha) + tint * alpha), 0, 255).astype(np.uint8)
    return found

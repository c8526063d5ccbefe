"""Convolution and pooling: a window slides over an image, and what it covers becomes one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.report.formulas import Array, Attributes, Formula, Inputs, given, the, wide


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How a window slides, a number for each axis of the image.

    kernel: its cells; strides: pixels from one place to the next; dilations: pixels from one cell to the next; heads, tails: pixels of padding
    before and behind the image; places: how many places it has, which is the size of the result.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    heads: tuple[int, ...]
    tails: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Pixels that the window spans: dilation * (kernel - 1) + 1."""
        return tuple(dilation * (cells - 1) + 1 for dilation, cells in zip(self.dilations, self.kernel, strict=True))


def window(image: Sequence[int], kernel: Sequence[int], attributes: Attributes) -> Window:
    """The window of a Conv, MaxPool or AveragePool with these attributes on an image of this size, without batch and channels.

    places = floor((image + padding - reach) / stride) + 1, with ceil_mode ceil instead of floor, where the last one begins before the padding
    behind the image; auto_pad "SAME_UPPER" and "SAME_LOWER" choose the padding so that places = ceil(image / stride).
    Raises ValueError where the window doesn't fit.
    """
    rank = len(image)
    kernel = tuple(kernel)
    strides, dilations = (tuple(attributes.get(name) or (1,) * rank) for name in ("strides", "dilations"))
    pads = tuple(attributes.get("pads") or (0,) * (2 * rank))
    auto = attributes.get("auto_pad") or "NOTSET"
    reach = tuple(dilation * (cells - 1) + 1 for dilation, cells in zip(dilations, kernel, strict=True))
    if auto.startswith("SAME"):
        places = tuple(-(-size // stride) for size, stride in zip(image, strides, strict=True))
        missing = [max(0, (count - 1) * stride + span - size) for count, stride, span, size in zip(places, strides, reach, image, strict=True)]
        less, more = tuple(pad // 2 for pad in missing), tuple(-(-pad // 2) for pad in missing)
        heads, tails = (less, more) if auto == "SAME_UPPER" else (more, less)
    else:
        heads, tails = (pads[:rank], pads[rank:]) if auto == "NOTSET" else ((0,) * rank, (0,) * rank)
        rooms = [size + head + tail - span for size, head, tail, span in zip(image, heads, tails, reach, strict=True)]
        if min(rooms) < 0:
            raise ValueError(f"a window of {list(reach)} doesn't fit into {list(image)} pixels with padding {list(heads)} and {list(tails)}")
        up = bool(attributes.get("ceil_mode", 0))
        places = tuple((-(-room // stride) if up else room // stride) + 1 for room, stride in zip(rooms, strides, strict=True))
        if up:
            places = tuple(
                count - 1 if count > 1 and (count - 1) * stride >= size + head else count
                for count, stride, size, head in zip(places, strides, image, heads, strict=True)
            )
    return Window(kernel=kernel, strides=strides, dilations=dilations, heads=heads, tails=tails, places=places)


def windows(x: Array, slides: Window, fill: Any) -> Array:
    """(batch, channels, *image) -> (batch, channels, *places, *kernel): what the window covers at each place, `fill` where it is outside."""
    rank = len(slides.kernel)
    image = x.shape[2:]
    # a last window of ceil_mode may reach over the padding
    ends = [(count - 1) * stride + span for count, stride, span in zip(slides.places, slides.strides, slides.reach, strict=True)]
    behind = [max(tail, end - size - head) for tail, end, size, head in zip(slides.tails, ends, image, slides.heads, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *zip(slides.heads, behind, strict=True)], constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, slides.reach, axis=tuple(range(2, 2 + rank)))
    steps = [slice(0, (count - 1) * stride + 1, stride) for count, stride in zip(slides.places, slides.strides, strict=True)]
    cells = [slice(None, None, dilation) for dilation in slides.dilations]
    return views[(slice(None), slice(None), *steps, *cells)]


def conv(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """y[n, o, p] = b[o] + sum over the input channels c of o's group and the cells k of w[o, c, k] * x[n, c, p * stride + k * dilation - head]."""
    x, weight, bias = the(inputs), the(inputs, 1), given(inputs, 2)
    y = correlate(x, weight, attributes)
    if bias is not None:
        y = y + wide(bias).reshape(-1, *(1,) * (x.ndim - 2))
    return (y.astype(x.dtype),)


def conv_integer(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """Conv of x - x_zero_point with w - w_zero_point, in int32."""
    x, weight = the(inputs), the(inputs, 1)
    offset, weight_offset = given(inputs, 2), given(inputs, 3)
    shifted = wide(x) - (0 if offset is None else wide(offset))
    kernel = wide(weight) - (0 if weight_offset is None else wide(weight_offset).reshape(-1, *(1,) * (weight.ndim - 1)))
    return (correlate(shifted, kernel, attributes).astype(np.int32),)


def correlate(x: Array, weight: Array, attributes: Attributes) -> Array:
    """Conv without a bias, float64 or int64."""
    groups = int(attributes.get("group", 1))
    slides = window(x.shape[2:], weight.shape[2:], attributes)
    cells, places = math.prod(slides.kernel), math.prod(slides.places)
    batch, channels, rank = x.shape[0], x.shape[1], x.ndim - 2
    views = windows(wide(x), slides, 0)
    # (batch, channels, cells, places), so that each group is one matrix product
    columns = np.moveaxis(views, range(2 + rank, 2 + 2 * rank), range(2, 2 + rank)).reshape(batch, groups, channels // groups * cells, places)
    y: Array = wide(weight).reshape(groups, len(weight) // groups, -1) @ columns
    return y.reshape(batch, len(weight), *slides.places)


def max_pool(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The largest of what the window covers; padding never counts."""
    x = the(inputs)
    slides = window(x.shape[2:], attributes["kernel_shape"], attributes)
    fill = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return (windows(x, slides, fill).max(axis=_cells(x)),)


def average_pool(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The mean of what the window covers; padding counts as zeros with count_include_pad, and not at all without."""
    x = the(inputs)
    slides = window(x.shape[2:], attributes["kernel_shape"], attributes)
    ones = np.ones((1, 1, *x.shape[2:]))
    if attributes.get("count_include_pad", 0):
        ones = np.pad(ones, [(0, 0), (0, 0), *zip(slides.heads, slides.tails, strict=True)], constant_values=1)
        inner = Window(
            kernel=slides.kernel,
            strides=slides.strides,
            dilations=slides.dilations,
            heads=(0,) * len(slides.kernel),
            tails=(0,) * len(slides.kernel),
            places=slides.places,
        )
    else:
        inner = slides
    counts = windows(ones, inner, 0).sum(axis=_cells(x))
    return ((windows(wide(x), slides, 0).sum(axis=_cells(x)) / counts).astype(x.dtype),)


def _cells(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim, 2 * x.ndim - 2))


def global_average_pool(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The mean of each channel."""
    x = the(inputs)
    return (wide(x).mean(axis=tuple(range(2, x.ndim)), keepdims=True).astype(x.dtype),)


def global_max_pool(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The largest value of each channel."""
    x = the(inputs)
    return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


FORMULAS: dict[str, Formula] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}

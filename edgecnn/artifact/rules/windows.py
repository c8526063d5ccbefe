"""Convolutions, poolings, resizing: operators that slide windows over an image, or move its pixels to another grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgecnn.artifact.sizes import MAX_COLUMNS, MAX_WINDOW, Batch, Call, Dim, Dims, Fault, coefficient, float32, product, shown, whole


@dataclass(frozen=True, slots=True)
class _Window:
    """kernel, strides, dilations: one an axis; pads: of both ends of each axis together; auto: NOTSET, VALID, SAME_UPPER or SAME_LOWER."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto: str


def _window(call: Call, kernel: tuple[int, ...]) -> _Window:
    rank = len(kernel)
    strides, dilations = (call.integers(name) or (1,) * rank for name in ("strides", "dilations"))
    pads = call.integers("pads") or (0,) * (2 * rank)
    for name, found, least, count in (
        ("kernel_shape", kernel, 1, rank),
        ("strides", strides, 1, rank),
        ("dilations", dilations, 1, rank),
        ("pads", pads, 0, 2 * rank),
    ):
        if len(found) != count or not all(least <= item <= MAX_WINDOW for item in found):
            call.refuse(name, found)
    auto = call.text("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        call.refuse("auto_pad", auto)
    return _Window(kernel, strides, dilations, tuple(map(sum, zip(pads[:rank], pads[rank:], strict=True))), auto)


def _slid(image: tuple[int, ...], window: _Window, *, up: bool = False) -> Dims:
    """How many places a window has along each axis. up: it may stand over the end, as far as it begins before that (ceil_mode)."""
    result = []
    for axis, size in enumerate(image):
        stride = window.strides[axis]
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        if window.auto.startswith("SAME"):
            result.append(-(-size // stride))
            continue
        pad = 0 if window.auto == "VALID" else window.pads[axis]
        room = size + pad - reach
        if room < 0:
            raise Fault(f"slides a window of {reach} over {size + pad} pixels")
        result.append((-(-room // stride) if up else room // stride) + 1)
    return tuple(result)


def _image(call: Call, at: int = 0) -> tuple[Dim, Dim, tuple[int, ...]]:
    """(batch, channels, the sizes of the rest)."""
    shape = call.shape(at)
    if len(shape) < 3:
        raise Fault(f"wants an image, its input is {shown(shape)}")
    return shape[0], shape[1], whole(shape[2:])


def _kernel(call: Call, weight: tuple[int, ...]) -> tuple[int, ...]:
    kernel = call.integers("kernel_shape") or weight[2:]
    if kernel != weight[2:]:
        raise Fault(f"has kernel_shape {shown(kernel)}, its weights are {shown(weight)}")
    return kernel


def _convolution(at: int) -> Callable[[Call], tuple[Dims, ...]]:
    """at: which input holds the weights."""

    def rule(call: Call) -> tuple[Dims, ...]:
        batch, channels, image = _image(call)
        weight, group = whole(call.shape(at)), call.integer("group", 1)
        if group < 1:
            call.refuse("group", group)
        if len(weight) != len(image) + 2 or channels != weight[1] * group or weight[0] % group:
            raise Fault(f"has weights {shown(weight)} and group {group}, which don't fit an input of {shown(call.shape())}")
        places = _slid(image, _window(call, _kernel(call, weight)))
        _check_columns(weight, places)
        return ((batch, weight[0], *places),)

    return rule


def _check_columns(weight: tuple[int, ...], places: Dims) -> None:
    """Kernels unroll an image into a column for each place of the window (im2col), which is in no tensor of the graph."""
    count = math.prod(weight[1:]) * coefficient(places)
    if count > MAX_COLUMNS:
        raise Fault(f"unrolls its windows into {count} numbers an image; devices take {MAX_COLUMNS}, so make the kernel or the image smaller")


def _transposed(call: Call) -> tuple[Dims, ...]:
    batch, channels, image = _image(call)
    weight, group = whole(call.shape(1)), call.integer("group", 1)
    if not 1 <= group <= MAX_WINDOW:
        call.refuse("group", group)
    if len(weight) != len(image) + 2 or channels != weight[0]:
        raise Fault(f"has weights {shown(weight)}, which don't fit an input of {shown(call.shape())}")
    window = _window(call, _kernel(call, weight))
    _check_columns(weight, image)
    more, stated = call.integers("output_padding") or (0,) * len(image), call.integers("output_shape")
    if len(more) != len(image) or not all(0 <= item <= MAX_WINDOW for item in more):
        call.refuse("output_padding", more)
    if stated:
        if len(stated) < len(image) or min(stated) < 1:
            call.refuse("output_shape", stated)
        return ((batch, weight[1] * group, *stated[-len(image) :]),)
    result = []
    for axis, size in enumerate(image):
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        full = window.strides[axis] * (size - 1) + more[axis] + reach
        result.append(size * window.strides[axis] if window.auto.startswith("SAME") else full - (window.pads[axis] if window.auto == "NOTSET" else 0))
    if min(result) < 1:
        call.refuse("pads", window.pads)
    return ((batch, weight[1] * group, *result),)


def _pool(call: Call) -> tuple[Dims, ...]:
    """The pooled image, and for MaxPool where each maximum was."""
    batch, channels, image = _image(call)
    kernel = call.integers("kernel_shape")
    if kernel is None or len(kernel) != len(image):
        call.refuse("kernel_shape", kernel)
    window, up = _window(call, kernel), bool(call.integer("ceil_mode", 0))
    places = _slid(image, window, up=up)
    if up and not window.auto.startswith("SAME"):
        places = _without_padding_alone(call, image, window, whole(places))
    shape = (batch, channels, *places)
    return (shape, shape)


def _without_padding_alone(call: Call, image: tuple[int, ...], window: _Window, places: tuple[int, ...]) -> Dims:
    """A last window that would begin in the padding at the end is left out."""
    heads = (call.integers("pads") or (0,) * len(image))[: len(image)] if window.auto == "NOTSET" else (0,) * len(image)
    return tuple(
        count - 1 if count > 1 and (count - 1) * stride >= size + head else count
        for count, stride, size, head in zip(places, window.strides, image, heads, strict=True)
    )


def _global_pool(call: Call) -> tuple[Dims, ...]:
    batch, channels, image = _image(call)
    return ((batch, channels, *(1 for _ in image)),)


def _quantized_global_pool(call: Call) -> tuple[Dims, ...]:
    if call.integer("channels_last", 0):
        raise Fault("has its channels last, which devices don't run")
    return _global_pool(call)


def _quantized_pool(call: Call) -> tuple[Dims, ...]:
    if call.integer("channels_last", 0):
        raise Fault("has its channels last, which devices don't run")
    return _pool(call)[:1]


def _scaled(size: int, scale: float) -> int:
    """As runtimes compute it: in float32, rounded down."""
    if not (math.isfinite(scale) and 0 < scale <= MAX_WINDOW):
        raise Fault(f"has a scale of {scale:g}")
    return int(float32(size * scale))


def _resize(call: Call) -> tuple[Dims, ...]:
    """X, roi, scales, sizes; before opset 11 X, scales."""
    shape = call.shape()
    old = call.opset < 11
    listed = call.integers("axes")
    axes = tuple(range(len(shape))) if listed is None else call.axes(listed, len(shape))
    result = list(shape)
    if not old and call.has(3) and call.shape(3) != (0,):
        if call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Fault("keeps the aspect ratio, so its size is rounded in ways that runtimes differ in; give the size itself")
        found = call.sizes(3, "sizes")
        if any(isinstance(size, int) and size < 1 for size in found):
            call.refuse("sizes", found)
        for axis, size in zip(axes, _as_many(call, found, axes), strict=True):
            result[axis] = size
        return (tuple(result),)
    if call.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Fault("crops by scales, so its size depends on the crop; give the size itself")
    scales = call.numbers(1 if old else 2, "scales")
    for axis, scale in zip(axes, _as_many(call, scales, axes), strict=True):
        result[axis] = _stretched(shape[axis], scale)
    return (tuple(result),)


def _upsample(call: Call) -> tuple[Dims, ...]:
    shape, scales = call.shape(), call.attribute("scales")
    found = scales if isinstance(scales, tuple) else call.numbers(1, "scales")
    return (tuple(_stretched(dim, scale) for dim, scale in zip(shape, _as_many(call, found, shape), strict=True)),)


def _stretched(dim: Dim, scale: object) -> Dim:
    if not isinstance(scale, float):
        raise Fault(f"has a scale of {scale}, which is no fraction")
    if isinstance(dim, Batch):
        if scale != 1:
            raise Fault("resizes the batch")
        return dim
    return _scaled(dim, scale)


def _as_many(call: Call, found: tuple[Any, ...], axes: tuple[object, ...]) -> tuple[Any, ...]:
    if len(found) != len(axes):
        call.refuse("sizes or scales", found)
    return found


def _depth_to_space(call: Call) -> tuple[Dims, ...]:
    (batch, channels, image), block = _image(call), call.integer("blocksize", 0)
    if not 1 <= block <= MAX_WINDOW or isinstance(channels, Batch) or channels % (block * block):
        call.refuse("blocksize", block)
    return ((batch, channels // (block * block), *(size * block for size in image)),)


def _space_to_depth(call: Call) -> tuple[Dims, ...]:
    (batch, channels, image), block = _image(call), call.integer("blocksize", 0)
    if not 1 <= block <= MAX_WINDOW or any(size % block for size in image):
        call.refuse("blocksize", block)
    return ((batch, product((channels, block * block)), *(size // block for size in image)),)


def _col2im(call: Call) -> tuple[Dims, ...]:
    """(batch, channels * block, places), the image's shape, the block's shape."""
    shape, image, block = call.shape(), call.whole(1, "image shape"), call.whole(2, "block shape")
    if len(shape) != 3 or len(image) != len(block) or not block or min(*image, *block) < 1:
        call.refuse("block shape", block)
    (channels,) = whole(shape[1:2])
    if channels % math.prod(block):
        call.refuse("block shape", block)
    return ((shape[0], channels // math.prod(block), *image),)


def _grid_sample(call: Call) -> tuple[Dims, ...]:
    (batch, channels, image), grid = _image(call), call.shape(1)
    if len(grid) != len(image) + 2 or grid[0] != batch or grid[-1] != len(image):
        raise Fault(f"has a grid of {shown(grid)}, which doesn't fit an input of {shown(call.shape())}")
    return ((batch, channels, *whole(grid[1:-1])),)


def _affine_grid(call: Call) -> tuple[Dims, ...]:
    size = call.sizes(1, "size")
    if len(size) not in (4, 5):
        call.refuse("size", size)
    return ((size[0], *whole(size[2:]), len(size) - 2),)


ONNX: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    "AffineGrid": _affine_grid,
    "AveragePool": _pool,
    "Col2Im": _col2im,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _transposed,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_pool,
    "GlobalLpPool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "GridSample": _grid_sample,
    "LpPool": _pool,
    "MaxPool": _pool,
    "QLinearConv": _convolution(3),
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _upsample,
}
MICROSOFT: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    "FusedConv": _convolution(1),
    "GridSample": _grid_sample,
    "QLinearAveragePool": _quantized_pool,
    "QLinearGlobalAveragePool": _quantized_global_pool,
}

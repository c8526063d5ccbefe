"""What a layer's weights are multiplied with: the patches of its input, as first and second moments over the calibration images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._graph import attribute
from edgecnn.build.quantize._runs import outputs, up_to

_Floats = NDArray[np.float32]

PLACES = 256
"""Of an image's output, at most, spread evenly: neighbours see nearly the same."""

_IMAGES = 4
"""At once: a layer's inputs may be large."""

_TOGETHER = 32_000_000
"""Bytes of patches that are multiplied at once: one image's are too few to be fast."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """mean: float64 (groups, values); covariance: float64 (groups, values, values)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def second(self) -> NDArray[np.float64]:
        """Of the products of two values, float64 (groups, values, values)."""
        found: NDArray[np.float64] = self.covariance + self.mean[:, :, np.newaxis] * self.mean[:, np.newaxis, :]
        return found


def moments(proto: ModelProto, node: NodeProto, kernel: Sequence[int], calibration: Calibration) -> Moments:
    """Of the patches that the convolution or product `node` of the QDQ graph `proto` reads, in the order of its weights' values.

    kernel: () for a product.
    """
    inputs = outputs(up_to(proto, [node.input[0]]), calibration, optimize=True, together=_IMAGES)
    count, total, products, middle = 0, np.zeros(()), np.zeros(()), None
    for patches in _together(_patches(found, node, kernel) for (found,) in inputs):
        if middle is None:  # float32 would lose what varies little beside a large mean
            middle = patches.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        patches -= middle
        count += patches.shape[1]
        total = total + patches.sum(axis=1, dtype=np.float64)
        products = products + np.matmul(patches.transpose(0, 2, 1), patches)
    assert middle is not None
    rest = total / count
    return Moments(mean=middle[:, 0] + rest, covariance=products / count - rest[:, :, np.newaxis] * rest[:, np.newaxis, :])


def _together(parts: Iterator[_Floats]) -> Iterator[_Floats]:
    kept: list[_Floats] = []
    for part in parts:
        kept.append(part)
        if sum(array.nbytes for array in kept) > _TOGETHER:
            yield np.concatenate(kept, axis=1)
            kept = []
    if kept:
        yield np.concatenate(kept, axis=1)


def _patches(x: _Floats, node: NodeProto, kernel: Sequence[int]) -> _Floats:
    """(n, channels, ...) -> (groups, patches, values)."""
    if not kernel:
        return x.reshape(1, -1, x.shape[-1]).copy()
    count, channels, *sizes = x.shape
    groups, rank = attribute(node, "group", 1), len(kernel)
    strides, dilations = attribute(node, "strides", [1] * rank), attribute(node, "dilations", [1] * rank)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(node, sizes, spans, strides)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + rank)))
    steps: Any = (..., *(slice(None, None, step) for step in (*strides, *dilations)))
    windows = windows[steps]
    windows = windows[(slice(None), slice(None), *_spread(windows.shape[2 : 2 + rank]))]
    places = windows.shape[2 : 2 + rank]
    split = windows.reshape(count, groups, channels // groups, *places, *kernel)
    ordered = np.moveaxis(split, (1, 0, 2), (0, 1, 2 + rank))  # (groups, n, places..., channels, kernel...)
    return np.array(ordered.reshape(groups, count * int(np.prod(places)), -1))  # a copy, which may be changed


def _pads(node: NodeProto, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Before and after, of each axis."""
    automatic = attribute(node, "auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        found = []
        for size, span, stride in zip(sizes, spans, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            found.append((small, large) if automatic == b"SAME_UPPER" else (large, small))
        return found
    pads = attribute(node, "pads", [0] * 2 * len(sizes)) if automatic != b"VALID" else [0] * 2 * len(sizes)
    return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))


def _spread(places: Sequence[int]) -> list[slice]:
    """Every so many of the places along each axis, so that at most PLACES or so are left."""
    step = max(1, round((np.prod(places) / PLACES) ** (1 / len(places))))
    return [slice((size % step) // 2, None, step) if size >= step else slice(size // 2, size // 2 + 1) for size in places]

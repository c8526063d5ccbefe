"""Convolutions and poolings, computed in numpy, are onnxruntime's, whatever their attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgecnn.report.formulas.windows import Window, window, windows
from tests.report.formulas.one import agree, by_formula

SIDES = st.integers(4, 9)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@st.composite
def sliding(draw: st.DrawFn, *, dilated: bool = True, pooling: bool = False) -> tuple[tuple[int, int], dict[str, Any]]:
    """(image, attributes) of a window that fits: its padded image is no smaller than its reach."""
    image = (draw(SIDES), draw(SIDES))
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    strides = [draw(st.integers(1, 3)) for _ in range(2)]
    dilations = [draw(st.integers(1, 2)) for _ in range(2)] if dilated else [1, 1]
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    found: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "auto_pad": auto}
    if dilated and not auto.startswith("SAME"):  # which onnxruntime refuses together with dilations in some versions
        found["dilations"] = dilations
    if auto == "NOTSET":
        most = [size - 1 if pooling else 2 for size in kernel]
        found["pads"] = [draw(st.integers(0, most[axis % 2])) for axis in range(4)]
    reach = [found.get("dilations", [1, 1])[axis] * (kernel[axis] - 1) + 1 for axis in range(2)]
    assume(all(reach[axis] <= image[axis] for axis in range(2)))
    # onnxruntime refuses to pool with a negative padding, which is what this comes to
    assume(not (auto.startswith("SAME") and pooling and any(stride > size for stride, size in zip(strides, kernel, strict=True))))
    return image, found


@given(sliding(), st.sampled_from([(1, 1, 1), (2, 3, 1), (4, 4, 4), (4, 6, 2), (3, 6, 3)]), st.booleans(), st.integers(1, 2))
def test_a_convolution(slide: tuple[tuple[int, int], dict[str, Any]], channels: tuple[int, int, int], biased: bool, batch: int) -> None:
    image, attributes = slide
    into, out, groups = channels
    weight = noise(out, into // groups, *attributes["kernel_shape"], seed=1)
    agree("Conv", [noise(batch, into, *image), weight, noise(out, seed=2) if biased else None], group=groups, **attributes)


@given(sliding(pooling=True), st.booleans())
def test_max_pooling(slide: tuple[tuple[int, int], dict[str, Any]], ceil: bool) -> None:
    image, attributes = slide
    agree("MaxPool", [noise(1, 2, *image)], ceil_mode=int(ceil), **attributes)


@given(sliding(dilated=False, pooling=True), st.booleans(), st.booleans())
def test_average_pooling(slide: tuple[tuple[int, int], dict[str, Any]], ceil: bool, padded: bool) -> None:
    image, attributes = slide
    agree("AveragePool", [noise(1, 2, *image)], ceil_mode=int(ceil), count_include_pad=int(padded), **attributes)


def test_a_convolution_over_one_axis_and_over_three() -> None:
    agree("Conv", [noise(1, 2, 9), noise(3, 2, 3)], strides=[2], pads=[1, 0])
    agree("Conv", [noise(1, 2, 4, 5, 6), noise(3, 2, 2, 2, 3)], dilations=[1, 2, 1])


def test_integers() -> None:
    draw = np.random.default_rng(0)
    x, weight = draw.integers(0, 256, (1, 2, 6, 6)).astype(np.uint8), draw.integers(0, 256, (3, 2, 3, 3)).astype(np.uint8)
    agree("ConvInteger", [x, weight, np.asarray(7, np.uint8), np.asarray(200, np.uint8)], pads=[1, 1, 1, 1])
    agree("MaxPool", [draw.integers(-128, 128, (1, 2, 6, 6)).astype(np.int8)], kernel_shape=[2, 2], pads=[1, 1, 0, 0])


def test_global_pooling() -> None:
    agree("GlobalAveragePool", [noise(2, 3, 5, 4)])
    agree("GlobalMaxPool", [noise(2, 3, 5, 4)])


def test_a_sum_by_hand() -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    (y,) = by_formula("Conv", [x, np.array([[[[1, 10], [100, 1000]]]], np.float32), np.array([0.5], np.float32)])
    assert y.tolist() == [[[[0 + 10 + 300 + 4000 + 0.5, 1 + 20 + 400 + 5000 + 0.5], [3 + 40 + 600 + 7000 + 0.5, 4 + 50 + 700 + 8000 + 0.5]]]]


@pytest.mark.parametrize(
    ("image", "kernel", "attributes", "places"),
    [
        ((28, 28), (3, 3), {}, (26, 26)),
        ((26, 26), (2, 2), {"strides": (2, 2)}, (13, 13)),
        ((11, 11), (2, 2), {"strides": (2, 2)}, (5, 5)),
        ((11, 11), (2, 2), {"strides": (2, 2), "ceil_mode": 1}, (6, 6)),
        ((32, 32), (3, 3), {"pads": (1, 1, 1, 1)}, (32, 32)),
        ((32, 32), (3, 3), {"pads": (1, 1, 1, 1), "strides": (2, 2)}, (16, 16)),
        ((9, 9), (3, 3), {"dilations": (2, 2)}, (5, 5)),
        ((7, 8), (3, 3), {"auto_pad": "SAME_UPPER", "strides": (2, 2)}, (4, 4)),
    ],
)
def test_how_many_places_a_window_has(image: tuple[int, int], kernel: tuple[int, int], attributes: dict[str, Any], places: tuple[int, int]) -> None:
    assert window(image, kernel, attributes).places == places


def test_same_padding_is_uneven_above_or_below() -> None:
    upper, lower = (window((8, 8), (3, 3), {"auto_pad": f"SAME_{end}", "strides": (2, 2)}) for end in ("UPPER", "LOWER"))
    assert (upper.heads, upper.tails) == ((0, 0), (1, 1))
    assert (lower.heads, lower.tails) == ((1, 1), (0, 0))


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="doesn't fit"):
        window((2, 2), (3, 3), {})


def test_what_a_window_covers() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    slide: Window = window((4, 4), (2, 2), {"dilations": (2, 2), "strides": (2, 2), "pads": (1, 1, 1, 1)})
    assert slide.places == (2, 2)
    assert windows(x, slide, -1)[0, 0].tolist() == [[[[-1, -1], [-1, 5]], [[-1, -1], [5, 7]]], [[[-1, 5], [-1, 13]], [[5, 7], [13, 15]]]]

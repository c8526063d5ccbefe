"""Colours of numbers, and pictures of filters and of what a decision rested on."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from edgecnn.report.explain.pictures import colors, filter_picture, in_color, map_uri, overlay, palette, photo, strongest


def lightness(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(float) @ np.array([0.299, 0.587, 0.114])


def test_both_sides_of_zero_grow_lighter_and_none_is_the_other() -> None:
    ramp = palette()[colors(np.linspace(-1, 1, 21)[None], 1.0)][0]
    middle = lightness(ramp)
    assert middle.argmin() == 10
    assert (np.diff(middle[10:]) > 0).all()
    assert (np.diff(middle[:11]) < 0).all()
    assert (ramp[:10, 2] > ramp[:10, 0]).all()  # blue
    assert (ramp[11:, 0] > ramp[11:, 2]).all()  # orange


def test_a_map_s_picture_has_its_numbers_as_colours() -> None:
    values = np.array([[0.0, 2.0, -9.0], [np.nan, 1.0, np.inf]])
    data = map_uri(values, 2.0)
    read = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))
    assert read.shape == (2, 3, 3)
    np.testing.assert_array_equal(read, palette()[colors(values, 2.0)])
    assert read[1, 0].tolist() == [128, 128, 128]
    assert read[0, 1].tolist() == read[1, 2].tolist() == palette()[-2].tolist()
    assert read[0, 2].tolist() == palette()[0].tolist()


def test_the_strongest_number_is_no_outlier_and_never_zero() -> None:
    values = np.ones(10_000)
    values[7] = 1e9
    assert strongest(values) == 1
    assert strongest(np.array([0.0, 0.0, -3.0, np.nan, np.inf])) > 2.9
    assert strongest(np.zeros(4)) == strongest(np.array([np.nan])) == 1


def test_a_photo_is_shown_in_the_colours_it_had() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255
    np.testing.assert_array_equal(in_color(pixels[:, :, ::-1], "BGR"), pixels)
    np.testing.assert_array_equal(photo(np.moveaxis(pixels / 255.0 - 0.5, -1, 0), "RGB"), pixels)
    assert photo(np.full((1, 2, 2), 7.0), "L").shape == (2, 2)


def test_a_filter_over_colours_is_in_colour_and_grey_where_it_is_zero() -> None:
    weight = np.zeros((3, 1, 2))
    weight[0, 0, 0] = 2.0
    weight[2, 0, 1] = -2.0
    assert filter_picture(weight, "RGB").tolist() == [[[255, 128, 128], [128, 128, 0]]]
    assert filter_picture(weight, "BGR").tolist() == [[[128, 128, 255], [0, 128, 128]]]
    np.testing.assert_array_equal(filter_picture(weight[:1], "L"), palette()[colors(weight[0], 2.0)])


def test_heat_tints_a_grey_picture() -> None:
    grey = np.full((1, 3), 100, np.uint8)
    ((middle, hot, cold),) = overlay(grey, np.array([[0.0, 1.0, -1.0]]), 1.0).astype(int)
    assert len(set(middle.tolist())) == 1
    assert hot[0] > hot[2] + 100
    assert cold[2] > cold[0] + 100

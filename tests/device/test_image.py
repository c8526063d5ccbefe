"""From any picture to the network's input, exactly as the spec says."""

from __future__ import annotations

import io
import math
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecnn.artifact.spec import INTERPOLATIONS, Preprocess
from edgecnn.device.image import MAX_PIXELS, normalization_table, normalize, open_image, ordered, steps, to_input, to_uint8
from edgecnn.errors import ImageRejected, InputMissing
from tests.fixtures.artifacts import encode

PRE = Preprocess(size=(6, 8))
GREY = Preprocess(size=(6, 8), channels="L", image_mean=(0.0,), image_std=(1.0,))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def as_is(height: int, width: int, **keywords: Any) -> Preprocess:
    """No resizing: the pixels come through."""
    return Preprocess(size=(height, width), **keywords)


# Where an image may come from


def test_a_path_bytes_pixels_and_a_pillow_image_give_the_same_input(tmp_path: Path) -> None:
    pixels = noise(9, 7, 3)
    path = tmp_path / "a.png"
    path.write_bytes(encode(pixels))
    wanted = to_uint8(pixels, PRE)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels)):
        np.testing.assert_array_equal(to_uint8(source, PRE), wanted)


def test_a_pillow_image_is_turned_and_limited_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(8, 6, 3)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(to_uint8(opened, PRE), to_uint8(tmp_path / "turned.png", PRE))
    monkeypatch.setattr("edgecnn.device.image.MAX_PIXELS", 47)
    with pytest.raises(ImageRejected, match="shrink it first"):
        to_uint8(Image.fromarray(noise(8, 6, 3)), PRE)


def test_postscript_is_no_image_because_another_program_would_run_it() -> None:
    with pytest.raises(ImageRejected, match="no image that can be read"):
        to_uint8(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", PRE)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(2, 64))
def test_shortest_edge_and_crop_follow_torchvision(height: int, width: int, side: int) -> None:
    """torchvision.transforms.functional: `_compute_resized_output_size` and `center_crop`, written out."""
    short, long = min(height, width), max(height, width)
    longer = int(side * long / short)
    covering = (side, longer) if height <= width else (longer, side)
    pre = Preprocess(size=(side, side), resize_mode="shortest-edge", interpolation="nearest")
    pixels = gradient(height, width)
    whole = np.asarray(Image.fromarray(pixels).resize(covering[::-1], Image.Resampling.NEAREST))
    top, left = round((covering[0] - side) / 2.0), round((covering[1] - side) / 2.0)
    np.testing.assert_array_equal(to_uint8(pixels, pre), whole[top : top + side, left : left + side])


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3)])
def test_pixels_may_be_grey_or_coloured(shape: tuple[int, ...]) -> None:
    assert to_uint8(noise(*shape), PRE).shape == (6, 8, 3)


def test_strided_pixels_count_by_value() -> None:
    pixels = noise(18, 14, 3)
    np.testing.assert_array_equal(to_uint8(pixels[::2, ::-2], PRE), to_uint8(pixels[::2, ::-2].copy(), PRE))


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((4,), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_pixels_are_refused_with_what_was_found(pixels: np.ndarray) -> None:
    with pytest.raises(ImageRejected, match=rf"{pixels.dtype} of shape \[.*uint8 pixels"):
        to_uint8(pixels, PRE)


# Modes and files


def jpeg_with_orientation(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, "JPEG", quality=100, subsampling=0, exif=exif.tobytes())


# EXIF 2.32, tag 0x0112: what must be done to the stored pixels to see the picture upright
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_rotation_is_applied(orientation: int) -> None:
    blocks = np.kron(noise(2, 3, 1), np.ones((16, 16, 3), np.uint8))  # flat blocks survive JPEG
    wanted = UPRIGHT[orientation](blocks)
    found = to_uint8(jpeg_with_orientation(blocks, orientation), as_is(*wanted.shape[:2]))
    assert np.abs(found.astype(int) - wanted).max() <= 3


def test_broken_exif_is_no_reason_to_refuse_a_good_image() -> None:
    data = encode(noise(16, 16, 3), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert to_uint8(data, PRE).shape == (6, 8, 3)


def test_grey_becomes_three_equal_channels() -> None:
    grey = noise(5, 4)
    np.testing.assert_array_equal(to_uint8(encode(grey), as_is(5, 4)), np.repeat(grey[..., None], 3, axis=2))


def test_colour_becomes_grey_by_its_luma() -> None:
    pixels = noise(5, 4, 3)
    pre = as_is(5, 4, channels="L", image_mean=(0.0,), image_std=(1.0,))
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(to_uint8(encode(pixels), pre)[..., 0] - luma).max() <= 1


def test_bgr_is_rgb_backwards() -> None:
    pixels = noise(5, 4, 3)
    np.testing.assert_array_equal(to_uint8(pixels, as_is(5, 4, channels="BGR")), pixels[..., ::-1])


def test_a_palette_is_looked_up() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    data = encode(Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=4))
    assert Image.open(io.BytesIO(data)).mode == "P"
    np.testing.assert_array_equal(to_uint8(data, as_is(2, 2)), pixels)


def test_a_palette_with_a_transparent_entry_lies_over_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 100, 50, 255, 255, 255])
    image.putdata([0, 1])
    np.testing.assert_array_equal(to_uint8(encode(image, transparency=0), as_is(1, 2)), [[[0, 0, 0], [255, 255, 255]]])


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 255))
def test_transparency_lies_over_black(color: tuple[int, int, int], alpha: int) -> None:
    pixels = np.array([[[*color, alpha]]], np.uint8)
    found = to_uint8(encode(pixels), as_is(1, 1))[0, 0]
    assert np.abs(found - np.array(color) * alpha / 255).max() <= 1


def test_grey_with_alpha_lies_over_black() -> None:
    image = Image.merge("LA", [Image.new("L", (1, 1), 200), Image.new("L", (1, 1), 0)])
    np.testing.assert_array_equal(to_uint8(encode(image), as_is(1, 1)), [[[0, 0, 0]]])


@pytest.mark.parametrize("bits", [16, 32])
def test_grey_of_16_bits_is_scaled_to_8(bits: int) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = Image.fromarray(values) if bits == 16 else Image.fromarray(values.astype(np.int32))
    found = to_uint8(encode(image, "TIFF" if bits == 32 else "PNG"), as_is(1, 4))
    np.testing.assert_array_equal(found[0, :, 0], [0, 1, 128, 255])
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_a_dark_image_of_16_bits_stays_dark() -> None:
    data = encode(np.full((2, 2), 255, np.uint16))
    np.testing.assert_array_equal(to_uint8(data, as_is(2, 2)), np.ones((2, 2, 3)))


def test_colour_of_16_bits_keeps_its_high_bytes() -> None:
    # Pillow can't write it: a PNG by hand, one pixel, bit depth 16, colour type 2
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0100)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    assert np.abs(to_uint8(data, as_is(1, 1))[0, 0].astype(int) - [255, 128, 1]).max() <= 1


def test_floats_are_taken_as_levels() -> None:
    image = Image.fromarray(np.array([[-5.0, 127.6, 300.0, math.nan]], np.float32))
    np.testing.assert_array_equal(to_uint8(encode(image, "TIFF"), as_is(1, 4))[0, :, 0], [0, 128, 255, 0])


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    np.testing.assert_array_equal(to_uint8(encode(image), as_is(2, 2))[..., 0], [[0, 255], [255, 0]])


@pytest.mark.parametrize(("cmyk", "rgb"), [((0, 0, 0, 0), 255), ((255, 255, 255, 0), 0), ((0, 0, 0, 255), 0)])
def test_cmyk_is_converted(cmyk: tuple[int, ...], rgb: int) -> None:
    data = encode(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(to_uint8(data, as_is(16, 16)).astype(int) - rgb).max() <= 2


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(to_uint8(data, as_is(4, 4))[0, 0], [255, 0, 0])


@given(
    st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "RGBa", "RGBX"]),
    st.sampled_from(["RGB", "BGR", "L"]),
)
def test_every_mode_of_pillow_becomes_an_input(mode: str, channels: Any) -> None:
    depth = 1 if channels == "L" else 3
    pre = Preprocess(size=(3, 5), channels=channels, image_mean=(0.0,) * depth, image_std=(1.0,) * depth)
    found = to_uint8(Image.new(mode, (4, 4)), pre)
    assert (found.shape, found.dtype) == ((3, 5, depth), np.uint8)


# What is refused


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM" + bytes(60)])
def test_what_is_no_image_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ImageRejected, match=r"^a\.png .*\.$"):
        to_uint8(data, PRE, name="a.png")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_refused(format: str, share: float, tmp_path: Path) -> None:
    data = encode(noise(64, 64, 3), format)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageRejected, match=r"cut\.img"):
        to_uint8(path, PRE)


def test_missing_folders_and_forbidden_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"nowhere\.png doesn't exist"):
        open_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageRejected, match="is a folder"):
        open_image(tmp_path)


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + ihdr
        + struct.pack(">I", zlib.crc32(ihdr))
        + bytes(4)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (64_000_001, 1), (2**31 - 1, 2**31 - 1)])
def test_more_than_64_megapixels_are_refused_by_the_header_alone(width: int, height: int) -> None:
    # there are no pixels to decode: only a judgement by the header can name their number
    with pytest.raises(ImageRejected, match="64 megapixels"):
        to_uint8(png_header(width, height), PRE)


def test_several_threads_hear_no_warning_of_pillow_and_leave_the_caller_s_filters() -> None:
    huge, before = png_header(9500, 9500), list(warnings.filters)  # Pillow warns of it, and warnings are errors here

    def refused(_: int) -> str:
        with pytest.raises(ImageRejected) as caught:
            open_image(huge)
        return str(caught.value)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            said = set(pool.map(refused, range(2000)))
    finally:
        sys.setswitchinterval(interval)
    assert said == {"the image has 9500 x 9500 pixels, at most 64 megapixels are read; shrink it first."}
    assert list(warnings.filters) == before


def test_64_megapixels_are_read() -> None:
    assert MAX_PIXELS == 8000 * 8000
    assert to_uint8(encode(Image.new("1", (8000, 8000), 1)), PRE).min() == 255


def test_a_huge_array_is_refused_too() -> None:
    with pytest.raises(ImageRejected, match="64 megapixels"):
        to_uint8(np.broadcast_to(np.uint8(0), (8001, 8000)), PRE)


def test_a_thread_of_an_image_is_refused_before_it_grows_to_gigabytes() -> None:
    pre = Preprocess(size=(224, 224), resize_mode="shortest-edge")
    with pytest.raises(ImageRejected, match="30000 x 1 pixels would have to grow to 6720000 x 224"):
        to_uint8(noise(1, 30000, 3), pre)
    assert to_uint8(noise(1, 1000, 3), pre).shape == (224, 224, 3)


GOOD = [encode(noise(24, 24, 3), format) for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")] + [
    encode(Image.fromarray(noise(24, 24, 3)).quantize(16), "PNG"),
    jpeg_with_orientation(noise(24, 24, 3), 6),
]


@settings(max_examples=300)
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8), st.floats(0, 1))
def test_a_damaged_file_is_read_or_refused_never_a_crash(data: bytes, changes: list[tuple[float, int]], keep: float) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    source = bytes(damaged[: max(1, int(len(damaged) * keep))])
    try:
        found = to_uint8(source, PRE)
    except ImageRejected:
        return
    assert found.shape == (6, 8, 3)


# Geometry


def sizes() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(sizes(), sizes(), st.sampled_from(["stretch", "shortest-edge", "letterbox"]), st.sampled_from(INTERPOLATIONS), st.booleans())
def test_every_way_to_resize_ends_at_the_size_asked_for(
    image: tuple[int, int], size: tuple[int, int], mode: Any, interpolation: Any, antialias: bool
) -> None:
    antialias = antialias or interpolation not in ("nearest", "bilinear", "bicubic")
    pre = Preprocess(size=size, resize_mode=mode, interpolation=interpolation, antialias=antialias)
    assert to_uint8(noise(*image, 3), pre).shape == (*size, 3)


@given(sizes(), sizes(), st.sampled_from(["stretch", "shortest-edge"]), st.sampled_from(INTERPOLATIONS), st.booleans(), st.integers(0, 255))
def test_a_flat_image_stays_flat(image: tuple[int, int], size: tuple[int, int], mode: Any, interpolation: Any, antialias: bool, level: int) -> None:
    antialias = antialias or interpolation not in ("nearest", "bilinear", "bicubic")
    pre = Preprocess(size=size, resize_mode=mode, interpolation=interpolation, antialias=antialias)
    assert np.unique(to_uint8(np.full((*image, 3), level, np.uint8), pre)).tolist() == [level]


@given(sizes())
def test_letterbox_shows_all_of_the_image_centred_in_black(image: tuple[int, int]) -> None:
    size = (20, 30)
    found = to_uint8(np.full((*image, 3), 255, np.uint8), Preprocess(size=size, resize_mode="letterbox"))[..., 0] > 0
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert found[np.ix_(rows, columns)].all()
    scale = min(Fraction(20, image[0]), Fraction(30, image[1]))
    assert abs(height - max(1, image[0] * scale)) <= 0.5
    assert abs(width - max(1, image[1] * scale)) <= 0.5
    for first, length, whole in ((rows[0], height, 20), (columns[0], width, 30)):
        assert first == (whole - length) // 2


def gradient(height: int, width: int) -> np.ndarray:
    """Red tells the row, green the column."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, height)[:, None]
    pixels[..., 1] = np.linspace(0, 255, width)[None, :]
    return pixels


def test_shortest_edge_covers_and_keeps_the_middle() -> None:
    found = to_uint8(gradient(100, 200), Preprocess(size=(50, 50), resize_mode="shortest-edge")).astype(int)
    assert abs(found[0, 0, 0] - 0) <= 4  # the whole height
    assert abs(found[-1, 0, 0] - 255) <= 4
    assert abs(found[0, 0, 1] - 64) <= 4  # the middle half of the width
    assert abs(found[0, -1, 1] - 191) <= 4


def test_shortest_edge_then_crop_is_the_middle_of_the_covering_image() -> None:
    pre = Preprocess(size=(256, 256), resize_mode="shortest-edge", crop_size=(224, 224))
    image = gradient(300, 400)
    whole = np.asarray(Image.fromarray(image).resize((341, 256), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(to_uint8(image, pre), whole[16:240, 58:282])


def test_stretch_then_crop_keeps_the_middle() -> None:
    image = noise(10, 12, 3)
    np.testing.assert_array_equal(to_uint8(image, as_is(10, 12, crop_size=(4, 6))), image[3:7, 3:9])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_resizing_is_pillow_s(interpolation: Any) -> None:
    image = noise(31, 17, 3)
    wanted = Image.fromarray(image).resize((8, 6), getattr(Image.Resampling, interpolation.upper()))
    np.testing.assert_array_equal(to_uint8(image, replace(PRE, interpolation=interpolation)), np.asarray(wanted))


def test_without_antialias_bilinear_samples_at_half_pixel_centres() -> None:
    # shrinking 8 -> 2 by bilinear without a wider filter: centres at 1.5 and 5.5, so the mean of pixels 1 and 2, and of 5 and 6
    row = np.array([[10, 20, 40, 80, 100, 120, 160, 200]], np.uint8)
    image = np.repeat(row, 4, axis=0)
    pre = Preprocess(size=(4, 2), antialias=False)
    np.testing.assert_allclose(to_uint8(image, pre)[1, :, 0], [30, 140], atol=1)
    assert abs(int(to_uint8(image, replace(pre, antialias=True))[1, 0, 0]) - 30) > 5


def test_without_antialias_nearest_takes_the_pixel_at_the_centre() -> None:
    row = np.arange(9, dtype=np.uint8)[None] * 20
    found = to_uint8(np.repeat(row, 3, axis=0), Preprocess(size=(3, 3), interpolation="nearest", antialias=False))
    np.testing.assert_array_equal(found[0, :, 0], [20, 80, 140])


# Normalization


def specs() -> st.SearchStrategy[Preprocess]:
    means = st.tuples(*[st.floats(-10, 300)] * 3)
    stds = st.tuples(*[st.floats(1e-3, 300)] * 3)
    return st.builds(Preprocess, size=st.just((2, 2)), rescale_factor=st.floats(1e-4, 2), image_mean=means, image_std=stds)


@given(specs())
def test_the_table_is_the_formula_in_float64_rounded_once(pre: Preprocess) -> None:
    table = normalization_table(pre)
    assert (table.shape, table.dtype) == ((3, 256), np.float32)
    for channel in range(3):
        for pixel in (0, 1, 127, 128, 254, 255):
            exact = (pixel * pre.rescale_factor - pre.image_mean[channel]) / pre.image_std[channel]
            assert table[channel, pixel] == np.float32(exact)


@given(specs(), st.integers(0, 2**32 - 1))
def test_normalize_is_the_formula_pixel_by_pixel_with_channels_first(pre: Preprocess, seed: int) -> None:
    pixels = noise(2, 2, 3, seed=seed)
    found = normalize(pixels, pre)
    wanted = (pixels * pre.rescale_factor - np.array(pre.image_mean)) / np.array(pre.image_std)
    assert (found.shape, found.dtype) == ((3, 2, 2), np.float32)
    np.testing.assert_array_equal(found, wanted.astype(np.float32).transpose(2, 0, 1))


def test_a_batch_is_its_images_one_by_one_and_may_be_written_in_place() -> None:
    pixels = noise(5, 6, 8, 3)
    wanted = np.stack([normalize(image, PRE) for image in pixels])
    np.testing.assert_array_equal(normalize(pixels, PRE), wanted)
    out = np.full((5, 3, 6, 8), np.nan, np.float32)
    assert normalize(pixels, PRE, out=out) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("pixels", [noise(6, 8, 1), noise(6, 8, 3).astype(np.float32), noise(6, 8)])
def test_what_is_no_pixels_is_not_normalized(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="3 channels last"):
        normalize(pixels, PRE)


@pytest.mark.parametrize("pre", [PRE, replace(PRE, channels="BGR"), GREY])
def test_to_input_is_decoding_then_normalizing(pre: Preprocess) -> None:
    data = encode(noise(20, 30, 3))
    found = to_input(data, pre)
    assert (found.shape, found.dtype) == ((1, pre.depth, 6, 8), np.float32)
    np.testing.assert_array_equal(found[0], normalize(to_uint8(data, pre), pre))


# Step by step


@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_the_steps_are_those_that_make_the_input(channels: str) -> None:
    depth = (0.5,) if channels == "L" else (0.5, 0.5, 0.5)
    pre = Preprocess(size=(12, 10), crop_size=(8, 6), resize_mode="shortest-edge", channels=channels, image_mean=depth, image_std=depth)  # type: ignore[arg-type]
    made = list(steps(noise(24, 30, 3), pre))
    assert [(step.name, step.image.size) for step in made] == [("decode", (30, 24)), ("convert", (30, 24)), ("resize", (15, 12)), ("crop", (6, 8))]
    assert [step.image.mode for step in made] == ["RGB", *["L" if channels == "L" else "RGB"] * 3]
    np.testing.assert_array_equal(ordered(made[-1].image, pre), to_uint8(noise(24, 30, 3), pre))


def test_a_step_that_can_not_be_done_names_the_image() -> None:
    with pytest.raises(ImageRejected, match=r"long\.png can't be converted"):
        list(steps(noise(1, 8000, 3), Preprocess(size=(8000, 8000), resize_mode="shortest-edge"), name="long.png"))

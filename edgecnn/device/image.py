"""From a file, bytes or pixels to the network's input: the only preprocessing in the project.

`to_uint8` decodes, converts, resizes and crops; `normalize` turns its result into float32, through a table of all 256 values a channel:
the exact formula, correctly rounded, the same bits on every CPU. Training caches the first part and augments between the two.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgecnn.artifact.spec import Preprocess
from edgecnn.errors import ImageRejected, InputMissing

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded. Pillow knows more, among them EPS, which it hands to another program."""

Source = Path | str | bytes | NDArray[np.uint8] | Image.Image

_FILTERS = {name: getattr(Image.Resampling, name.upper()) for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")}


class _Unheard:
    """Pillow's warnings are ignored while any thread is inside: those of damaged files, and of sizes that are judged here.

    `warnings.catch_warnings` alone restores what another thread needs, where two overlap.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_PILLOW_UNHEARD = _Unheard()


def open_image(source: Source, *, name: str | None = None) -> Image.Image:
    """Decode to a Pillow image, EXIF rotation applied.

    source: a path, encoded bytes, uint8 pixels (height, width) or (height, width, 3) in RGB, or a Pillow image.
    Raises InputMissing, or ImageRejected for what is no picture, is cut short, or has over 64 megapixels (judged before decoding).
    """
    if isinstance(source, np.ndarray):
        return _from_pixels(source, name or "the array")
    shown = name or (str(source) if isinstance(source, (str, Path)) else "the image")
    try:
        with _PILLOW_UNHEARD, _opened(source, shown) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRejected(f"{shown} has {image.width} x {image.height} pixels, at most 64 megapixels are read; shrink it first.")
            image.load()
            if image is source:
                return ImageOps.exif_transpose(image) or image
            ImageOps.exif_transpose(image, in_place=True)  # without a copy, for it was opened here
            return image
    except FileNotFoundError:
        raise InputMissing(f"{shown} doesn't exist.") from None
    except IsADirectoryError:
        raise ImageRejected(f"{shown} is a folder, an image was wanted.") from None
    except UnidentifiedImageError:
        raise ImageRejected(f"{shown} is no image that can be read.") from None
    except Image.DecompressionBombError:
        raise ImageRejected(f"{shown} has more pixels than the 64 megapixels that are read; shrink it first.") from None
    except PermissionError:
        raise ImageRejected(f"{shown} may not be read; change its permissions.") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, ArithmeticError, MemoryError, RuntimeError) as error:
        # Pillow's decoders raise all of these on damaged files
        raise ImageRejected(f"{shown} can't be decoded ({error}).") from None


def _opened(source: Path | str | bytes | Image.Image, shown: str) -> AbstractContextManager[Image.Image]:
    if isinstance(source, Image.Image):
        return nullcontext(source)  # not ours to close
    if not isinstance(source, bytes) and not stat.S_ISREG(kind := os.stat(source).st_mode) and not stat.S_ISDIR(kind):
        # a pipe would be waited for
        raise ImageRejected(f"{shown} is no regular file, an image was wanted; where it comes through a pipe, give its bytes.")
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def _from_pixels(pixels: NDArray[Any], shown: str) -> Image.Image:
    good = pixels.dtype == np.uint8 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3))) and pixels.size > 0
    if not good:
        raise ImageRejected(
            f"{shown} is {pixels.dtype} of shape {list(pixels.shape)}; uint8 pixels (height, width) or (height, width, 3) were wanted."
        )
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise ImageRejected(f"{shown} has {pixels.shape[1]} x {pixels.shape[0]} pixels, at most 64 megapixels are read; shrink it first.")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels))


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """To "RGB" or "L". 16-bit greys are scaled by 1/257 (65535 -> 255), floats taken as 0 to 255; transparency is laid over black."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):  # Pillow 10 has "I" where later ones have "I;16"
        values = np.asarray(image, dtype=np.float64)
        if image.mode != "F":
            values = values / 257.0
        image = Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _resize(image: Image.Image, size: tuple[int, int], pre: Preprocess) -> Image.Image:
    """`image` at size = (height, width)."""
    height, width = size
    if image.size == (width, height):
        return image
    method = _FILTERS[pre.interpolation]
    if pre.antialias:
        return image.resize((width, height), method)
    # Pillow's resize always antialiases; its affine transform samples at the same half-pixel centres and doesn't
    matrix = (image.width / width, 0, 0, 0, image.height / height, 0)
    return image.transform((width, height), Image.Transform.AFFINE, matrix, method)


def _fit(image: Image.Image, pre: Preprocess) -> Image.Image:
    height, width = pre.size
    if pre.resize_mode == "stretch":
        return _resize(image, pre.size, pre)
    ratios = (height / image.height, width / image.width)
    if pre.resize_mode == "shortest-edge":
        # the longer side is cut off, not rounded, as torchvision's Resize does
        by_height = ratios[0] >= ratios[1]
        covering = (height, height * image.width // image.height) if by_height else (width * image.height // image.width, width)
        if covering[0] * covering[1] > 2 * MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels would have to grow to {covering[1]} x {covering[0]} first; crop it")
        return _resize(image, covering, pre)
    scale = min(ratios)
    inner = _resize(image, (max(1, min(height, round(image.height * scale))), max(1, min(width, round(image.width * scale)))), pre)
    canvas = Image.new(inner.mode, (width, height))
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


class Step(NamedTuple):
    """A step on an image's way to the network's input, and what it made: "decode", "convert" (to RGB or grey), "resize" or "crop"."""

    name: str
    image: Image.Image


def steps(source: Source, pre: Preprocess, *, name: str | None = None) -> Iterator[Step]:
    """What `to_uint8` does, one Step after the other, also where one had nothing to change. Raises InputMissing or ImageRejected, naming `name`."""
    image = open_image(source, name=name)
    yield Step("decode", image)
    yield from _later_steps(image, pre, name)


def _later_steps(image: Image.Image, pre: Preprocess, name: str | None) -> Iterator[Step]:
    try:
        image = in_mode(image, "L" if pre.channels == "L" else "RGB")
        yield Step("convert", image)
        image = _fit(image, pre)
        yield Step("resize", image)
    except (OSError, ValueError, MemoryError) as error:
        raise ImageRejected(f"{name or 'the image'} can't be converted ({error}).") from None
    height, width = pre.input_size
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)  # torchvision's CenterCrop, halves to even
    yield Step("crop", image if image.size == (width, height) else image.crop((left, top, left + width, top + height)))


def ordered(image: Image.Image, pre: Preprocess) -> NDArray[np.uint8]:
    """The last Step's image as uint8 (height, width, channels), channels in `pre.channels` order."""
    pixels = np.asarray(image)
    if pre.channels == "L":
        return pixels[:, :, np.newaxis]
    return pixels[:, :, ::-1] if pre.channels == "BGR" else pixels


def to_uint8(source: Source, pre: Preprocess, *, name: str | None = None) -> NDArray[np.uint8]:
    """Decoded, converted, resized and cropped pixels: uint8 (height, width, channels), channels in `pre.channels` order.

    Raises InputMissing or ImageRejected, naming `name`.
    """
    return fitted(open_image(source, name=name), pre, name=name)


def fitted(image: Image.Image, pre: Preprocess, *, name: str | None = None) -> NDArray[np.uint8]:
    """`to_uint8` of what `open_image` decoded."""
    for step in _later_steps(image, pre, name):
        image = step.image
    return ordered(image, pre)


@lru_cache(maxsize=8)
def normalization_table(pre: Preprocess) -> NDArray[np.float32]:
    """float32 (channels, 256): what each pixel value becomes, computed in float64 and rounded once."""
    pixels = np.arange(256, dtype=np.float64) * pre.rescale_factor
    mean, std = np.array(pre.image_mean)[:, None], np.array(pre.image_std)[:, None]
    table: NDArray[np.float32] = ((pixels[None, :] - mean) / std).astype(np.float32)
    table.setflags(write=False)
    return table


def normalize(pixels: NDArray[np.uint8], pre: Preprocess, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """(height, width, channels) or (batch, height, width, channels) uint8 -> `pre.dtype` with channels before height: the network's input.

    That is float32, or the same uint8 pixels where the graph normalizes. out: where to write, of the result's shape and dtype.
    Raises ValueError for another dtype or number of channels.
    """
    if pixels.dtype != np.uint8 or pixels.shape[-1] != pre.depth:
        raise ValueError(f"uint8 pixels with {pre.depth} channels last were wanted, {pixels.dtype} of shape {pixels.shape} were found")
    if out is None:
        out = np.empty((*pixels.shape[:-3], pre.depth, *pixels.shape[-3:-1]), dtype=pre.dtype)
    if pre.normalized_by == "graph":
        np.copyto(out, np.moveaxis(pixels, -1, -3))
        return out
    table = normalization_table(pre)
    for channel in range(pre.depth):
        np.take(table[channel], pixels[..., channel], out=out[..., channel, :, :], mode="clip")
    return out


def to_input(source: Source, pre: Preprocess, *, name: str | None = None) -> NDArray[Any]:
    """One image as `pre.dtype` (1, channels, height, width). Raises what `to_uint8` raises."""
    return normalize(to_uint8(source, pre, name=name), pre)[np.newaxis]

"""Preprocessing as pictures: the image after each step, and what the step did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecnn.artifact.spec import Preprocess
from edgecnn.device.image import Step, in_mode
from edgecnn.report.explain import pictures
from edgecnn.report.explain.numbers import Json
from edgecnn.report.explain.subject import Picture
from edgecnn.report.explain.words import say
from edgecnn.report.formulas import Array
from edgecnn.report.page import png_uri

_WIDEST = 360
"""Pixels of a picture's longer side; a larger one is shrunk for the page."""
_COLORS = {"RGB": "red, green, blue", "BGR": "blue, green, red", "L": "grey"}


def preparation(picture: Picture, pre: Preprocess, x: Array) -> list[Json]:
    """A row for each step that changes something: title, text, the picture after it, and then the steps that leave it as it is.

    x: what the network gets, (1, channels, height, width).
    """
    rows: list[Json] = []
    before: Step | None = None
    for number, step in enumerate(picture.steps, start=1):
        title, text = _WORDS[step.name](step, before, pre)
        changed = before is None or before.image.size != step.image.size or before.image.mode != step.image.mode
        if changed:
            rows.append({"number": number, "title": title, "then": [], **_shown(step.image, text)})
        else:
            rows[-1]["then"].append({"number": number, "title": title, "text": text})
        before = step
    number = len(picture.steps) + 1
    if picture.pixels is not None and pre.channels == "BGR":
        text = f"Its channels are put in the order {_COLORS['BGR']}, which this network was trained with."
        rows[-1]["then"].append({"number": number, "title": "Order", "text": text})
        number += 1
    return [*rows, {"number": number, "then": [], **_last(picture, pre, x[0]), **_picture(pictures.photo(x[0], pre.channels))}]


def _last(picture: Picture, pre: Preprocess, x: Array) -> Json:
    numbers = f"from {say(float(x.min()))} to {say(float(x.max()))}"
    scale = "The lowest number is black, the highest white."
    if picture.pixels is None:
        return {"title": "Input", "text": f"Given ready, {numbers}: nothing was done to it. {scale}"}
    if pre.normalized_by == "graph":
        return {"title": "Input", "text": "The pixels go in as they are, 0 to 255: the network's own first layers normalize them."}
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (pre.image_mean, pre.image_std))
    formula = f"({_rescaled(pre.rescale_factor)} − mean) / std, with mean {mean} and std {std} ({_COLORS[pre.channels]})"
    return {"title": "Normalize", "text": f"{formula}: numbers around 0, here {numbers}, with which training is easier. {scale}"}


def _rescaled(factor: float) -> str:
    if factor == 1:
        return "pixel"
    return f"pixel / {1 / factor:.0f}" if round(1 / factor) == 1 / factor else f"pixel · {say(factor, 4)}"


def _shown(image: Image.Image, text: str) -> Json:
    small = in_mode(image, "L" if image.mode == "L" else "RGB").copy()
    small.thumbnail((_WIDEST, _WIDEST))
    return {"text": text if small.size == image.size else f"{text} Shrunk for this page.", **_picture(np.asarray(small))}


def _picture(pixels: NDArray[np.uint8]) -> Json:
    return {"uri": png_uri(pixels), "width": pixels.shape[1], "height": pixels.shape[0]}


def _size(step: Step) -> str:
    return f"{step.image.width}\u00a0×\u00a0{step.image.height}"


def _decoded(step: Step, before: Step | None, pre: Preprocess) -> tuple[str, str]:
    return "Decode", f"The picture has {_size(step)} pixels (width × height), in mode {step.image.mode}."


def _converted(step: Step, before: Step | None, pre: Preprocess) -> tuple[str, str]:
    wanted = "one channel, grey" if pre.channels == "L" else "three channels, red, green and blue"
    kept = before is not None and before.image.mode == step.image.mode
    return "Channels", f"It has {wanted}, already." if kept else f"Converted to {wanted}."


def _resized(step: Step, before: Step | None, pre: Preprocess) -> tuple[str, str]:
    if before is not None and before.image.size == step.image.size:
        return "Resize", f"It has {_size(step)} pixels already."
    how = {
        "stretch": "whatever its shape was",
        "shortest-edge": "its shape kept, the shorter side made to fit",
        "letterbox": "its shape kept, black bars around it",
    }
    smooth = "" if pre.antialias else " without antialiasing"
    return "Resize", f"To {_size(step)}, {how[pre.resize_mode]}; {pre.interpolation} interpolation{smooth}."


def _cropped(step: Step, before: Step | None, pre: Preprocess) -> tuple[str, str]:
    if before is not None and before.image.size == step.image.size:
        return "Crop", "Nothing is left to cut off."
    return "Crop", f"The middle, {_size(step)}; the network never sees the rest."


_WORDS = {"decode": _decoded, "convert": _converted, "resize": _resized, "crop": _cropped}

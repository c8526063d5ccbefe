"""Pages: one self-contained HTML file each, from a template of this package and plain values.

A page opens from disk, asks the network for nothing (a Content-Security-Policy in it forbids that), follows the reader's light or dark, and runs
no script but those of this package, which the policy names by their sha256. What comes from an artifact is escaped wherever it stands.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import Preprocess
from edgecnn.device.image import Source, open_image, to_uint8

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """The page that the file `template` of report/templates makes of `values`; equal values give equal text.

    A template extends base.html.j2, whose head says what it may fill, and imports charts.html.j2 for plots. Every value is escaped, and a name
    that wasn't given is an error. Raises ModuleNotFoundError where Jinja2 isn't installed: a command calls `environment()` under
    `require_extra("report")` before it measures anything. Raises jinja2.UndefinedError or TemplateNotFound for a fault of the template.
    """
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """Jinja2 as pages need it: everything escaped, nothing undefined. Raises ModuleNotFoundError where it isn't installed."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from edgecnn.report import charts

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["tight"] = tight
    made.globals.update(script=_script, script_digest=_script_digest, axis=charts.axis, path=charts.path)
    return made


_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|bytes|[KMG]iB|[kMG]|dB)(?!\w))")


def tight(text: str) -> str:
    """`text` with each figure and its unit on one line."""
    return _UNIT.sub("\u00a0", text)


def png_uri(pixels: NDArray[np.uint8], scale: int = 1) -> str:
    """A picture as a data URI of a PNG, each pixel `scale` x `scale` large.

    pixels: uint8 (height, width) or (height, width, 1) grey, or (height, width, 3) red, green, blue. In a page prefer CSS's
    `image-rendering: pixelated` (class "pixels") to a large scale. Raises ValueError for another shape, dtype, no pixels, or a scale under 1.
    """
    from PIL import Image

    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or not pixels.size:
        raise ValueError(f"pixels of {pixels.dtype} {list(pixels.shape)} are no picture; uint8 (height, width), or with 1 or 3 channels, were wanted")
    if scale < 1:
        raise ValueError(f"scale is {scale}, at least 1 was wanted")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    large = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(large)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def thumbnail_uri(source: Source, *, name: str | None = None, most: int = 128) -> str:
    """A small picture of an image as a data URI, read as the network's preprocessing reads it: as it is (PNG) where it has at most `most` pixels a
    side, else shrunk to that (JPEG). Raises InputMissing or ImageRejected, naming `name`."""
    from PIL import Image

    image = open_image(source, name=name)
    scale = min(1.0, most / max(image.size))
    height, width = (max(1, round(side * scale)) for side in (image.height, image.width))
    pixels = to_uint8(image, Preprocess(size=(height, width), interpolation="lanczos"), name=name)
    if scale == 1:
        return png_uri(pixels)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _script(name: str) -> Any:
    """A script file of report/templates, as it is. It is ours: nothing in it is escaped, and no value is put into it."""
    from markupsafe import Markup

    return Markup(_text(name))


def _script_digest(name: str) -> str:
    """What a Content-Security-Policy calls the script, e.g. "sha256-AAAA..."."""
    return "sha256-" + base64.b64encode(hashlib.sha256(_text(name).encode()).digest()).decode()


@cache
def _text(name: str) -> str:
    if Path(name).name != name or not name.endswith(".js"):
        raise ValueError(f"{name!r} is no script of a page")
    return (TEMPLATES / name).read_text(encoding="utf-8")

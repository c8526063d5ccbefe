"""What all makers of a model's folder share: a folder that is whole or not there, images, samples, the card."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from edgecnn.artifact.files import write_atomic
from edgecnn.build.pipeline import Event
from edgecnn.data.collection import Collection, Item
from edgecnn.report.about import read_about
from edgecnn.report.card import card
from edgecnn.report.subject import measure, read_artifact

ROOT = Path(__file__).resolve().parent.parent.parent
WRITTEN_BY_HAND = ("recipe.toml", "about.md", "network.py")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder with what was written by hand, which takes the place of `folder` when the block ends well.

    A kill between the two renames leaves the old one beside it, under a name that the next call puts back.
    """
    stage, old = (folder.with_name(f".{folder.name}.{kind}.part") for kind in ("new", "old"))

    def tidy() -> None:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (stage, old):
            shutil.rmtree(left, ignore_errors=True)

    tidy()
    stage.mkdir()
    try:
        for name in WRITTEN_BY_HAND:
            if (folder / name).exists():
                shutil.copy2(folder / name, stage / name)
        yield stage
        folder.rename(old)
        stage.rename(folder)
    finally:
        tidy()


def write_card(stage: Path, artifact: Path, float32: Path, images: Collection, *, name: str) -> None:
    """card.md in `stage`, from the two artifacts' answers to `images`, the recipe and about.md."""
    measured = measure(artifact, images, name=name, float32=float32)
    recipe = stage / "recipe.toml"
    written = card(
        read_artifact(artifact),
        float32=read_artifact(float32),
        measured=measured,
        about=read_about(stage / "about.md"),
        recipe=(recipe.name, recipe.read_bytes()),
    )
    write_atomic(stage / "card.md", written.encode())


def write_images(collection: Collection, folder: Path, *, classed: bool) -> None:
    """The images as they are encoded (pixels become PNG), in class folders or side by side."""
    for item in collection:
        path = folder / collection.labels[item.target[0]] if classed else folder
        write_image(item, path)


def write_image(item: Item, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = item.name.rsplit("/", 1)[-1]
    if isinstance(item.source, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(item.source).save(buffer, "PNG", compress_level=9)
        path, content = folder / f"{name}.png", buffer.getvalue()
    else:
        path, content = folder / name, item.content()
    path.write_bytes(content)
    return path


def slug(label: str) -> str:
    """A label as the name of a folder: "T-shirt/top" is t-shirt-top."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def teller(kind: str) -> Callable[[Event], None]:
    """A line for each stage that ends, on standard error."""
    begun = time.monotonic()

    def tell(event: Event) -> None:
        if event.kind == "end":
            found = event.parity or (event.record.against_source if event.record else None)
            said = f", largest difference {found.max_abs:.2g}, {found.agreeing} of {found.samples} decided alike" if found else ""
            print(f"  {kind} {event.stage}: {time.monotonic() - begun:.1f} s{said}", file=sys.stderr)

    return tell

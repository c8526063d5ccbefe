"""What the formats share: which files are images, and how class names become labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgecnn.artifact.codec import suggestion
from edgecnn.errors import DataRejected

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
LABELS_FILE = "labels.txt"
MAX_LABELS_BYTES = 1_000_000


def is_image(name: str) -> bool:
    """By the extension alone; hidden files, and files in hidden folders, are none. name: a relative path with slashes."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def label_lines(data: bytes, *, where: str) -> tuple[str, ...]:
    """The labels of a labels file: one a line, empty lines ignored. Raises DataRejected."""
    try:
        labels = tuple(line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise DataRejected(f"{where} is no UTF-8 text; write one label a line.") from None
    if not labels:
        raise DataRejected(f"{where} names no label; write one a line.")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataRejected(f"{where} names {twice} twice; each label stands once.")
    return labels


def class_labels(found: Collection[str], *, given: Sequence[str] | None, listed: Sequence[str] | None, where: Path) -> tuple[str, ...]:
    """The labels in their order: those given, else those listed in the data set itself, else the class names found, sorted.

    Raises DataRejected for a class that was found but isn't among them.
    """
    labels = tuple(given or listed or sorted(found))
    for name in sorted(found):
        if name not in labels:
            wanted = "the labels given" if given else LABELS_FILE
            raise DataRejected(f"{where} has a class {name} that is not among {wanted}{suggestion(name, labels)}; rename it or correct the labels.")
    return labels

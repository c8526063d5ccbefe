"""What the formats share: which files are images, and how class names or numbers become labels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgecnn.artifact.codec import suggestion
from edgecnn.errors import DataRejected

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
LABELS_FILE = "labels.txt"
MAX_LABELS_BYTES = 1_000_000

# files by whose names a folder or archive is known to hold no pictures in files of their own
IDX_NAME = re.compile(r"idx[0-9]-ubyte(\.gz)?$", re.IGNORECASE)
CIFAR_NAME = re.compile(r"(^|/)(data_batch_[0-9]+|test_batch|train|test)\.bin$", re.IGNORECASE)


def is_image(name: str) -> bool:
    """By the extension alone; hidden files, and files in hidden folders, are none. name: a relative path with slashes."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def listing(folder: Path) -> list[str]:
    """The names in a folder, sorted. Raises DataRejected where it can't be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise DataRejected(f"{folder} can't be read ({error.strerror}); change its permissions.") from None


def label_lines(data: bytes, *, where: str) -> tuple[str, ...]:
    """The labels of a labels file: one a line, empty lines ignored. Raises DataRejected."""
    if len(data) > MAX_LABELS_BYTES:
        raise DataRejected(f"{where} has {len(data)} bytes; one label a line was wanted, 1 MB at most.")
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


def labels_beside(folder: Path, *, name: str = LABELS_FILE) -> tuple[str, ...] | None:
    """The labels in a file of that folder, None where there is none. Raises DataRejected."""
    file = folder / name
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_LABELS_BYTES + 1)
    except OSError as error:
        raise DataRejected(f"{file} can't be read ({error.strerror}); change its permissions.") from None
    return label_lines(data, where=str(file))


def class_labels(found: Iterable[str], *, given: Sequence[str] | None, listed: Sequence[str] | None, where: Path) -> tuple[str, ...]:
    """The labels in their order: those given, else those listed in the data set itself, else the names found, as they come.

    Raises DataRejected for a name that was found but isn't among them.
    """
    found = tuple(found)
    labels = tuple(given or listed or found)
    for name in found:
        if name not in labels:
            shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            wanted = f"the model's labels ({shown})" if given else LABELS_FILE
            raise DataRejected(f"{where} has a class {name!r} that is not among {wanted}{suggestion(name, labels)}; rename it or correct the labels.")
        if not name.isprintable():
            raise DataRejected(f"{where} has a class {name!r}, whose name can't be printed; rename it.")
    return labels


def numbered_labels(
    used: Iterable[int], *, given: Sequence[str] | None, own: Sequence[str] | None, where: Path
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """(labels, position among them of each class number) for data that says its classes by number.

    used: the numbers that occur; own: the names that the data set itself gives to its numbers, where it does.
    Raises DataRejected for a number without a name, or a name that isn't among the labels given.
    """
    numbers = sorted(used)
    count = numbers[-1] + 1 if numbers else 0
    names = tuple(own or given or map(str, range(count)))
    if len(names) < count:
        raise DataRejected(f"{where} has classes up to number {count - 1}, but only {len(names)} of them have names; give {count} labels or more.")
    labels = class_labels((names[n] for n in numbers), given=given, listed=names, where=where)
    return labels, tuple(labels.index(name) if name in labels else None for name in names)

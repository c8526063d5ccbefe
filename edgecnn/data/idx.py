"""The idx files of MNIST and its family (Fashion-MNIST, KMNIST, EMNIST), plain or .gz; http://yann.lecun.com/exdb/mnist gives the format.

    train-images-idx3-ubyte.gz      grey images, (number, height, width)
    train-labels-idx1-ubyte.gz      their class numbers
    labels.txt                      optional: the names of the classes, one a line, from number 0

Give the images file, or the folder where it holds only one. Plain files stay on disk (memory-mapped), .gz files are held in memory.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.data._classes import IDX_NAME, labels_beside, listing, numbered_labels
from edgecnn.data.collection import Collection, Item
from edgecnn.errors import DataRejected, InputMissing

MAX_GZ_BYTES = 1 << 30
_UBYTE = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IdxCollection:
    """images: uint8 (number, height, width); classes: uint8 (number,); positions: class number -> index into labels."""

    labels: tuple[str, ...]
    images: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    positions: tuple[int | None, ...]
    stem: str

    @property
    def multi_label(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Item]:
        for number, (image, kind) in enumerate(zip(self.images, self.classes.tolist(), strict=True)):
            position = self.positions[kind]
            yield Item(name=f"{self.stem}/{number:05d}", source=np.array(image), target=() if position is None else (position,))


def matches(path: Path) -> bool:
    if path.is_dir():
        return any(map(IDX_NAME.search, listing(path)))
    return path.is_file() and bool(IDX_NAME.search(path.name))


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """Raises InputMissing for a missing labels file, or DataRejected for a file whose header and size disagree, or that isn't what its name says."""
    images_file = _images_file(path)
    labels_file = _labels_file(images_file)
    images = read_idx(images_file, axes=3)
    classes = read_idx(labels_file, axes=1)
    if len(images) != len(classes):
        raise DataRejected(f"{images_file} has {len(images)} images, {labels_file.name} has {len(classes)} labels; give files that belong together.")
    used = np.flatnonzero(np.bincount(classes, minlength=1)).tolist()
    named, positions = numbered_labels(used, given=labels, own=labels_beside(images_file.parent), where=images_file)
    return IdxCollection(labels=named, images=images, classes=classes, positions=positions, stem=IDX_NAME.sub("", images_file.name).rstrip("-._"))


def _images_file(path: Path) -> Path:
    if path.is_dir():
        found = [name for name in listing(path) if IDX_NAME.search(name) and "images" in name.lower()]
        if len(found) != 1:
            raise DataRejected(f"{path} holds {len(found)} idx files of images ({', '.join(found) or 'none'}); give the path of the one you want.")
        return path / found[0]
    if "images" not in path.name.lower():
        raise DataRejected(f"{path} is no idx file of images by its name; give the one named ...-images-idx3-ubyte.")
    return path


def _labels_file(images: Path) -> Path:
    name = images.name.replace("images", "labels").replace("IMAGES", "LABELS").replace("idx3", "idx1")
    bare = name[:-3] if name.lower().endswith(".gz") else name
    for candidate in (images.with_name(name), images.with_name(bare), images.with_name(bare + ".gz")):
        if candidate != images and candidate.is_file():
            return candidate
    raise InputMissing(f"{images} has no labels beside it; put {name} into the same folder.")


def read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """The unsigned bytes of an idx file with that many axes: memory-mapped, or in memory where it is zipped. Raises DataRejected."""
    try:
        with path.open("rb") as raw:
            if raw.read(2) != b"\x1f\x8b":
                raw.seek(0)
                shape = _header(raw.read(4 + 4 * axes), path, axes)
                _check_size(path, shape, path.stat().st_size - 4 - 4 * axes)
                if not math.prod(shape):
                    return np.zeros(shape, dtype=np.uint8)
                return np.memmap(path, dtype=np.uint8, mode="r", offset=4 + 4 * axes, shape=shape)
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw, mode="rb") as zipped:
                return _unzipped(zipped, path, axes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataRejected(f"{path} can't be read ({error}); fetch it again.") from None


def _unzipped(zipped: gzip.GzipFile, path: Path, axes: int) -> NDArray[np.uint8]:
    shape = _header(zipped.read(4 + 4 * axes), path, axes)
    total = math.prod(shape)
    if total > MAX_GZ_BYTES:
        raise DataRejected(f"{path} says that it holds {total} bytes, at most 1 GiB is read from a .gz file; unzip it first.")
    data = np.empty(total, dtype=np.uint8)
    filled = 0
    while filled < total and (count := zipped.readinto(data[filled : filled + (1 << 20)].data)):
        filled += count
    _check_size(path, shape, filled + len(zipped.read(1)))
    return data.reshape(shape)


def _header(head: bytes, path: Path, axes: int) -> tuple[int, ...]:
    if len(head) < 4 + 4 * axes or head[:2] != b"\0\0" or head[2] != _UBYTE or head[3] != axes:
        raise DataRejected(
            f"{path} starts with {head[:4].hex(' ') or 'nothing'}, an idx file of unsigned bytes with {axes} axes starts with "
            f"00 00 08 {axes:02x}; fetch it again."
        )
    shape: tuple[int, ...] = struct.unpack(f">{axes}I", head[4:])
    if not all(shape[1:]):
        raise DataRejected(f"{path} holds images of {' x '.join(map(str, shape[1:]))} pixels; fetch it again.")
    return shape


def _check_size(path: Path, shape: tuple[int, ...], found: int) -> None:
    wanted = math.prod(shape)
    if found != wanted:
        amount = "more" if found > wanted else "fewer"
        raise DataRejected(f"{path} holds {amount} bytes than the {wanted} of its header ({' x '.join(map(str, shape))}); fetch it again.")

"""CIFAR-10 and CIFAR-100 in their binary version; https://www.cs.toronto.edu/~kriz/cifar.html gives the format.

    cifar-10-batches-bin/           or cifar-100-binary/, or either as the official .tar.gz
      data_batch_1.bin ...            train.bin
      test_batch.bin                  test.bin
      batches.meta.txt                fine_label_names.txt

A record is one class byte (CIFAR-100: coarse, then fine; the fine one is used) and 32 x 32 red, green and blue values.
A folder or archive with a training and a test part gives the training part; for the test part give its .bin file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.data._archive import first_names, is_archive, walk
from edgecnn.data._classes import CIFAR_NAME, LABELS_FILE, MAX_LABELS_BYTES, label_lines, labels_beside, listing, numbered_labels
from edgecnn.data.collection import Collection, Item
from edgecnn.errors import DataRejected, InputMissing

PIXELS = 3 * 32 * 32
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NAMES_FILES = ("batches.meta.txt", "fine_label_names.txt", LABELS_FILE)
_TEST = re.compile(r"test(_batch)?\.bin$", re.IGNORECASE)
_CHUNK = 1000
_MAX_ARCHIVED = 512 * 1024 * 1024  # CIFAR-100's train.bin has 154 MB; it is read a thousand images at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class CifarCollection:
    """files: each .bin file's name (in the archive, where path is one) with its number of images; heads: class bytes of a record."""

    path: Path
    labels: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    heads: int
    positions: tuple[int | None, ...]

    @property
    def multi_label(self) -> bool:
        return False

    def __len__(self) -> int:
        return sum(count for _, count in self.files)

    def __iter__(self) -> Iterator[Item]:
        wanted = tuple(name for name, _ in self.files)
        for name, chunks in _chunks(self.path, wanted, self.heads):
            stem, number = Path(name).stem, 0
            for records in chunks:
                for record in records:
                    position = self.positions[record[self.heads - 1]]
                    pixels = np.ascontiguousarray(record[self.heads :].reshape(3, 32, 32).transpose(1, 2, 0))
                    yield Item(name=f"{stem}/{number:05d}", source=pixels, target=() if position is None else (position,))
                    number += 1


def matches(path: Path) -> bool:
    if path.is_dir():
        return any(map(CIFAR_NAME.search, listing(path)))
    if is_archive(path):
        return any(map(CIFAR_NAME.search, first_names(path)))
    return path.is_file() and path.suffix.lower() == ".bin"


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """One pass over the class bytes. Raises InputMissing, or DataRejected for a file that is no whole number of records."""
    sizes, own = _contents(path)
    wanted = tuple(name for name in sizes if not _TEST.search(name)) or tuple(sizes)
    if not wanted:
        raise DataRejected(f"{path} holds no .bin file; give CIFAR's binary version.")
    heads = _class_bytes(path, wanted, sizes)
    files = tuple((name, sizes[name] // (heads + PIXELS)) for name in wanted)
    used: set[int] = set()
    for _, chunks in _chunks(path, wanted, heads):
        for records in chunks:
            used.update(np.unique(records[:, heads - 1]).tolist())
    if own is None and labels is None and heads == 1 and all(map(CIFAR_NAME.search, wanted)):
        own = CIFAR10
    named, positions = numbered_labels(used, given=labels, own=own, where=path)
    return CifarCollection(path=path, labels=named, files=files, heads=heads, positions=positions)


def _contents(path: Path) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """(size of each .bin file by its name, in a fixed order; the names of the classes where a file gives them)."""
    if is_archive(path):
        sizes, names = {}, {}
        for member in walk(path, max_bytes=_MAX_ARCHIVED):
            base = member.name.rpartition("/")[2]
            if CIFAR_NAME.search(member.name):
                if member.name in sizes:
                    raise DataRejected(f"{path} has {member.name} twice; fetch or pack it again.")
                sizes[member.name] = member.size
            elif base in _NAMES_FILES and member.size <= MAX_LABELS_BYTES:
                names[base] = label_lines(member.read(), where=f"{member.name} in {path}")
        return sizes, next((names[name] for name in _NAMES_FILES if name in names), None)
    folder = path if path.is_dir() else path.parent
    listed = (labels_beside(folder, name=name) for name in _NAMES_FILES)
    files = [path / name for name in listing(path) if CIFAR_NAME.search(name)] if path.is_dir() else [path]
    try:
        return {file.name: file.stat().st_size for file in files}, next((names for names in listed if names), None)
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; give CIFAR's folder, archive or .bin file.") from None


def _class_bytes(path: Path, names: tuple[str, ...], sizes: dict[str, int]) -> int:
    """1 for CIFAR-10's records, 2 for CIFAR-100's: as the names say (only CIFAR-10 has batches), else whichever divides the sizes."""
    batches = any("batch" in name.rpartition("/")[2].lower() for name in names)
    for heads in (1,) if batches else (2, 1):
        if all(sizes[name] % (heads + PIXELS) == 0 for name in names):
            return heads
    name = next((name for name in names if sizes[name] % (1 + PIXELS)), names[0])
    wanted = "CIFAR-10's 3073" if batches else "CIFAR-10's 3073 or CIFAR-100's 3074"
    raise DataRejected(f"{path}: {name} has {sizes[name]} bytes, no whole number of records of {wanted} bytes; fetch it again.")


def _chunks(path: Path, wanted: tuple[str, ...], heads: int) -> Iterator[tuple[str, Iterator[NDArray[np.uint8]]]]:
    """(name, records as uint8 (some, heads + 3072)) of each file; the records are to be read before the next file."""
    record = heads + PIXELS
    if is_archive(path):
        for member in walk(path, max_bytes=_MAX_ARCHIVED):
            if member.name in wanted:
                yield member.name, (np.frombuffer(b, dtype=np.uint8).reshape(-1, record) for b in member.blocks(_CHUNK * record))
        return
    for name in wanted:
        yield name, _mapped(path / name if path.is_dir() else path, record)


def _mapped(file: Path, record: int) -> Iterator[NDArray[np.uint8]]:
    try:
        if file.stat().st_size:
            whole = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, record)
            yield from (np.asarray(whole[start : start + _CHUNK]) for start in range(0, len(whole), _CHUNK))
    except (OSError, ValueError) as error:
        raise DataRejected(f"{file} can't be read ({error}); fetch it again.") from None

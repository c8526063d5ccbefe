"""What every format gives: a sized, re-iterable stream of items in a fixed order, with the labels' names."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.files import read_whole
from edgecnn.errors import DataRejected, InputMissing

MAX_ENCODED_BYTES = 600_000_000
"""More than any image of 64 megapixels needs, uncompressed and with 16 bits a channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image, not yet decoded.

    source: the encoded file's path or bytes, or uint8 pixels (height, width) or (height, width, 3);
    target: the indices into the collection's labels that hold: one for single-label data, any number for multi-label, none where unknown.
    """

    name: str
    source: Path | bytes | NDArray[np.uint8]
    target: tuple[int, ...] = ()

    def content(self) -> bytes:
        """The encoded bytes, or the pixels' bytes; equal content is the same image. Raises InputMissing where the file is gone."""
        if isinstance(self.source, bytes):
            return self.source
        if isinstance(self.source, Path):
            try:
                return read_whole(self.source, MAX_ENCODED_BYTES)
            except OSError as error:
                raise InputMissing(f"{self.source} can't be read ({error.strerror}).") from error
        return self.source.tobytes()

    def sha256(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()


class Collection(Protocol):
    """Items in a fixed order; iterating twice gives the same twice. `multi_label` says that targets are sets."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def multi_label(self) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Some items of a collection, by position, in the collection's order."""

    whole: Collection
    positions: frozenset[int]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.whole.labels

    @property
    def multi_label(self) -> bool:
        return self.whole.multi_label

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Item]:
        return (item for position, item in enumerate(self.whole) if position in self.positions)


def evenly(total: int, count: int) -> tuple[int, ...]:
    """`count` of the positions 0 to total - 1, spread evenly; all of them where there are no more."""
    count = min(total, count)
    return tuple((2 * i + 1) * total // (2 * count) for i in range(count))


def split(collection: Collection, held_out: int, *, seed: int) -> tuple[Subset, Subset]:
    """(the rest, `held_out` items) by a seeded draw that depends on the number of items alone. Raises DataRejected."""
    total = len(collection)
    if not 0 < held_out < total:
        raise DataRejected(f"{held_out} images can't be held out of {total}; choose a number between 1 and {total - 1}.")
    drawn = frozenset(np.random.Generator(np.random.PCG64(seed)).permutation(total)[:held_out].tolist())
    rest = frozenset(range(total)) - drawn
    return Subset(whole=collection, positions=rest), Subset(whole=collection, positions=drawn)


def formats() -> tuple[str, ...]:
    """The names of the formats: the modules of this package that are no helpers."""
    import edgecnn.data

    return tuple(sorted(m.name for m in pkgutil.iter_modules(edgecnn.data.__path__) if m.name != "collection" and not m.name.startswith("_")))


def open_collection(path: Path | str, *, labels: Sequence[str] | None = None) -> Collection:
    """The collection at `path`, in whichever format it is.

    labels: the order (and, where the format has none, the names) of the labels; a folder or name outside it is refused.
    Raises InputMissing, or DataRejected where no format takes it, it is empty, or its labels don't fit.
    """
    path = Path(path)
    try:
        path.stat()
    except (OSError, ValueError):
        raise InputMissing(f"{path} doesn't exist; give a folder, an archive or a file of images.") from None
    for name in formats():
        module: Any = importlib.import_module(f"edgecnn.data.{name}")
        if module.matches(path):
            found: Collection = module.read(path, labels=tuple(labels) if labels else None)
            if not len(found):
                raise DataRejected(f"{path} holds no images; give at least one.")
            return found
    raise DataRejected(f"{path} is in none of the formats {', '.join(formats())}; see `edgecnn train --help` for them.")

"""Class folders inside a .tar or .tar.gz, read from front to back; nothing is extracted to disk.

    cifar10.tar.gz
      airplane/0000.jpg ...
      truck/0000.jpg ...
      labels.txt              optional: one label a line, giving their order

A folder around everything is taken away first. Images that lie in no class folder make a collection without labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.data._archive import is_archive, walk
from edgecnn.data._classes import LABELS_FILE, MAX_LABELS_BYTES, class_labels, is_image, label_lines
from edgecnn.data.collection import Collection, Item
from edgecnn.errors import DataRejected


@dataclass(frozen=True, kw_only=True, slots=True)
class TarCollection:
    """The images of an archive in the archive's order; `prefix` is the folder around everything, with its slash."""

    path: Path
    labels: tuple[str, ...]
    count: int
    prefix: str

    @property
    def multi_label(self) -> bool:
        return False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        index = {label: (i,) for i, label in enumerate(self.labels)}
        for name, read in walk(self.path):
            if is_image(name):
                inner = name[len(self.prefix) :]
                yield Item(name=inner, source=read(), target=index[inner.split("/", 1)[0]] if self.labels else ())


def matches(path: Path) -> bool:
    return is_archive(path)


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """One pass over the headers, for the number of images and the classes. Raises InputMissing or DataRejected."""
    folders: set[str] = set()
    listed: dict[str, bytes] = {}
    count = 0
    for name, content in walk(path):
        folder = name.rpartition("/")[0]
        if is_image(name):
            count += 1
            folders.add(folder)
        elif name.rpartition("/")[2] == LABELS_FILE:
            listed[folder] = _bounded(content(), path)
    prefix = _wrapper(folders)
    own = listed.get(prefix.rstrip("/"))
    classes = {folder[len(prefix) :].split("/", 1)[0] for folder in folders}
    if "" in classes:
        if len(classes) > 1:
            raise DataRejected(f"{path} has images beside its class folders; put each into a class, or leave out the folders.")
        return TarCollection(path=path, labels=(), count=count, prefix=prefix)
    named = label_lines(own, where=f"{LABELS_FILE} in {path}") if own is not None else None
    return TarCollection(path=path, labels=class_labels(classes, given=labels, listed=named, where=path), count=count, prefix=prefix)


def _bounded(data: bytes, path: Path) -> bytes:
    if len(data) > MAX_LABELS_BYTES:
        raise DataRejected(f"{LABELS_FILE} in {path} has {len(data)} bytes; one label a line was wanted.")
    return data


def _wrapper(folders: set[str]) -> str:
    """The folders around everything, as "a/b/": those that all images share, less the last one where it is itself the only class."""
    prefix = ""
    while folders:
        inner = {folder[len(prefix) :] for folder in folders}
        first = {folder.split("/", 1)[0] for folder in inner}
        if len(first) != 1 or not all("/" in folder for folder in inner):
            break
        prefix += first.pop() + "/"
    return prefix

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

from edgecnn.data._archive import first_names, is_archive, walk
from edgecnn.data._classes import CIFAR_NAME, LABELS_FILE, MAX_LABELS_BYTES, class_labels, is_image, label_lines
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
        for member in walk(self.path):
            if is_image(member.name):
                inner = member.name.removeprefix(self.prefix)
                yield Item(name=inner, source=member.read(), target=index[inner.split("/", 1)[0]] if self.labels else ())


def matches(path: Path) -> bool:
    return is_archive(path) and not any(map(CIFAR_NAME.search, first_names(path)))


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """One pass over the headers, for the number of images and the classes. Raises InputMissing or DataRejected."""
    folders: set[str] = set()
    listed: dict[str, tuple[str, ...]] = {}
    count = 0
    for member in walk(path):
        folder, _, name = member.name.rpartition("/")
        if is_image(member.name):
            count += 1
            folders.add(folder)
        elif name == LABELS_FILE and member.size <= MAX_LABELS_BYTES:
            listed[folder] = label_lines(member.read(), where=f"{member.name} in {path}")
    prefix = _wrapper(folders, labels or ())
    classes = {folder[len(prefix) :].split("/", 1)[0] for folder in folders}
    if "" not in classes:
        own = listed.get(prefix.rstrip("/"))
        return TarCollection(path=path, labels=class_labels(sorted(classes), given=labels, listed=own, where=path), count=count, prefix=prefix)
    if len(classes) > 1:
        raise DataRejected(f"{path} has images beside its class folders; put each into a class, or leave out the folders.")
    return TarCollection(path=path, labels=(), count=count, prefix=prefix)


def _wrapper(folders: set[str], known: tuple[str, ...]) -> str:
    """The folders around everything, as "a/b/": those that all images share, up to one that is a known label or the only class."""
    prefix = ""
    while folders:
        inner = {folder[len(prefix) :] for folder in folders}
        first = {folder.split("/", 1)[0] for folder in inner}
        if len(first) != 1 or first <= set(known) or not all("/" in folder for folder in inner):
            break
        prefix += first.pop() + "/"
    return prefix

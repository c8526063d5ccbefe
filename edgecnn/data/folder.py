"""Class folders, a plain folder of images, or one image file.

    animals/
      cat/1.jpg ...           a class folder; folders in it belong to the class
      dog/1.jpg ...
      labels.txt              optional: one label a line, giving their order

Images that lie in the folder itself, with no class folders, make a collection without labels, and so does a single file.
Files that aren't images (by extension) and hidden ones are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from edgecnn.data._classes import CIFAR_NAME, IDX_NAME, class_labels, is_image, labels_beside, listing
from edgecnn.data._files import Files
from edgecnn.data.collection import Collection
from edgecnn.errors import DataRejected, InputMissing


def matches(path: Path) -> bool:
    if path.is_file():
        return is_image(path.name)
    return path.is_dir() and not any(IDX_NAME.search(name) or CIFAR_NAME.search(name) for name in listing(path))


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """Raises InputMissing, or DataRejected for images beside class folders or a class that isn't among the labels."""
    if path.is_file():
        return Files(root=path.parent, names=(path.name,), targets=((),), labels=())
    if not path.is_dir():
        raise InputMissing(f"{path} doesn't exist; give a folder of images.")
    plain = [name for name in listing(path) if is_image(name) and (path / name).is_file()]
    classes: list[tuple[str, list[str]]] = []
    for name in listing(path):
        inside = [f"{name}/{inner}" for inner in _images_below(path / name)] if _is_class(path / name) else []
        if inside:
            classes.append((name, inside))
    if not classes:
        return Files(root=path, names=tuple(plain), targets=((),) * len(plain), labels=())
    if plain:
        raise DataRejected(f"{path} has images ({plain[0]} and {len(plain) - 1} more) beside its class folders; move each into a class.")
    ordered = class_labels((name for name, _ in classes), given=labels, listed=labels_beside(path), where=path)
    names = tuple(image for _, inside in classes for image in inside)
    targets = tuple(target for name, inside in classes for target in [(ordered.index(name),)] * len(inside))
    return Files(root=path, names=names, targets=targets, labels=ordered)


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _images_below(folder: Path) -> Iterator[str]:
    """Images in a class folder and the folders in it, links to folders not followed, sorted; relative to it, with slashes."""
    found = []
    for parent, _, files in os.walk(folder, onerror=_unreadable):
        inner = Path(parent).relative_to(folder).as_posix()
        found += [name if inner == "." else f"{inner}/{name}" for name in files]
    return iter(sorted(name for name in found if is_image(name)))


def _unreadable(error: OSError) -> NoReturn:
    raise DataRejected(f"{error.filename} can't be read ({error.strerror}); change its permissions.") from None

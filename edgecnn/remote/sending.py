"""Which files a command needs on a device, and under which names they lie there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from edgecnn.errors import InputMissing, InputRefused

MOST_FILES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of this machine. parts: its path in the command's folder on the device."""

    source: Path
    parts: tuple[str, ...]
    sha256: str
    size: int


@dataclass(kw_only=True, slots=True)
class Parcel:
    """What goes over for a command. Adding a path tells how the command shall call it there."""

    files: list[File] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    _sources: dict[tuple[str, ...], str] = field(default_factory=dict)
    _tops: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, beside: Iterable[str] = ()) -> str:
        """A file, and those of `beside` in its folder that are there. Raises InputMissing, InputRefused."""
        name, parts = self._named(path)
        self._add(Path(path), parts)
        for other in beside:
            source = Path(path).parent / other
            if source.is_file():
                self._add(source, (*parts[:-1], *PurePath(other).parts))
        return name

    def add_folder(self, path: str, names: Iterable[str]) -> str:
        """A folder with the files `names`, relative to it. Raises what `add` does."""
        name, parts = self._named(path)
        if parts:
            self.folders.append(parts)
        for inner in names:
            self._add(Path(path) / inner, (*parts, *PurePath(inner).parts))
        return name

    def missing(self, path: str) -> str:
        """The name of a path that isn't here, and shall not be there either."""
        return self._named(path)[0]

    def _named(self, path: str) -> tuple[str, tuple[str, ...]]:
        """The path as it was given, where that leads nowhere else; without its root and without ".." otherwise."""
        given, whole = PurePath(path), Path(os.path.abspath(path))
        kept = not given.is_absolute() and ".." not in given.parts
        parts = tuple(part for part in PurePath(os.path.normpath(path)).parts if part not in (given.anchor, "..", "."))
        if not parts and kept:
            return path, ()
        parts = parts or (whole.name or "root",)
        # two that come from different places lie in folders of their own there
        root = str(whole.parents[len(parts) - 1]) if len(whole.parents) >= len(parts) else str(whole)
        if self._tops.setdefault(parts[0], root) == root:
            return (path if kept else os.path.join(*parts)), parts
        number = 2
        while self._tops.setdefault(str(number), root) != root:
            number += 1
        parts = (str(number), *parts)
        return os.path.join(*parts), parts

    def _add(self, source: Path, parts: tuple[str, ...]) -> None:
        place = os.path.abspath(source)
        known = self._sources.get(parts)
        if known == place:
            return
        if known is not None:
            raise InputRefused(f"{source} and {known} would have one name on the device; give both by paths from the folder that holds them.")
        if len(self.files) >= MOST_FILES:
            raise InputRefused(f"more than {MOST_FILES:,} files would go to the device; give fewer, or copy them there by other means.")
        self.files.append(described(source, parts))
        self._sources[parts] = place


def described(source: Path, parts: tuple[str, ...]) -> File:
    """Raises InputMissing, or InputRefused for what is no regular file or can't be read."""
    try:
        with open(source, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputRefused(f"{source} is no regular file, and only those go to a device; save it as one.")
            digest, size = hashlib.sha256(), 0
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputMissing(f"{source} doesn't exist; give a file of this machine.") from None
    except IsADirectoryError:
        raise InputRefused(f"{source} is a folder, and a file was wanted.") from None
    except OSError as error:
        raise InputRefused(f"{source} can't be read ({error.strerror}); change its permissions.") from None
    return File(source=source, parts=parts, sha256=digest.hexdigest(), size=size)

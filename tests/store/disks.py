"""A disk that loses power: recorded calls replayed, and of what was never flushed nothing, all, or some is there afterwards.

What POSIX promises, and no file system's habits: a file's content is sure once the file was flushed, a name once its folder was. Until then a
content may be lost, cut short, or zeros of the right length; names are made and deleted in any order, but a rename is one step.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.store.calls import Call


@dataclass(eq=False)
class File:
    content: bytes = b""
    flushed: bytes = b""


@dataclass(eq=False)
class Folder:
    """pending: steps since the folder was flushed, each of which sets names, or deletes them (None)."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    flushed: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def step(self, **names: File | Folder | None) -> None:
        self.pending.append(names)
        _apply(self.names, names)

    def flush(self) -> None:
        self.flushed, self.pending = dict(self.names), []


def _apply(names: dict[str, File | Folder], step: dict[str, File | Folder | None]) -> None:
    for name, node in step.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A folder's files as they are after some calls, with all that is known to be on the disk."""

    def __init__(self, folder: Path) -> None:
        """Everything that lies there now was flushed."""
        self.root = _read(folder)
        self.open: dict[int, File | Folder] = {}

    def do(self, call: Call) -> None:
        parent, name = self._place(call.paths[0])
        if call.name == "mkdir":
            parent.step(**{name: Folder()})
        elif call.name == "open":
            if name not in parent.names:
                parent.step(**{name: File()})
            self.open[call.fd] = parent.names[name]
        elif call.name == "write":
            file = self.open[call.fd]
            assert isinstance(file, File)
            file.content += call.data
        elif call.name == "fsync":
            self._flush(call, parent, name)
        elif call.name == "rename":
            other, target = self._place(call.paths[1])
            assert other is parent, "a rename from one folder to another needs both flushed"
            parent.step(**{name: None, target: parent.names[name]})
        elif call.name in ("unlink", "rmdir"):
            parent.step(**{name: None})
        else:
            assert call.name == "chmod", call

    def _flush(self, call: Call, parent: Folder, name: str) -> None:
        node = self.root if call.paths[0] == "." else parent.names[name]
        if isinstance(node, Folder):
            node.flush()
        else:
            file = self.open[call.fd]
            assert isinstance(file, File)
            file.flushed = file.content

    def _place(self, path: str) -> tuple[Folder, str]:
        parts = path.split("/")
        folder = self.root
        for part in parts[:-1]:
            inner = folder.names[part]
            assert isinstance(inner, Folder)
            folder = inner
        return folder, parts[-1]

    def lost(self) -> Callable[[Path], None]:
        """Nothing that wasn't flushed is there."""
        return lambda target: _write(self.root, target, _nothing)

    def kept(self) -> Callable[[Path], None]:
        """Everything is there."""
        return lambda target: _write(self.root, target, _everything)

    def some(self, seed: int) -> Callable[[Path], None]:
        """Some of it is, by chance."""
        return lambda target: _write(self.root, target, _Chance(seed))


class _Fate:
    """What becomes of steps and of contents that weren't flushed."""

    def steps(self, count: int) -> Sequence[bool]:
        return [False] * count

    def content(self, file: File) -> bytes:
        return file.flushed


class _Everything(_Fate):
    def steps(self, count: int) -> Sequence[bool]:
        return [True] * count

    def content(self, file: File) -> bytes:
        return file.content


class _Chance(_Fate):
    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.share = self.draw.choice((0.2, 0.5, 0.8))

    def steps(self, count: int) -> Sequence[bool]:
        return [self.draw.random() < self.share for _ in range(count)]

    def content(self, file: File) -> bytes:
        if file.content == file.flushed:
            return file.content
        cut = self.draw.randrange(len(file.content) + 1)
        return self.draw.choice((file.flushed, file.content[:cut], bytes(len(file.content)), file.content))


_nothing, _everything = _Fate(), _Everything()


def _write(folder: Folder, target: Path, fate: _Fate) -> None:
    target.mkdir()
    names = dict(folder.flushed)
    for step, stays in zip(folder.pending, fate.steps(len(folder.pending)), strict=True):
        if stays:
            _apply(names, step)
    for name, node in names.items():
        if isinstance(node, Folder):
            _write(node, target / name, fate)
        else:
            (target / name).write_bytes(fate.content(node))


def _read(folder: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                names[entry.name] = _read(Path(entry.path))
            else:
                data = Path(entry.path).read_bytes()
                names[entry.name] = File(content=data, flushed=data)
    return Folder(names=names, flushed=dict(names))

"""A folder that pictures come into: which of them are new, whole and not yet answered.

It is looked through again and again, subfolders too, which every file system and every network share allows. What is remembered is 8 bytes for each
picture that is there, and more only for those being waited for, so memory doesn't grow with the pictures that came by.
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgecnn.data._classes import is_image
from edgecnn.errors import ImageRejected, InputMissing

EVERY_S = 0.2
"""Seconds between two looks: a picture is taken for whole when nothing changed from one to the next."""
PATIENCE_S = 2.0
"""Seconds that a picture which can't be read has to stay as it is before that is said: its writer may be slow."""
_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A picture that came. final: it has stayed as it is for so long that a failure to read it counts."""

    path: str
    final: bool


@dataclass(kw_only=True, slots=True)
class _Waiting:
    key: int
    since: float
    tried: bool = False
    done: bool = False


@dataclass(kw_only=True, slots=True)
class _Look:
    """What one look found. whole: nothing was hidden from it."""

    there: array[int] = field(default_factory=lambda: array("q"))
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    whole: bool = True


class Watch:
    """The pictures of `folder` from now on; those that are there now are not new. A picture counts as another one when its name, size, time of
    change or place on the disk is another. Raises InputMissing where there is no such folder, ImageRejected for a file.
    """

    def __init__(self, folder: str) -> None:
        if not os.path.isdir(folder):
            wanted = "a folder was wanted; give one that is there when the watch begins."
            raise ImageRejected(f"{folder} is a file, {wanted}") if os.path.lexists(folder) else InputMissing(f"{folder} doesn't exist, {wanted}")
        self.folder = folder
        self._waiting: dict[str, _Waiting] = {}
        self._known = array("q")
        look = _Look()
        for path, status in _pictures(folder, look):
            look.there.append(_key(path, status))
        self._known = _sorted(look.there)

    def look(self, now: float) -> list[Arrival]:
        """What can be read now, oldest first; each comes until `done` is called for it. now: seconds of a clock that only goes forward."""
        look, ready = _Look(), []
        for path, status in _pictures(self.folder, look):
            key = _key(path, status)
            before = self._waiting.get(path)
            same = before is not None and before.key == key
            if self._knows(key) or (same and before is not None and before.done):
                look.there.append(key)
            elif before is not None and same:
                look.waiting[path] = before
                steady = now - before.since
                if not before.tried or steady >= PATIENCE_S:
                    before.tried = True
                    ready.append((status.st_mtime_ns, Arrival(path=path, final=steady >= PATIENCE_S)))
            elif before is not None or len(look.waiting) < _AT_ONCE:
                look.waiting[path] = _Waiting(key=key, since=now)
        self._remember(look)
        return [arrival for _, arrival in sorted(ready, key=lambda pair: (pair[0], pair[1].path))]

    def done(self, arrival: Arrival) -> None:
        """It was answered."""
        self._waiting[arrival.path].done = True

    def _knows(self, key: int) -> bool:
        at = bisect_left(self._known, key)
        return at < len(self._known) and self._known[at] == key

    def _remember(self, look: _Look) -> None:
        # a folder that can't be looked into, or whose disk was taken away, which leaves an empty one, may come back with what was in it
        if not look.whole or not (look.there or look.waiting):
            look.there = _both(self._known, look.there)
            look.waiting = {**self._waiting, **look.waiting}
        self._known, self._waiting = _sorted(look.there), look.waiting


def _key(path: str, status: os.stat_result) -> int:
    return hash((path, status.st_ino, status.st_size, status.st_mtime_ns))


def _sorted(keys: array[int]) -> array[int]:
    if keys:
        np.frombuffer(keys, np.int64).sort()
    return keys


def _both(some: array[int], others: array[int]) -> array[int]:
    if not some or not others:
        return some or others
    return array("q", np.union1d(np.frombuffer(some, np.int64), np.frombuffer(others, np.int64)).tobytes())


def _pictures(folder: str, look: _Look) -> Iterator[tuple[str, os.stat_result]]:
    """The files with a picture's name in a folder and below, but not behind links to folders."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _pictures(entry.path, look)
                elif is_image(entry.name):
                    try:
                        status = entry.stat()
                    except OSError:  # taken away meanwhile
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield entry.path, status
    except OSError:
        look.whole = False

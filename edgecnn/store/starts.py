"""Starts of a version that haven't given an answer yet: how a store knows that a model kills its process.

A start leaves a mark, an empty file that the process holds locked until its first answer removes it. A mark that nobody holds is of a process
that died before. It is never flushed to disk: the page cache outlives a process, so a crash leaves its mark and flash isn't worn; cutting
the power takes it along. Where the disk was quicker than that the mark names another boot of the system, and isn't counted. Locks, unlike
process numbers, mean the same in every container that shares a store, and aren't given out twice.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgecnn.store.places import Place

MOST_DEATHS = 3
"""Starts in a row that may die before their first answer; the next one takes the version before."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Mark:
    """The mark of this process's start."""

    def __init__(self, place: Place, version: str) -> None:
        """Where it can't be made, e.g. in a store that is read only, nothing is counted."""
        self._place, self._version = place, version
        self._path: Path | None = None
        self._handle = -1
        boot = _boot_id()
        if boot is not None:
            with contextlib.suppress(OSError, ImportError):
                self._make(f"{version}@{boot}@{os.getpid()}-{os.urandom(4).hex()}")

    def _make(self, name: str) -> None:
        import fcntl

        with contextlib.suppress(FileExistsError):
            os.mkdir(self._place.starts)
        # under its name it must be locked already, or another process would take it for a dead one's
        path = self._place.starts / f".{name}"
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(path, self._place.starts / name)
        self._path = self._place.starts / name

    def answered(self) -> None:
        """The version works: neither this start counts, nor those that died before."""
        self.forget()
        forget_deaths(self._place, self._version)

    def forget(self) -> None:
        """This start ends without an answer, through no fault of the version. Nothing happens the second time."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self.leave()

    def leave(self) -> None:
        """This start counts as one that died, unless it gave its answer before."""
        self._path = None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def deaths(place: Place, version: str) -> int:
    """How many starts of a version died before their first answer since the last answer, in this boot of the system."""
    return len(_dead(place, version))


def forget_deaths(place: Place, version: str) -> None:
    for path in _dead(place, version):
        with contextlib.suppress(OSError):
            os.unlink(path)


def sweep_starts(place: Place, installed: set[str]) -> None:
    """Delete marks of other boots and of versions that are gone. Raises OSError."""
    boot = _boot_id()
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(place.starts):
            version, _, rest = name.lstrip(".").partition("@")
            if version not in installed or rest.partition("@")[0] != boot:
                os.unlink(place.starts / name)
        if not os.listdir(place.starts):
            os.rmdir(place.starts)


def _dead(place: Place, version: str) -> list[Path]:
    boot = _boot_id()
    try:
        names = os.listdir(place.starts)
    except OSError:
        return []
    found = [place.starts / name for name in names if boot is not None and name.startswith(f"{version}@{boot}@")]
    return [path for path in found if not _held(path)]


def _held(path: Path) -> bool:
    """Whether a living process holds the mark; True where that can't be known, for then it doesn't count."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ImportError):
        return True
    try:
        # shared, so that two processes that look at the same time don't take each other for its owner
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None

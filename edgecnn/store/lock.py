"""One process at a time changes a store."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgecnn.artifact.files import sync_folder, unwritable
from edgecnn.errors import MissingHere, StoreBusy
from edgecnn.store.places import LOCK

WAIT_S = 120.0
"""More than an install takes, most of which is the trial of its model."""

_PAUSE_S = 0.05

Say = Callable[[str], None]


@contextlib.contextmanager
def locked(store: Path, *, wait_s: float = WAIT_S, say: Say | None = None) -> Iterator[None]:
    """Hold the store, which is made where there is none, against every other process. The system lets go of it when this one ends, however.

    say: is told once that another process must be waited for. Raises StoreBusy where that takes longer than `wait_s`, OutputNotWritable.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        raise MissingHere("this system can't lock files as a store needs it; Linux or another POSIX system was wanted.") from None
    try:
        if not os.path.lexists(store / LOCK):
            _make_folder(store)
        handle = os.open(store / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise unwritable(store, error) from error
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreBusy(f"another process is changing {store}, and wasn't done after {wait_s:g} s; try again later.") from None
                if say is not None:
                    say(f"another process is changing {store}; waiting for it")
                    say = None
                time.sleep(_PAUSE_S)
            except OSError as error:
                raise unwritable(store, error) from error
        yield
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    """The store's folder, and those above it, flushed to disk. Raises OSError.

    One that is there may have been made by a process that was killed before it flushed anything; the lock is made after all that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for above in folder.absolute().parents:
        with contextlib.suppress(PermissionError):  # nobody made a folder in what isn't theirs
            sync_folder(above)

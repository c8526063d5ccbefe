"""What a process that was killed, or a power loss, left in a store: deleted by the next command that holds the lock."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from edgecnn.errors import StoreError
from edgecnn.store.places import INCOMING, SIGNATURE, Place, models
from edgecnn.store.starts import sweep_starts
from edgecnn.store.state import State, read_state


def sweep(store: Path) -> None:
    """Delete what no state speaks of: half-written files, versions on their way in or out, their signatures and marks, empty folders.

    What can't be deleted stays, for the next time: it harms nobody. A model whose state can't be read keeps its versions.
    """
    for place in models(store):
        with contextlib.suppress(OSError):
            _sweep_model(place)


def _sweep_model(place: Place) -> None:
    try:
        state = read_state(place)
        installed = set(state.installed)
    except StoreError:
        state, installed = None, set(place.versions())
    for entry in os.listdir(place.folder):
        path = place.folder / entry
        unsigned = entry.endswith(SIGNATURE) and entry[: -len(SIGNATURE)] not in installed
        if entry.startswith(INCOMING):
            delete(path)
        elif (entry.startswith(".") and entry.endswith(".part")) or (unsigned and not path.is_dir()):
            _unlink(path)
    for version in set(place.versions()) - installed:
        delete(place.version(version))
    sweep_starts(place, installed)
    if state == State():  # nothing was ever installed
        _unlink(place.state)
        with contextlib.suppress(OSError):
            place.folder.rmdir()


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def delete(folder: Path) -> None:
    """A folder with all in it, as far as that can be done."""
    shutil.rmtree(folder, ignore_errors=True)

"""Where things lie in a store: STORE/NAME/VERSION/ holds an unpacked version, STORE/NAME/state.json says which one is active.

Beside it lies VERSION.sig, where the file had a signature. What starts with "." is the store's own: the lock, what is on its way in, the marks
of starts. Names and versions come from manifests and from people, and become parts of paths; the rules of the spec leave nothing in them that
a path could take for more than a name, and only lower-case letters, so that no two meet on a file system that tells no cases apart.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgecnn.artifact.spec import NAME, VERSION
from edgecnn.errors import StoreError, UsageError

LOCK = ".lock"
STATE = "state.json"
INCOMING = ".incoming-"
STARTS = ".starts"
SIGNATURE = ".sig"

_MAX_VERSION = 100
"""Of a file name's 255 bytes, which must hold what a mark of a start adds, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A model's folder in a store."""

    store: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(f"{self.name!r} is no model's name; names are lower-case letters, digits, '.', '_' or '-', 64 at most.")

    @property
    def folder(self) -> Path:
        return self.store / self.name

    @property
    def state(self) -> Path:
        return self.folder / STATE

    @property
    def starts(self) -> Path:
        return self.folder / STARTS

    def version(self, version: str) -> Path:
        """The folder of a version. Raises StoreError for one that can't be a folder's name."""
        if not VERSION.fullmatch(version):
            raise StoreError(f"{version!r} is no version; versions are like 1.2.0.")
        if version.endswith(SIGNATURE):
            raise StoreError(f"version {version[:80]!r} would lie where a signature does; give it another name.")
        if len(version) > _MAX_VERSION:
            raise StoreError(f"version {version[:20]}... has {len(version)} characters; a store takes {_MAX_VERSION} at most.")
        return self.folder / version

    def versions(self) -> tuple[str, ...]:
        """The versions that lie there, recorded or not. Raises OSError where the folder can't be read."""
        try:
            entries = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return ()
        return tuple(name for name in entries if VERSION.fullmatch(name) and (self.folder / name).is_dir())


def default_store() -> Path:
    """EDGECNN_STORE, else edgecnn/store in the user's folder for data. Raises UsageError where there is none."""
    named = os.environ.get("EDGECNN_STORE")
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME", "")
    try:
        # a relative one is to be ignored: specifications.freedesktop.org/basedir-spec
        home = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    except RuntimeError:
        raise UsageError("there is no home folder to keep a store in; name one with --store or in EDGECNN_STORE.") from None
    return home / "edgecnn" / "store"


def models(store: Path) -> tuple[Place, ...]:
    """The models that lie in a store, by name; none where there is no store. Raises StoreError where it can't be read."""
    try:
        names = sorted(name for name in os.listdir(store) if NAME.fullmatch(name))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"the store {store} can't be read ({error.strerror}); name another with --store or in EDGECNN_STORE.") from None
    return tuple(Place(store=store, name=name) for name in names if (store / name).is_dir())


def parse(reference: str) -> tuple[str, str | None]:
    """NAME or NAME@VERSION as both; None for the version that is active."""
    name, at, version = reference.partition("@")
    if at and not version:
        raise UsageError(f"{reference!r} names no version after the @; leave both out for the active one.")
    return name, version if at else None


def no_model(place: Place) -> StoreError:
    """The error for a model that isn't in the store."""
    there = ", ".join(other.name for other in models(place.store)) or "none"
    return StoreError(f"the store {place.store} has no model {place.name!r}; there are: {there}. `edgecnn store install FILE` brings one in.")

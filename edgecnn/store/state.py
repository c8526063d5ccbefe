"""What a store knows of a model: which version is active, which were before, and what happened to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from edgecnn.artifact.codec import CodecError, canonical_json, decode, strict_json
from edgecnn.artifact.files import read_whole, write_atomic
from edgecnn.artifact.spec import VERSION
from edgecnn.errors import StoreError
from edgecnn.store.places import Place

_MAX_BYTES = 1_000_000
_EVENTS_KEPT = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened to `version`. time: UTC, by this machine's clock; before: the version that was active until then;
    downgrade: a lower sequence was allowed."""

    what: Literal["installed", "activated", "rolled back", "removed"]
    version: str
    time: str
    before: str | None = None
    reason: str | None = None
    downgrade: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """previous: versions that were active before, the last one first; set_aside: versions that were rolled back from, and why;
    history: the last events, oldest first."""

    schema: Literal[1] = 1
    installed: tuple[str, ...] = ()
    active: str | None = None
    previous: tuple[str, ...] = ()
    set_aside: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        named = [*self.previous, *self.set_aside, *([] if self.active is None else [self.active])]
        bad = next((version for version in self.installed if not VERSION.fullmatch(version)), None)
        if bad is not None:
            raise ValueError(f"{bad[:80]!r} is no version")
        absent = next((version for version in named if version not in self.installed), None)
        if absent is not None:
            raise ValueError(f"{absent[:80]!r} isn't among the installed versions")
        if self.active in self.previous or self.active in self.set_aside or len(set(self.previous)) < len(self.previous):
            raise ValueError("a version can't be active and have been before, or before twice")

    def with_active(self, version: str, *, what: Literal["installed", "activated"], downgrade: bool = False, reason: str | None = None) -> State:
        """`version` takes the place of the one that is active, and of what was said against it."""
        before = () if self.active is None else (self.active,)
        return replace(
            self,
            installed=tuple(sorted({*self.installed, version})),
            active=version,
            previous=tuple(other for other in (*before, *self.previous) if other != version),
            set_aside={other: why for other, why in self.set_aside.items() if other != version},
        )._after(Event(what=what, version=version, time=_now(), before=self.active, downgrade=downgrade, reason=reason))

    def rolled_back(self, version: str, reason: str) -> State:
        """`version`, one of the previous, is active again; those after it are set aside."""
        assert self.active is not None
        skipped = self.previous[: self.previous.index(version)]
        return replace(
            self,
            active=version,
            previous=self.previous[len(skipped) + 1 :],
            set_aside={**{other: why for other, why in self.set_aside.items() if other != version}, self.active: reason},
        )._after(Event(what="rolled back", version=version, time=_now(), before=self.active, reason=reason))

    def without(self, version: str) -> State:
        """`version`, which isn't active, is no longer installed."""
        return replace(
            self,
            installed=tuple(other for other in self.installed if other != version),
            previous=tuple(other for other in self.previous if other != version),
            set_aside={other: why for other, why in self.set_aside.items() if other != version},
        )._after(Event(what="removed", version=version, time=_now()))

    def _after(self, event: Event) -> State:
        return replace(self, history=(*self.history, event)[-_EVENTS_KEPT:])


def read_state(place: Place) -> State:
    """The model's state; an empty one where nothing of it was ever installed.

    Raises StoreError where it can't be read or isn't what `write_state` wrote.
    """
    try:
        data = read_whole(place.state, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if place.versions():
            raise _damaged(place, "it is missing") from None
        return State()
    except OSError as error:
        raise StoreError(f"{place.state} can't be read ({error.strerror}).") from None
    try:
        state = decode(State, strict_json(data), where="state", unknown="refuse")
    except CodecError as error:
        raise _damaged(place, str(error)) from None
    # a record that lost fields would take installed versions for left-overs
    if canonical_json(state) != data:
        raise _damaged(place, "it isn't as it was written")
    return state


def write_state(place: Place, state: State) -> None:
    """All of it or nothing, and on the disk when this returns. Raises OutputNotWritable."""
    write_atomic(place.state, canonical_json(state))


def _damaged(place: Place, why: str) -> StoreError:
    versions = ", ".join(place.versions()) or "none"
    return StoreError(
        f"{place.state} doesn't say which version is active ({why}); `edgecnn store activate {place.name}@VERSION` writes it anew, "
        f"the versions there are: {versions}."
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

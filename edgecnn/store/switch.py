"""Which of the installed versions is active: activate one, go back to the one before, remove one, list them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.artifact.files import sync_folder, unwritable
from edgecnn.artifact.spec import ModelSpec
from edgecnn.artifact.unpacked import open_unpacked
from edgecnn.device.trial import try_model
from edgecnn.errors import ArtifactRejected, DowngradeRefused, InputMissing, StoreError, UsageError
from edgecnn.store.lock import WAIT_S, Say, locked
from edgecnn.store.places import Place, default_store, models, no_model, parse
from edgecnn.store.starts import forget_deaths
from edgecnn.store.state import State, read_state, write_state
from edgecnn.store.sweep import sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """What is active now and was before. unpacked: its files were brought in now; skipped: why versions before `before` were passed over."""

    name: str
    version: str
    before: str | None
    unpacked: bool = False
    downgrade: bool = False
    skipped: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.version != self.before


def activate(
    reference: str, *, store: Path | str | None = None, allow_downgrade: bool = False, wait_s: float = WAIT_S, say: Say | None = None
) -> Switched:
    """Make NAME@VERSION, which is installed, the active version, once it has given its golden answers here.

    One that was rolled back from is taken, too; a state that was damaged is written anew. The rest as for `install`.
    Raises StoreError, DowngradeRefused, what `try_model` raises, StoreBusy or OutputNotWritable.
    """
    place, version = _exactly(reference, store)
    folder = place.version(version)
    with _changing(place, wait_s, say):
        state = _state_or_new(place)
        _check_installed(place, state, version)
        with open_unpacked(folder) as bundle:
            bundle.verify()
            spec = bundle.manifest.spec
        if state.active == version:
            forget_deaths(place, version)
            sync_folder(place.folder)  # whoever made it so may have been killed before
            return Switched(name=place.name, version=version, before=version)
        downgrade = check_not_lower(spec, place, state, allow_downgrade=allow_downgrade)
        try_model(folder)
        forget_deaths(place, version)
        write_state(place, state.with_active(version, what="activated", downgrade=downgrade))
        return Switched(name=place.name, version=version, before=state.active, downgrade=downgrade)


def rollback(
    name: str,
    *,
    reason: str = "asked for",
    store: Path | str | None = None,
    wait_s: float = WAIT_S,
    say: Say | None = None,
    unless: Callable[[State], bool] = lambda _: False,
) -> Switched:
    """Make the version active that was so before this one, whatever its sequence; this one is set aside with the reason.

    A version before that is damaged is passed over. unless: don't, where the state is found to be so once nobody else can change it.
    Raises StoreError where there is none before, StoreBusy or OutputNotWritable.
    """
    place = Place(store=default_store() if store is None else Path(store), name=name)
    with _changing(place, wait_s, say):
        state = read_state(place)
        if state.active is None:
            raise StoreError(f"{place.store} has no active version of {name}, so there is nothing to roll back.")
        if unless(state):
            return Switched(name=name, version=state.active, before=state.active)
        skipped = []
        for version in state.previous:
            try:
                with open_unpacked(place.version(version)) as bundle:
                    bundle.verify()
            except (ArtifactRejected, InputMissing) as error:
                skipped.append(str(error))
                continue
            forget_deaths(place, version)
            write_state(place, state.rolled_back(version, reason))
            forget_deaths(place, state.active)
            return Switched(name=name, version=version, before=state.active, skipped=tuple(skipped))
        why = f" ({' '.join(skipped)})" if skipped else ""
        raise StoreError(f"{name}@{state.active} has no whole version before it to go back to{why}; install one.")


def remove(reference: str, *, store: Path | str | None = None, wait_s: float = WAIT_S, say: Say | None = None) -> None:
    """Delete NAME@VERSION, which isn't the active one. Raises StoreError, StoreBusy or OutputNotWritable."""
    place, version = _exactly(reference, store)
    with _changing(place, wait_s, say):
        state = read_state(place)
        _check_installed(place, state, version)
        if state.active == version:
            raise StoreError(f"{reference} is the active version, which isn't removed; activate another one first.")
        write_state(place, state.without(version))
        sweep(place.store)  # what no state speaks of


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A version in the store. spec, quantization, size (of its file, in bytes) and validated are None where it is `damaged`, which says how;
    set_aside: why it was rolled back from."""

    version: str
    active: bool
    spec: ModelSpec | None = None
    quantization: str | None = None
    size: int | None = None
    validated: bool | None = None
    set_aside: str | None = None
    damaged: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A model in the store; state is None where it is `damaged`, which says how."""

    name: str
    versions: tuple[Installed, ...]
    state: State | None
    damaged: str | None = None


def installed(*, store: Path | str | None = None) -> tuple[Listed, ...]:
    """The models in the store, by name, with their versions. Manifests are read, members are not. Raises StoreError."""
    listed = (_listed(place) for place in models(default_store() if store is None else Path(store)))
    return tuple(found for found in listed if found.versions or found.damaged)


def _listed(place: Place) -> Listed:
    try:
        state, damaged = read_state(place), None
    except StoreError as error:
        state, damaged = None, str(error)
    versions = state.installed if state is not None else place.versions()
    return Listed(name=place.name, versions=tuple(_installed(place, state, version) for version in versions), state=state, damaged=damaged)


def _installed(place: Place, state: State | None, version: str) -> Installed:
    active = state is not None and state.active == version
    set_aside = state.set_aside.get(version) if state is not None else None
    try:
        with open_unpacked(place.version(version)) as bundle:
            manifest, size = bundle.manifest, bundle.file_size
    except (ArtifactRejected, InputMissing, StoreError) as error:
        return Installed(version=version, active=active, set_aside=set_aside, damaged=str(error))
    return Installed(
        version=version,
        active=active,
        spec=manifest.spec,
        quantization=manifest.quantization,
        size=size,
        validated=manifest.validated,
        set_aside=set_aside,
    )


@contextlib.contextmanager
def _changing(place: Place, wait_s: float, say: Say | None) -> Iterator[None]:
    """The lock, left-overs swept. Raises StoreError where there is no such model, StoreBusy or OutputNotWritable."""
    if not place.folder.is_dir():
        raise no_model(place)
    with locked(place.store, wait_s=wait_s, say=say):
        sweep(place.store)
        try:
            yield
        except OSError as error:
            raise unwritable(place.folder, error) from error


def _exactly(reference: str, store: Path | str | None) -> tuple[Place, str]:
    name, version = parse(reference)
    place = Place(store=default_store() if store is None else Path(store), name=name)
    if version is None:
        there = ", ".join(place.versions()) or "none"
        raise UsageError(f"{reference!r} doesn't say which version; NAME@VERSION was wanted, there are: {there}.")
    return place, version


def _state_or_new(place: Place) -> State:
    """The state; one that names the versions which lie there, none of them active, where it was damaged."""
    try:
        return read_state(place)
    except StoreError:
        return State(installed=place.versions())


def _check_installed(place: Place, state: State, version: str) -> None:
    if version not in state.installed:
        there = ", ".join(state.installed) or "none"
        raise StoreError(f"{place.store} has no version {version[:80]!r} of {place.name}; there are: {there}.")


def check_not_lower(spec: ModelSpec, place: Place, state: State, *, allow_downgrade: bool) -> bool:
    """Whether `spec` has a lower sequence than the active version, which must be allowed. Raises DowngradeRefused.

    An active version that is damaged can't forbid to be replaced.
    """
    if state.active is None:
        return False
    try:
        with open_unpacked(place.version(state.active)) as bundle:
            active = bundle.manifest.spec
    except (ArtifactRejected, InputMissing):
        return False
    if spec.sequence >= active.sequence:
        return False
    if not allow_downgrade:
        raise DowngradeRefused(
            f"{spec.name}@{spec.version} has the sequence {spec.sequence}, lower than {active.sequence} of {active.version}, which is active; "
            f"--allow-downgrade takes it all the same."
        )
    return True

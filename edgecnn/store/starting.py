"""Start a program with a model of the store: the active version, or the one before where it keeps killing its process."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgecnn.errors import MissingHere, SignatureRejected, StoreError, UsageError
from edgecnn.store.lock import Say
from edgecnn.store.places import Place, default_store, no_model, parse
from edgecnn.store.starts import MOST_DEATHS, Mark, deaths
from edgecnn.store.state import State, read_state

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgecnn.device.engines import Engine, TensorInfo
    from edgecnn.device.model import Model

_WAIT_S = 5.0
"""A start doesn't wait longer for a store that is being changed, and takes the version that is active."""


class Start:
    """A version that was chosen, and the watch over it until its first answer. A context manager: what ends it without an answer, be it the end of
    the program, an interrupt, or an input that can't be read, isn't held against the version; a model that can't be loaded, an engine that
    fails and the process's death are.
    """

    def __init__(self, place: Place, version: str) -> None:
        """`start` is the way to get one."""
        self.reference = f"{place.name}@{version}"
        self.folder = place.version(version)
        self._mark = Mark(place, version)

    def __enter__(self) -> Start:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.forget()

    def forget(self) -> None:
        """It ends here, through no fault of the version."""
        self._mark.forget()

    def load(self, *, threads: int | None = None, trust_key: Path | str | None = None, engine: str = "ort") -> Model:
        """The model, which ends the watch by its first answer. Raises what `edgecnn.load` does."""
        from edgecnn.device.model import open_model

        if trust_key is not None:
            self._check_key(Path(trust_key))
        with _blamed(self._mark):
            model = open_model(self.folder, threads=threads, trust_key=trust_key, engine=engine)
        watched: Engine = _Watched(model.session.engine, self._mark)
        return replace(model, session=replace(model.session, engine=watched))

    def _check_key(self, key: Path) -> None:
        """A key that is missing or no key is no fault of the version."""
        from edgecnn.sign.keys import load_public_key

        try:
            load_public_key(key)
        except BaseException:
            self.forget()
            raise


def start(reference: str, *, store: Path | str | None = None, say: Say | None = None) -> Start:
    """Choose the version of NAME that is active, or NAME@VERSION whichever is.

    Where the last three starts of the active one died before their first answer, the version before becomes active instead, with the reason in
    the store's record; `say` is told in one line, and also where there is none before. Raises StoreError where there is no such version, UsageError.
    """
    place, version = _chosen(reference, store)
    if "@" not in reference and deaths(place, version) >= MOST_DEATHS:
        version = _roll_back(place, version, say)
    return Start(place, version)


def locate(reference: str, *, store: Path | str | None = None) -> Path:
    """The folder of the version of NAME that is active, or of NAME@VERSION. Raises as `start` does."""
    place, version = _chosen(reference, store)
    return place.version(version)


def load(reference: str, *, store: Path | str | None = None, threads: int | None = None, trust_key: Path | str | None = None) -> Model:
    """`edgecnn.load` for NAME (its active version) or NAME@VERSION of a store.

    A program that ends itself before the first answer isn't held against the version, nor are interrupts; SIGTERM is, unless the program handles it.
    What `start` has to tell goes to the log "edgecnn". Raises what `start` and `edgecnn.load` raise.
    """
    import logging

    from edgecnn.device.model import notices

    log = logging.getLogger("edgecnn")
    begun = start(reference, store=store, say=log.warning)
    try:
        model = begun.load(threads=threads, trust_key=trust_key)
    except BaseException:
        begun.forget()
        raise
    weakref.finalize(model.session.engine, begun.forget)  # also when the program ends
    for told in notices(begun.reference, model):
        log.warning(told)
    return model


def _chosen(reference: str, store: Path | str | None) -> tuple[Place, str]:
    name, version = parse(reference)
    place = Place(store=default_store() if store is None else Path(store), name=name)
    if not place.folder.is_dir():
        raise no_model(place)
    if version is None:
        return place, _active(place)
    if not place.version(version).is_dir():
        there = ", ".join(place.versions()) or "none"
        raise StoreError(f"{place.store} has no version {version[:80]!r} of {name}; there are: {there}.")
    return place, version


def _active(place: Place) -> str:
    active = read_state(place).active
    if active is None:
        there = ", ".join(place.versions()) or "none"
        raise StoreError(
            f"{place.store} has no active version of {place.name}; `edgecnn store activate {place.name}@VERSION` makes one so, there are: {there}."
        )
    return active


def _roll_back(place: Place, version: str, say: Say | None) -> str:
    """The version to start instead of one that keeps dying; that one where there is no other."""
    from edgecnn.store.switch import rollback

    reason = f"{deaths(place, version)} starts in a row died before their first answer"

    def settled(state: State) -> bool:
        """Somebody else saw it first."""
        return state.active != version or deaths(place, version) < MOST_DEATHS

    try:
        switched = rollback(place.name, reason=reason, store=place.store, wait_s=_WAIT_S, unless=settled)
    except (StoreError, MissingHere) as error:
        told = f"{place.name}@{version} stays active, though {reason}: {error}"
    else:
        told = f"{place.name}@{version} was rolled back to {place.name}@{switched.version}: {reason}"
        version = switched.version
        if not switched.changed:
            return version
    if say is not None:
        say(told)
    return version


@contextlib.contextmanager
def _blamed(mark: Mark) -> Iterator[None]:
    """What goes wrong inside counts as a death of the version, unless the fault is the caller's or this machine's."""
    try:
        yield
    except (UsageError, MissingHere, SignatureRejected):
        mark.forget()
        raise
    except Exception:
        mark.leave()
        raise


class _Watched:
    """An engine until its first answer, which it tells the mark; from then on its methods are the inner engine's own."""

    def __init__(self, engine: Engine, mark: Mark) -> None:
        self._engine, self._mark = engine, mark

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self._engine.outputs

    @property
    def provider(self) -> str:
        return self._engine.provider

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def threads(self) -> int:
        return self._engine.threads

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        with _blamed(self._mark):
            found = self._engine.run(feeds)
        self._answered()
        return found

    def run_one(self, x: NDArray[Any]) -> NDArray[Any]:
        with _blamed(self._mark):
            found = self._engine.run_one(x)
        self._answered()
        return found

    def _answered(self) -> None:
        self._mark.answered()
        self.run = self._engine.run  # type: ignore[method-assign]
        self.run_one = self._engine.run_one  # type: ignore[method-assign]

"""Stores to be tried: tiny artifacts, a trial without a child, and what must hold after whatever happened."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

from edgecnn import store as stores
from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.artifact.unpacked import open_unpacked
from edgecnn.errors import StoreError
from edgecnn.store.places import Place
from edgecnn.store.state import read_state
from tests.artifact.samples import pack_sample, spec
from tests.fixtures.artifacts import tiny_artifact
from tests.store.calls import Call, recorded

NAME = "tiny"


def sample(folder: Path, version: str, *, sequence: int = 0, name: str = NAME, signed: bool = False) -> Path:
    """An artifact whose bytes differ from those of other versions."""
    path = folder / f"{name}-{version}.edgecnn"
    pack_sample(path, spec=spec(name=name, version=version, sequence=sequence))
    if signed:
        Path(f"{path}.sig").write_bytes(b"a signature of " + version.encode())
    return path


def runnable(folder: Path, version: str) -> Path:
    """An artifact whose golden answers are its own, so that it passes a real trial."""
    described = make_spec(name=NAME, version=version, labels=("cat", "dog", "plane"), preprocess=Preprocess(size=(8, 8)))
    return tiny_artifact(folder / f"{version}.edgecnn", spec=described)


@contextlib.contextmanager
def tried_here() -> Iterator[None]:
    """A model is tried by reading it. The real trial starts a process, which takes hundreds of milliseconds."""

    def read(path: Path) -> None:
        with open_unpacked(path) as bundle:
            bundle.verify()

    with (
        patch("edgecnn.store.installing.try_model", read),
        patch("edgecnn.store.switch.try_model", read),
        patch("edgecnn.store.state._now", lambda: "2026-01-01T00:00:00Z"),
    ):
        yield


@contextlib.contextmanager
def unflushed() -> Iterator[None]:
    """Nothing waits for the disk: for what isn't about that."""
    with patch("os.fsync", lambda _: None):
        yield


def active(store: Path, name: str = NAME) -> str | None:
    """The active version, every byte of which is verified; None where there is none."""
    try:
        folder = stores.locate(name, store=store)
    except StoreError:
        return None
    with open_unpacked(folder) as bundle:
        bundle.verify()
        assert bundle.manifest.spec.version == folder.name
    return folder.name


def files(store: Path) -> set[str]:
    """All files and folders in the store."""
    return {str(path.relative_to(store)) for path in store.rglob("*")}


def contents(store: Path) -> frozenset[tuple[str, bytes | None]]:
    """Every file and folder with its content, names that are drawn by chance made alike: equal for stores in the same state."""
    return frozenset((_DRAWN.sub(r"\1X", str(path.relative_to(store))), path.read_bytes() if path.is_file() else None) for path in store.rglob("*"))


_DRAWN = re.compile(r"(\.incoming-|\.json\.|\.sig\.)\w+")


@cache
def expected_files(*artifacts: Path, name: str = NAME) -> frozenset[str]:
    """What lies in a store that holds these artifacts and nothing else."""
    wanted = {".lock", name, f"{name}/state.json"}
    for artifact in artifacts:
        with open_bundle(artifact) as bundle:
            version = bundle.manifest.spec.version
            members = [f"{name}/{version}/{member}" for member in bundle.names]
        wanted |= {f"{name}/{version}", *members}
        wanted |= {str(Path(member).parent) for member in members}
        if Path(f"{artifact}.sig").exists():
            wanted.add(f"{name}/{version}.sig")
    return frozenset(wanted)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A store before (`prepare`) and what is done to it; `before` and `after`: the active version then; `left`: of which versions it holds files
    after that and one more install of `new`."""

    name: str
    prepare: Callable[[Path, Path], object]
    act: Callable[[Path, Path], object]
    before: str | None
    after: str


def _install(version: str, **keywords: bool) -> Callable[[Path, Path], object]:
    return lambda store, made: stores.install(made / f"{NAME}-{version}.edgecnn", store=store, **keywords)


def _two(store: Path, made: Path) -> None:
    _install("1.0.0")(store, made)
    _install("2.0.0")(store, made)


def _rolled_back(store: Path, made: Path) -> None:
    _two(store, made)
    stores.rollback(NAME, store=store)


SCENARIOS = (
    Scenario(name="first", prepare=lambda *_: None, act=_install("2.0.0"), before=None, after="2.0.0"),
    Scenario(name="update", prepare=_install("1.0.0"), act=_install("2.0.0"), before="1.0.0", after="2.0.0"),
    Scenario(name="downgrade", prepare=_install("2.0.0"), act=_install("1.0.0", allow_downgrade=True), before="2.0.0", after="1.0.0"),
    Scenario(name="rollback", prepare=_two, act=lambda store, _: stores.rollback(NAME, store=store), before="2.0.0", after="1.0.0"),
    Scenario(
        name="activate", prepare=_rolled_back, act=lambda store, _: stores.activate(f"{NAME}@2.0.0", store=store), before="1.0.0", after="2.0.0"
    ),
    Scenario(name="remove", prepare=_two, act=lambda store, _: stores.remove(f"{NAME}@1.0.0", store=store), before="2.0.0", after="2.0.0"),
)
INSTALLS = SCENARIOS[:3]


def calls_of(scenario: Scenario, store: Path, made: Path) -> list[Call]:
    with tried_here(), unflushed():
        scenario.prepare(store, made)
        with recorded(store) as calls:
            scenario.act(store, made)
    return calls


def check_works(store: Path, made: Path, scenario: Scenario, *, done: bool = False) -> None:
    """The old version or the new one (`done`: the new one) is active and whole, another install works, and no left-over outlives it.

    The store is changed by this.
    """
    found = active(store)
    assert found in ({scenario.after} if done else {scenario.before, scenario.after}), scenario.name
    newest = made / f"{NAME}-3.0.0.edgecnn"
    with tried_here(), unflushed():
        assert stores.install(newest, store=store).version == "3.0.0"
    assert active(store) == "3.0.0"
    here = set(read_state(Place(store=store, name=NAME)).installed)
    assert here >= {"3.0.0", found} - {None}
    assert files(store) == expected_files(*(made / f"{NAME}-{version}.edgecnn" for version in sorted(here)))

"""The power is cut at any call: of what wasn't flushed nothing may be counted on, and yet the old version or the new one is active and whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn import store as stores
from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.device.golden import read_golden
from edgecnn.device.model import model_from
from tests.fixtures.artifacts import tiny_artifact
from tests.store.calls import Call, recorded
from tests.store.disks import Disk
from tests.store.stores import INSTALLS, SCENARIOS, Scenario, active, check_works, contents, tried_here, unflushed


def prepared(scenario: Scenario, folder: Path, made: Path) -> tuple[Disk, list[Call]]:
    """The disk that has the store on it as it was before, and the calls that the scenario makes."""
    folder.mkdir()
    with tried_here(), unflushed():
        scenario.prepare(folder / "store", made)
        disk = Disk(folder)
        with recorded(folder) as calls:
            scenario.act(folder / "store", made)
    return disk, calls


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_cut_at_every_call(scenario: Scenario, tmp_path: Path, made: Path, campaign: Callable[..., int]) -> None:
    disk, calls = prepared(scenario, tmp_path / "disk", made)
    seen = set()
    for at in range(len(calls) + 1):
        if at:
            disk.do(calls[at - 1])
        fates = [disk.lost(), disk.kept(), *(disk.some(1000 * at + seed) for seed in range(campaign(sample=3, full=100)))]
        for write in fates:
            write(tmp_path / "cut")
            store = tmp_path / "cut" / "store"
            state = contents(store)
            done = at == len(calls)
            if (state, done) not in seen:
                check_works(store, made, scenario, done=done)
            seen.add((state, done))
            shutil.rmtree(tmp_path / "cut")
    assert len(seen) > len(calls) // 2
    # the replay ends as the real calls did
    disk.kept()(tmp_path / "replayed")
    assert contents(tmp_path / "replayed") == contents(tmp_path / "disk")


def wrong(scenario: Scenario, tmp_path: Path, made: Path) -> int:
    """How many cuts with nothing kept but what was flushed leave another version active than they may, or none that is whole."""
    disk, calls = prepared(scenario, tmp_path / "disk", made)
    bad = 0
    for at, call in enumerate(calls, start=1):
        disk.do(call)
        disk.lost()(tmp_path / str(at))
        try:
            good = active(tmp_path / str(at) / "store") in ({scenario.after} if at == len(calls) else {scenario.before, scenario.after})
        except Exception:
            good = False
        bad += not good
    return bad


class OnlyFolders:
    """`os` as it is for somebody who flushes folders only."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.fsync(fd)


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_an_install_that_forgot_to_flush_would_be_found_out(forgotten: str, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above can fail."""
    update = SCENARIOS[1]
    (tmp_path / "right").mkdir()
    assert wrong(update, tmp_path / "right", made) == 0
    if forgotten == "folders":
        for module in ("edgecnn.artifact.files", "edgecnn.store.installing"):
            monkeypatch.setattr(f"{module}.sync_folder", lambda _: None)
    else:
        monkeypatch.setattr("edgecnn.artifact.files.os", OnlyFolders())
    (tmp_path / "wrong").mkdir()
    assert wrong(update, tmp_path / "wrong", made) > 0


class Killed(BaseException):
    pass


@pytest.mark.parametrize("scenario", [*INSTALLS[:2], SCENARIOS[4]], ids=lambda scenario: scenario.name)
def test_what_a_killed_process_did_not_flush_is_flushed_by_the_one_that_relies_on_it(scenario: Scenario, tmp_path: Path, made: Path) -> None:
    """Killed at any call, done again to its end, and then the power is cut."""
    count = len(prepared(scenario, tmp_path / "counted", made)[1])
    for at in range(count + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        with tried_here(), unflushed():
            scenario.prepare(folder / "store", made)
            disk = Disk(folder)
            with recorded(folder, die_after=at, by=Killed) as first, contextlib.suppress(Killed):
                scenario.act(folder / "store", made)
            assert len(first) == at
            with recorded(folder) as second:
                scenario.act(folder / "store", made)
        for call in (*first, *second):
            disk.do(call)
        disk.lost()(folder / "cut")
        assert active(folder / "cut" / "store") == scenario.after, f"killed after {at} of {count} calls"


def test_what_is_there_after_a_cut_really_runs(tmp_path: Path, made: Path) -> None:
    """A whole model, and the engine: at the cuts around which the version changes."""

    def artifact(version: str) -> Path:
        spec = make_spec(name="tiny", version=version, labels=("cat", "dog", "plane"), preprocess=Preprocess(size=(8, 8)))
        return tiny_artifact(tmp_path / f"{version}.edgecnn", spec=spec)

    old, new = artifact("1.0.0"), artifact("2.0.0")
    (tmp_path / "disk").mkdir()
    with unflushed():
        stores.install(old, store=tmp_path / "disk")
        disk = Disk(tmp_path / "disk")
        with recorded(tmp_path / "disk") as calls:
            stores.install(new, store=tmp_path / "disk")
    found: list[str] = []
    for at, call in enumerate(calls, start=1):
        disk.do(call)
        place = tmp_path / str(at)
        disk.lost()(place)
        version = active(place)
        assert version is not None
        if found[-1:] != [version]:
            found.append(version)
            model = stores.load("tiny", store=place, threads=1)
            with open_bundle(tmp_path / f"{version}.edgecnn") as packed:
                image = read_golden(packed).inputs[:1]
                assert np.array_equal(model.logits(image), model_from(packed, threads=1).logits(image))
    assert found == ["1.0.0", "2.0.0"]

"""The power is cut at any call: of what wasn't flushed nothing may be counted on, and yet the old version or the new one is active and whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn import store as stores
from edgecnn.artifact.bundle import open_bundle
from edgecnn.device.golden import read_golden
from edgecnn.device.model import model_from
from edgecnn.errors import EdgecnnError
from tests.store.calls import Call, recorded
from tests.store.disks import Disk
from tests.store.stores import INSTALLS, SCENARIOS, Scenario, active, check_works, contents, runnable, tried_here, unflushed


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


def test_an_install_without_any_one_of_its_flushes_would_be_found_out(tmp_path: Path, made: Path) -> None:
    """So that the test above can fail; and none of them is idle."""
    scenario = INSTALLS[2]
    (tmp_path / "disk").mkdir()
    with tried_here(), unflushed():
        scenario.prepare(tmp_path / "disk" / "store", made)
        shutil.copytree(tmp_path / "disk", tmp_path / "before")
        with recorded(tmp_path / "disk") as calls:
            scenario.act(tmp_path / "disk" / "store", made)

    def goes_wrong(done: list[Call]) -> bool:
        """At the end, or just before the last call, where both versions will do."""
        disk = Disk(tmp_path / "before")
        for at, call in enumerate(done):
            last = at == len(done) - 1
            if last and any(not holds(disk.some(seed), {scenario.before, scenario.after}) for seed in range(30)):
                return True
            disk.do(call)
        return not holds(disk.lost(), {scenario.after})

    def holds(write: Callable[[Path], None], allowed: set[str | None]) -> bool:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        write(tmp_path / "cut")
        try:
            return active(tmp_path / "cut" / "store") in allowed
        except EdgecnnError:
            return False

    flushes = [at for at, call in enumerate(calls) if call.name == "fsync"]
    assert len(flushes) >= 10
    assert not goes_wrong(calls)
    for at in flushes:
        assert goes_wrong(calls[:at] + calls[at + 1 :]), f"nothing was lost without {calls[at]}"


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

    old, new = runnable(tmp_path, "1.0.0"), runnable(tmp_path, "2.0.0")
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

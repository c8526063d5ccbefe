"""SIGKILL at any point: the old version or the new one is active and whole, and what is left is swept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import StoreError
from edgecnn.store import locate
from tests.store.calls import Call, watched
from tests.store.stores import INSTALLS, NAME, SCENARIOS, Scenario, calls_of, check_works, contents, files, runnable, tried_here, unflushed

MOMENTS = ("before", "amid", "after")


def killed(scenario: Scenario, store: Path, made: Path, *, at: int, moment: str) -> None:
    """Do it in a process that kills itself before or after its call number `at`, or amid it, where that is a write and was half done."""
    child = os.fork()
    if not child:
        count = 0

        def around(call: Call, make: Callable[[], Any]) -> Any:
            nonlocal count
            count += 1
            if count - 1 != at:
                return make()
            if moment == "amid":
                os.pwrite(call.fd, call.data[: len(call.data) // 2], os.lseek(call.fd, 0, os.SEEK_CUR))
            if moment == "after":
                make()
            return os.kill(os.getpid(), signal.SIGKILL)

        try:
            with tried_here(), unflushed(), watched(store, around):
                scenario.act(store, made)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def points(calls: list[Call]) -> list[tuple[int, str]]:
    return [(at, moment) for at, call in enumerate(calls) for moment in MOMENTS if moment != "amid" or call.name == "write"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs nothing that other threads might hold
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_before_amid_and_after_every_call(scenario: Scenario, tmp_path: Path, made: Path) -> None:
    calls = calls_of(scenario, tmp_path / "recorded", made)
    with tried_here(), unflushed():
        scenario.prepare(tmp_path / "before", made)
    seen = set()
    for at, moment in points(calls):
        store = tmp_path / f"{at}{moment}"
        if scenario.before:
            shutil.copytree(tmp_path / "before", store)
        killed(scenario, store, made, at=at, moment=moment)
        state = contents(store)
        if state not in seen:  # two moments may leave the same
            check_works(store, made, scenario, done=(at, moment) == (len(calls) - 1, "after"))
        seen.add(state)
        shutil.rmtree(store, ignore_errors=True)
    assert len(seen) > 3, "the process died in different states"


def test_there_are_more_than_two_hundred_such_points_in_an_install(tmp_path: Path, made: Path) -> None:
    assert sum(len(points(calls_of(scenario, tmp_path / scenario.name, made))) for scenario in INSTALLS) >= 200


def test_the_command_killed_at_any_moment(tmp_path: Path, campaign: Callable[..., int]) -> None:
    """The real one, with the trial's child, at moments spread from its start to its end: 6 of them, 200 with --full."""
    old, new = (runnable(tmp_path, version) for version in ("1.0.0", "2.0.0"))
    command = [sys.executable, "-m", "edgecnn", "store", "install"]
    store = tmp_path / "store"
    start = time.monotonic()
    subprocess.run([*command, old, "--store", store], check=True, capture_output=True)
    whole = time.monotonic() - start
    draw = random.Random(7)
    outcomes = set()
    count = campaign(sample=6, full=200)
    for number in range(count):
        place = tmp_path / "tried"
        shutil.copytree(store, place)
        process = subprocess.Popen([*command, new, "--store", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (number + draw.random()) / count)
        process.kill()
        process.wait()
        outcomes.add(locate(NAME, store=place).name)
        done = subprocess.run([sys.executable, "-m", "edgecnn", "validate", NAME, "--store", place], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([*command, new, "--store", place], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert locate(NAME, store=place).name == "2.0.0"
        assert not [name for name in files(place) if "incoming" in name or ".part" in name]
        shutil.rmtree(place)
    assert outcomes <= {"1.0.0", "2.0.0"}


def test_nothing_is_found_where_nothing_was_installed(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no model 'tiny'"):
        locate(NAME, store=tmp_path / "store")

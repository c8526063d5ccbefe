"""A disk that fills up or fails at any call: one sentence, the old version or the new one, and nothing left that another command doesn't sweep."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import MissingHere, OutputNotWritable
from edgecnn.store import install
from tests.store.calls import Call, watched
from tests.store.stores import SCENARIOS, Scenario, active, calls_of, check_works, contents, tried_here, unflushed

NEVER_FULL = ("unlink", "rmdir", "fsync", "chmod")
"""What a full disk doesn't keep from being done; an fsync may well say so, of what was written before."""


def failing(code: int, at: int, *, for_good: bool) -> Callable[[Call, Callable[[], Any]], Any]:
    count = 0

    def around(call: Call, make: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        later = for_good and count - 1 > at and not (code == errno.ENOSPC and call.name in NEVER_FULL)
        if count - 1 == at or later:
            raise OSError(code, os.strerror(code))
        return make()

    return around


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "failing"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_fails(scenario: Scenario, code: int, for_good: bool, tmp_path: Path, made: Path) -> None:
    count = len(calls_of(scenario, tmp_path / "recorded", made))
    with tried_here(), unflushed():
        scenario.prepare(tmp_path / "before", made)
    seen = set()
    said = []
    for at in range(count):
        store = tmp_path / str(at)
        if scenario.before:
            shutil.copytree(tmp_path / "before", store)
        done = False
        with tried_here(), unflushed(), watched(store, failing(code, at, for_good=for_good)):
            try:
                scenario.act(store, made)
                done = True
            except OutputNotWritable as error:
                said.append(str(error))
        state = contents(store)
        if (state, done) not in seen:
            check_works(store, made, scenario, done=done)
        seen.add((state, done))
        shutil.rmtree(store, ignore_errors=True)
    assert len(said) >= count // 2
    assert all("can't be written" in message and ("the disk is full" in message) == (code == errno.ENOSPC) for message in said)


def test_a_failed_install_leaves_nothing_behind(tmp_path: Path, made: Path) -> None:
    """Not even until the next one: a full disk is freed at once."""
    update = SCENARIOS[1]
    with tried_here(), unflushed():
        update.prepare(tmp_path / "store", made)
        before = contents(tmp_path / "store")
        count = len(calls_of(update, tmp_path / "recorded", made))
        for at in range(1, count - 2):  # the last renames the state, and flushes it
            with pytest.raises(OutputNotWritable), watched(tmp_path / "store", failing(errno.ENOSPC, at, for_good=False)):
                update.act(tmp_path / "store", made)
            assert contents(tmp_path / "store") == before


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tried_here(), unflushed():
        install(made / "tiny-1.0.0.edgecnn", store=tmp_path)
        before = contents(tmp_path)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(OutputNotWritable, match=r"needs 1\.1 MB in .*, where 0\.0 MB are free; free some space"):
            install(made / "tiny-2.0.0.edgecnn", store=tmp_path)
    assert contents(tmp_path) == before
    assert active(tmp_path) == "1.0.0"


@pytest.mark.parametrize("place", ["file", "file/store"])
def test_a_store_that_can_not_be_made_is_said(place: str, tmp_path: Path, made: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MissingHere, match="can't be written"):
        install(made / "tiny-1.0.0.edgecnn", store=tmp_path / place)

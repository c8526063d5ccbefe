"""Which pictures of a watched folder are new and whole, by a clock that the tests turn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgecnn.device.watch import PATIENCE_S, Watch
from edgecnn.errors import ImageRejected, InputMissing


class Clock:
    """Looks, one step after the other; what comes is answered at once unless `unreadable`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.watch, self.now = folder, Watch(str(folder)), 0.0

    def look(self, *, unreadable: bool = False) -> list[str]:
        """The pictures that were answered, or given up."""
        self.now += 0.2
        answered = []
        for arrival in self.watch.look(self.now):
            if arrival.final or not unreadable:
                self.watch.done(arrival)
                answered.append(os.path.relpath(arrival.path, self.folder))
        return answered

    def looks(self, count: int, *, unreadable: bool = False) -> list[str]:
        return [name for _ in range(count) for name in self.look(unreadable=unreadable)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def put(path: Path, text: str, *, age: int = 0) -> None:
    path.write_text(text)
    os.utime(path, ns=(10**18 - age, 10**18 - age))


def test_what_is_there_is_no_news_and_what_comes_is_given_once_oldest_first(folder: Path) -> None:
    put(folder / "old.png", "x")
    clock = Clock(folder)
    put(folder / "b.png", "x", age=2)
    put(folder / "a.png", "x", age=1)
    (folder / "day").mkdir()
    put(folder / "day" / "c.JPG", "x", age=0)
    for other in ("notes.txt", ".hidden.png", "d.png.part"):
        put(folder / other, "x")
    os.mkfifo(folder / "pipe.png")
    (folder / "nowhere.png").symlink_to("gone")
    assert clock.looks(5) == ["b.png", "a.png", "day/c.JPG"]


def test_a_picture_that_grows_is_waited_for(folder: Path) -> None:
    clock = Clock(folder)
    for size in range(1, 6):
        (folder / "slow.png").write_text("x" * size)
        assert clock.look() == []
    assert clock.looks(3) == ["slow.png"]


def test_one_that_can_not_be_read_is_given_up_after_a_while_and_again_when_it_changes(folder: Path) -> None:
    clock = Clock(folder)
    put(folder / "cut.png", "x")
    patient = int(PATIENCE_S / 0.2)
    assert clock.looks(patient, unreadable=True) == []
    assert clock.looks(3, unreadable=True) == ["cut.png"]
    put(folder / "cut.png", "xy")
    assert clock.looks(3) == ["cut.png"]


def test_overwritten_or_renamed_into_place_it_is_another_one(folder: Path) -> None:
    put(folder / "latest.png", "1")
    clock = Clock(folder)
    put(folder / "latest.png", "22", age=5)
    assert clock.looks(3) == ["latest.png"]
    put(folder / ".next", "33", age=5)  # the same size and time
    os.replace(folder / ".next", folder / "latest.png")
    assert clock.looks(3) == ["latest.png"]


def test_a_folder_that_comes_back_brings_no_old_news(folder: Path) -> None:
    (folder / "day").mkdir()
    put(folder / "day" / "old.png", "x")
    clock = Clock(folder)
    put(folder / "answered.png", "x")
    assert clock.looks(3) == ["answered.png"]
    away = folder.with_name("away")
    folder.rename(away)
    assert clock.looks(3) == []
    folder.mkdir()  # where a disk was mounted there is an empty folder
    assert clock.looks(3) == []
    folder.rmdir()
    away.rename(folder)
    put(folder / "new.png", "x")
    assert clock.looks(3) == ["new.png"]


def test_a_subfolder_that_can_not_be_looked_into_brings_no_old_news(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "day").mkdir()
    put(folder / "day" / "old.png", "x")
    put(folder / "old.png", "x")
    clock, scandir = Clock(folder), os.scandir

    def failing(path: str) -> Any:
        if path.endswith("day"):
            raise PermissionError(path)
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", failing)
        put(folder / "new.png", "x")
        assert clock.looks(4) == ["new.png"]
    assert clock.looks(3) == []


def test_a_folder_that_is_made_anew_is_watched_on(folder: Path) -> None:
    put(folder / "a.png", "x")
    clock = Clock(folder)
    folder.rename(folder.with_name("away"))
    assert clock.look() == []
    folder.mkdir()
    put(folder / "a.png", "y")
    assert clock.looks(3) == ["a.png"]


def test_one_taken_away_before_it_was_whole_is_forgotten(folder: Path) -> None:
    clock = Clock(folder)
    put(folder / "a.png", "x")
    clock.look()
    (folder / "a.png").unlink()
    assert clock.looks(3) == []


def test_more_at_once_than_are_waited_for_come_all_the_same(folder: Path) -> None:
    clock = Clock(folder)
    for i in range(2500):
        (folder / f"{i}.png").touch()
    assert sorted(clock.looks(10)) == sorted(f"{i}.png" for i in range(2500))


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="doesn't exist"):
        Watch(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(ImageRejected, match="is a file"):
        Watch(str(tmp_path / "file"))

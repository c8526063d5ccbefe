"""Offline: as many images at a time as the graph takes, or as many sessions as threads."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from edgecnn.device.bench import offline
from edgecnn.device.measure import open_subject
from tests.fixtures.artifacts import color_artifact


def test_every_session_runs_alike_in_a_round_on_a_thread_of_its_own() -> None:
    done: Counter[int] = Counter()
    threads: set[str] = set()

    def session(number: int) -> object:
        done[number] += 1
        name = threading.current_thread().name
        if name.startswith("session"):
            threads.add(name)
        return None

    run, images, sessions = offline.together([lambda number=number: session(number) for number in range(3)])  # type: ignore[misc]
    assert sessions == 3
    before = Counter(done)
    run()
    rounds = done - before
    assert set(rounds.values()) == {images // 3}
    assert threads


@pytest.mark.parametrize(("batch", "images", "sessions"), [("batch", offline.OPEN_BATCH, 1), (4, 4, 1), (1, 1, 1)])
def test_one_thread_takes_as_many_images_as_the_graph_does(tmp_path: Path, batch: int | str, images: int, sessions: int) -> None:
    subject = open_subject(color_artifact(tmp_path / "colors.edgecnn", batch=batch), threads=1, scenario="offline")
    assert (subject.batch, subject.sessions, subject.scenario) == (images, sessions, "offline")
    subject.run()


def test_one_image_at_a_time_on_two_threads_is_two_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecnn.device import engines

    monkeypatch.setattr(engines, "available_cores", lambda: 2)
    subject = open_subject(color_artifact(tmp_path / "colors.edgecnn", batch=1), threads=2, scenario="offline")
    assert (subject.sessions, subject.threads) == (2, 2)
    assert subject.batch % 2 == 0
    subject.run()

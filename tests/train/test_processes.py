"""Several processes train as one, and end as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Started = Callable[[], "subprocess.Popen[str]"]
Moment = Callable[["subprocess.Popen[str]", Path], None]


@pytest.fixture
def started(recipe_file: Callable[..., Path], tmp_path: Path) -> Started:
    def start() -> subprocess.Popen[str]:
        recipe = recipe_file(**{"epochs = 3": "epochs = 100000"})
        arguments = ["train", str(recipe), "-o", str(tmp_path / "run"), "--devices", "2", "--threads", "2", "--json"]
        program = [sys.executable, "-m", "edgecnn", *arguments]
        return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    return start


def gone(group: int, *, seconds: float = 60) -> bool:
    """Whether every process of the group has ended, after waiting for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def started_training(process: subprocess.Popen[str], run: Path) -> None:
    assert process.stdout is not None
    assert '"epoch": 1' in process.stdout.readline()


def still_importing(process: subprocess.Popen[str], run: Path) -> None:
    while len(list(run.glob("images/validation-*.npy"))) < 1:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.7)


@pytest.mark.parametrize(("moment", "send"), [(still_importing, os.killpg), (started_training, os.kill)])
def test_ctrl_c_ends_all_of_them_with_one_line(moment: Moment, send: Callable[[int, int], None], started: Started, tmp_path: Path) -> None:
    """A terminal interrupts all of them, `kill -INT` the first alone."""
    process = started()
    moment(process, tmp_path / "run")
    send(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    said = err.splitlines()[-1]
    assert said.startswith("edgecnn: interrupted; go on with: edgecnn train ")
    assert said.endswith(" --resume --threads=2 --devices=2")
    assert err.count("edgecnn: ") == 1
    assert "Traceback" not in err
    assert gone(process.pid)
    assert not list((tmp_path / "run").glob("*part*"))


def test_none_outlives_the_first(started: Started, tmp_path: Path) -> None:
    process = started()
    started_training(process, tmp_path / "run")
    process.kill()
    process.communicate(timeout=120)
    assert gone(process.pid)


def test_one_that_the_system_ends_ends_all_with_a_sentence(started: Started, tmp_path: Path) -> None:
    process = started()
    started_training(process, tmp_path / "run")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    said = err.splitlines()[-1]
    assert said.startswith("edgecnn: Training process 1 was ended by SIGKILL, as happens when memory runs out;")
    assert "Traceback" not in err
    assert gone(process.pid)
    assert not list((tmp_path / "run").glob("*part*"))

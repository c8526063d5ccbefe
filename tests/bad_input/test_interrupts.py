"""Ctrl-C in every long command: exit code 130, one line, nothing half-written, no process left behind."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.build import pipeline
from edgecnn.cli import main
from tests.bad_input.conftest import DESCRIBED, contents

Recipe = Callable[..., Path]


def interrupted(*arguments: object, stream: str, until: str) -> tuple[str, str]:
    """Start the command line, wait for a line with `until` on a stream, press Ctrl-C as a terminal does; the rest of both streams."""
    program = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in getattr(process, stream):
            if until in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()  # not communicate(), which passes over what was read ahead of the line
        assert process.wait(timeout=120) == 130, err
    assert gone(process.pid), "a process is left behind"
    return out, err


def gone(group: int, seconds: float = 10.0) -> bool:
    """Whether no process of the group is left, before long: a child that dies of the same Ctrl-C may be reaped a moment later."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def many(made: Path, workplace: Path) -> Path:
    """A folder of far more pictures than a test has time for."""
    picture = next((made / "some" / "red").iterdir())
    (workplace / "many" / "red").mkdir(parents=True)
    for i in range(30_000):
        os.link(picture, workplace / "many" / "red" / f"{i:05d}.png")
    return workplace / "many"


def test_validating_on_a_collection(many: Path, workplace: Path) -> None:
    out, err = interrupted("validate", "old.edgecnn", "--data", many, stream="stdout", until="reference's answers")
    assert (out, err) == ("", "edgecnn: interrupted\n")


def test_running_over_a_folder(many: Path, workplace: Path) -> None:
    out, err = interrupted("run", "old.edgecnn", many, "--json", stream="stdout", until="00100.png")
    assert err == "edgecnn: interrupted\n"
    assert all(line.startswith("{") and line.endswith("}") for line in out.splitlines())


def test_exporting_while_the_simplifier_works(made: Path, workplace: Path) -> None:
    before = contents(workplace)
    out, err = interrupted("export", made / "colors.onnx", "-o", "old.edgecnn", *DESCRIBED, stream="stderr", until="export")
    assert (out, err) == ("", "edgecnn: interrupted\n")
    assert contents(workplace) == before


@pytest.mark.parametrize("stage", pipeline.STAGES)
@pytest.mark.parametrize("kind", ["start", "progress"])
def test_exporting_in_each_stage(
    stage: str, kind: str, made: Path, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told:
        """Presses Ctrl-C when the command is told of the stage."""

        def __init__(self, **_: object) -> None: ...

        def __enter__(self) -> Told:
            return self

        def __exit__(self, *_: object) -> None: ...

        def __call__(self, event: pipeline.Event) -> None:
            if event.stage == stage and event.kind in (kind, "end"):
                signal.raise_signal(signal.SIGINT)

    import edgecnn.cli._export as command

    monkeypatch.setattr(command, "_Stages", Told)
    before = contents(workplace)
    images = ["--calibration", made / "some", "--validation", made / "others"]
    arguments = ["export", made / "colors.onnx", "-o", "old.edgecnn", *DESCRIBED, "--quantize", "int8", *images]
    code = main([str(argument) for argument in arguments])
    assert (code, *capfd.readouterr()) == (130, "", "edgecnn: interrupted\n")
    if (stage, kind) == ("pack", "progress"):  # it is told at its end, when the file is whole and in its place
        before["old.edgecnn"] = (workplace / "old.edgecnn").read_bytes()
    assert contents(workplace) == before


SWALLOWS = """
import signal
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise {error}
        return x.mean((2, 3))
"""


@pytest.mark.parametrize("error", ["ImportError('initialization failed') from error", "AttributeError('half imported') from None"])
def test_an_interrupt_that_a_library_made_another_error_of(error: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (workplace / "net.py").write_text(SWALLOWS.format(error=error))
    before = contents(workplace)
    assert main(["export", "net.py:Net", "--input-size", "8x8", "-o", "old.edgecnn"]) == 130
    assert capfd.readouterr() == ("", "edgecnn: interrupted\n")
    assert contents(workplace) == before


def test_a_run_after_an_interrupted_one_has_forgotten_it(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    test_an_interrupt_that_a_library_made_another_error_of("ValueError('x') from None", workplace, capfd)
    assert main(["inspect", "gone.edgecnn"]) == 3
    assert "doesn't exist" in capfd.readouterr().err


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_who_handles_ctrl_c_otherwise_keeps_doing_so(handler: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecnn.device import model

    seen = []

    def opened(*_: Any, **__: Any) -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("and went on")

    monkeypatch.setattr(model, "open_model", opened)
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert main(["run", "old.edgecnn", "a.png"]) == 70
        assert seen == [handler]
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_says_in_one_line_how_to_go_on(workplace: Path, recipe_file: Recipe) -> None:
    (workplace / "a run").mkdir()
    run = ["train", str(recipe_file()), "-o", "a run"]
    again = [*run, "--resume", "--set=schedule.epochs=100000", "--threads=1"]
    line = f"edgecnn: interrupted; go on with: {shlex.join(['edgecnn', *again])}\n"
    _, err = interrupted(*run, *again[5:], "--json", stream="stdout", until='"epoch": 2')
    assert err == line
    assert not any("part" in name or "model" in name for name in contents(workplace / "a run"))
    _, err = interrupted(*again, "--json", stream="stdout", until='"epoch"')
    assert err == line


def test_benchmarking_prints_what_there_is_marked_so(workplace: Path) -> None:
    """The progress line is for terminals, and tells when the timed runs have begun."""
    parent, child = pty.openpty()
    program = [sys.executable, "-m", "edgecnn", "bench", "old.edgecnn", "--threads", "1", "--min-seconds", "600", "--json", "--plot", "page.html"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=child, text=True, start_new_session=True)
    os.close(child)
    said = b""
    while b"measuring, 0%" not in said:
        said += os.read(parent, 4096)
    for _ in range(3):  # so many bursts later there are samples
        os.read(parent, 4096)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    os.close(parent)
    assert process.returncode == 130
    (facts,) = (json.loads(line) for line in out.splitlines())
    assert (facts["interrupted"], facts["valid"]) == (True, False)
    assert facts["runs"] == len(facts["samples_ns"]) == sum(facts["bursts"])
    assert "interrupted, partial figures" in (workplace / "page.html").read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_benchmarking_while_the_start_up_is_measured_leaves_no_process(workplace: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn", "bench", "old.edgecnn", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=child,
        text=True,
        start_new_session=True,
    )
    os.close(child)
    said = b""
    while b"in a process of its own" not in said:
        said += os.read(parent, 4096)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    os.close(parent)
    assert (process.returncode, out) == (130, "")

"""`edgecnn run --watch` and `--stream`: a process that answers what comes, for as long as it is wanted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from edgecnn.cli import main
from tests.fixtures.artifacts import COLORS, color_artifact, encode, solid

PICTURES = {color: encode(solid(color), "BMP") for color in COLORS}
Process = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(color_artifact(tmp_path_factory.mktemp("artifact") / "colors.edgecnn"))


@contextmanager
def running(*arguments: object, stdin: int | IO[bytes] = subprocess.PIPE) -> Iterator[Process]:
    program = [sys.executable, "-m", "edgecnn", "run", *map(str, arguments)]
    with subprocess.Popen(program, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def watching(artifact: str, folder: Path) -> Iterator[Process]:
    with running(artifact, "--watch", folder) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"edgecnn: watching {folder}\n".encode()
        yield process


def line(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def send(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)


def framed(image: bytes) -> bytes:
    return len(image).to_bytes(4, "big") + image


def ended(process: Process) -> tuple[int, bytes, bytes]:
    """Exit code and what else was said, after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def resident(process: Process) -> int:
    """Bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(text.split()[1]) for text in status.splitlines() if text.startswith("VmRSS:"))


def unread(process: Process) -> int:
    """Bytes that wait in the pipe of its answers."""
    assert process.stdout is not None
    return int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def labelled(told: dict[str, Any]) -> tuple[str, str]:
    return told["input"], told["label"]


# A folder


def test_each_new_image_of_a_folder_is_a_line_until_sigterm(artifact: str, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(PICTURES["red"])
    with watching(artifact, tmp_path) as process:
        (tmp_path / "a.bmp").write_bytes(PICTURES["green"])
        told = line(process)
        assert list(told) == ["schema", "input", "task", "label", "labels", "score", "top", "ms"]
        assert labelled(told) == (str(tmp_path / "a.bmp"), "green")
        (tmp_path / ".part").write_bytes(PICTURES["blue"])
        os.rename(tmp_path / ".part", tmp_path / "a.bmp")
        assert labelled(line(process)) == (str(tmp_path / "a.bmp"), "blue")
        assert ended(process) == (0, b"", b"")


def test_half_a_file_is_waited_for_and_one_that_can_not_be_read_is_a_line(artifact: str, tmp_path: Path) -> None:
    with watching(artifact, tmp_path) as process:
        with open(tmp_path / "slow.bmp", "wb", buffering=0) as file:
            file.write(PICTURES["red"][:500])
            (tmp_path / "other.bmp").write_bytes(PICTURES["blue"])
            assert labelled(line(process)) == (str(tmp_path / "other.bmp"), "blue")
            file.write(PICTURES["red"][500:])
        assert labelled(line(process)) == (str(tmp_path / "slow.bmp"), "red")
        (tmp_path / "bad.jpg").write_bytes(b"no image")
        bad = str(tmp_path / "bad.jpg")
        assert line(process) == {"schema": 1, "input": bad, "error": f"{bad} is no image that can be read."}
        assert ended(process) == (0, b"", b"")


def test_a_folder_may_go_away_and_come_back(artifact: str, tmp_path: Path) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    with watching(artifact, folder) as process:
        for color, name in (("red", "a.bmp"), ("green", "b.bmp")):
            (folder / name).write_bytes(PICTURES[color])
            assert labelled(line(process)) == (str(folder / name), color)
            folder.rename(away)
            away.rename(folder)
        folder.rename(away)
        folder.mkdir()
        (folder / "a.bmp").write_bytes(PICTURES["blue"])
        assert labelled(line(process)) == (str(folder / "a.bmp"), "blue")
        assert ended(process) == (0, b"", b"")


def test_ctrl_c_is_an_interrupt(artifact: str, tmp_path: Path) -> None:
    with watching(artifact, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"edgecnn: interrupted\n")
        assert process.returncode == 130


# Standard input


def test_paths_on_standard_input_are_answered_one_by_one(artifact: str, tmp_path: Path) -> None:
    for color, picture in PICTURES.items():
        (tmp_path / color).write_bytes(picture)
    with running(artifact, "--stream", "paths") as process:
        for color in COLORS:
            send(process, os.fsencode(tmp_path / color) + b"\n")
            assert labelled(line(process)) == (str(tmp_path / color), color)
        send(process, b"nowhere.png\n")
        assert line(process) == {"schema": 1, "input": "nowhere.png", "error": "nowhere.png doesn't exist."}
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (5, b"", b"edgecnn: 1 of 4 inputs could not be used, the rest were done.\n")


def test_frames_on_standard_input_are_answered_one_by_one(artifact: str) -> None:
    with running(artifact, "--stream", "frames", "--top", 1) as process:
        send(process, framed(PICTURES["red"]))
        told = line(process)
        assert (*labelled(told), len(told["top"])) == ("frame 1", "red", 1)
        send(process, framed(b"") + framed(b"no image") + framed(PICTURES["blue"]) + framed(PICTURES["blue"])[:-1])
        out, _ = process.communicate(timeout=60)
        rest = [json.loads(text) for text in out.splitlines()]
        assert [(told["input"], told.get("label"), "error" in told) for told in rest] == [
            ("frame 2", None, True),
            ("frame 3", None, True),
            ("frame 4", "blue", False),
            ("frame 5", None, True),
        ]
        assert process.returncode == 5


@pytest.mark.parametrize("kind", ["paths", "frames"])
@pytest.mark.parametrize("begun", [b"", b"\0\0\0\x05ab"])
def test_sigterm_ends_a_stream_that_waits(artifact: str, kind: str, begun: bytes, tmp_path: Path) -> None:
    (tmp_path / "red.bmp").write_bytes(PICTURES["red"])
    with running(artifact, "--stream", kind) as process:
        send(process, framed(PICTURES["red"]) if kind == "frames" else os.fsencode(tmp_path / "red.bmp") + b"\n")
        assert line(process)["label"] == "red"
        send(process, begun)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0  # standard input is still open
        assert process.communicate() == (b"", b"")


def test_a_second_sigterm_ends_what_writes_to_a_reader_that_sleeps(artifact: str) -> None:
    with running(artifact, "--stream", "frames") as process:
        send(process, framed(PICTURES["red"]))
        line(process)
        send(process, framed(b"") * 2000)  # more answers than a pipe holds
        full = 0
        while full < (waiting := unread(process)) or waiting < 60_000:
            full = waiting
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["paths", "frames"])
def test_an_empty_stream_is_refused(artifact: str, kind: str) -> None:
    with running(artifact, "--stream", kind, stdin=subprocess.DEVNULL) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (3, b"")
        assert err.startswith(b"edgecnn: standard input is empty;")


def test_a_reader_that_leaves_ends_it_silently(artifact: str) -> None:
    with running(artifact, "--stream", "frames") as process:
        send(process, framed(PICTURES["red"]))
        line(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        send(process, framed(PICTURES["red"]))
        assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--watch", ".", "--stream", "paths"], "--watch and --stream were given"),
        (["a.png", "--watch", "."], "INPUT and --watch were given"),
        (["a.png", "--stream", "frames"], "INPUT and --stream were given"),
        (["--stream", "images"], "'images' is not one of 'paths', 'frames'"),
    ],
)
def test_there_is_one_place_where_images_come_from(artifact: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", artifact, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_was_never_there_is_refused(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", artifact, "--watch", str(tmp_path / "none")]) == 3
    assert "doesn't exist" in capsys.readouterr().err


# Memory

_WARM = 500


def test_memory_stays_flat_over_a_stream(artifact: str, campaign: Callable[..., int]) -> None:
    """Each answer is waited for; every 50th image can't be read."""
    with running(artifact, "--stream", "frames") as process:
        for at in range(campaign(sample=5000, full=100_000)):
            send(process, framed(b"no image" if at % 50 == 0 else PICTURES[COLORS[at % 3]]))
            assert ("error" in line(process)) == (at % 50 == 0)
            if at == _WARM:
                before = resident(process)
        assert resident(process) < 1.05 * before


def test_memory_stays_flat_over_a_folder_that_keeps_all(artifact: str, tmp_path: Path, campaign: Callable[..., int]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "red.bmp").write_bytes(PICTURES["red"])
    with watching(artifact, folder) as process:
        for start in range(0, campaign(sample=5000, full=100_000), 1000):
            names = {str(folder / f"{at}.bmp") for at in range(start, start + 1000)}
            for name in names:
                os.link(tmp_path / "red.bmp", name)
            assert {line(process)["input"] for _ in names} == names
            if start == 0:
                before = resident(process)
        assert resident(process) < 1.05 * before

"""Two devices on loopback, and processes that are looked for there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.artifacts import color_artifact, encode, solid
from tools.arm64_lab.loopback import MISSING, Login, Loopback, loopback, own_python

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    if MISSING is not None:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("loopback")
    path = own_python(folder / "bin")
    with loopback(folder, [Login(path=path, environment={}), Login(path=path, environment={})]) as up:
        yield up


@pytest.fixture
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A device without edgecnn, and one with an older one."""
    if MISSING is not None:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("others")
    bare = own_python(folder / "bare", "-S", "-E")
    (folder / "old" / "edgecnn").mkdir(parents=True)
    (folder / "old" / "edgecnn" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    old = Login(path=own_python(folder / "bin"), environment={"PYTHONPATH": str(folder / "old")})
    with loopback(folder, [Login(path=bare, environment={}), old]) as up:
        yield up


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: colors.edgecnn, red.png, and photos/ with a red and a blue one."""
    folder = tmp_path / "work"
    (folder / "photos").mkdir(parents=True)
    color_artifact(folder / "colors.edgecnn")
    for name in ("red.png", "photos/red.png"):
        (folder / name).write_bytes(encode(solid("red")))
    (folder / "photos" / "blue.png").write_bytes(encode(solid("blue")))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cli(devices: Loopback, workplace: Path) -> Cli:
    """cli(*words, stdin=b""): edgecnn in the working folder, as a process of its own."""

    def run(*words: str | Path, stdin: str | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EDGECNN_SSH": devices.ssh, **extra}
        command = [sys.executable, "-P", "-m", "edgecnn", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=workplace, env=environment, input=stdin, timeout=120, check=False)

    return run


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def running_there(home: Path) -> list[str]:
    """The command lines of the processes whose home is that device's, and the pid of each."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if f"HOME={home}".encode() in environment:
                found.append(entry.name + " " + (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
        except OSError:
            continue
    return found

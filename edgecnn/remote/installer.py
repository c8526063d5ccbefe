"""On the device, for `edgecnn setup`: a virtual environment with edgecnn in it, which takes the place of the one before when it is whole.

$XDG_DATA_HOME or ~/.local/share, edgecnn/venv     a link to the environment that is used
                                  edgecnn/venv-*   environments: that one, and the one before
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecnn.remote.cache import Refused
from edgecnn.remote.wire import Broken

Run = Callable[[list[str], Path, Any, Callable[[bytes, bytes], None]], int]


def home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgecnn"


def install(request: dict[str, Any], job: Path, run: Run, say: Callable[[str], None]) -> dict[str, str]:
    """What was installed where. request: `wheel`, the name of edgecnn's wheel in the job's folder; `offline`: whether all that it needs lies
    in wheels/ there. Raises Refused.
    """
    wheel = request["wheel"]
    if not isinstance(wheel, str) or os.sep in wheel:
        raise Broken
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    before = _linked(place / "venv")
    fresh = Path(tempfile.mkdtemp(prefix="venv-", dir=place))
    try:
        steps = Steps(run, job)
        say(f"making a virtual environment with Python {sys.version.split()[0]} in {place}")
        steps.run([sys.executable, "-m", "venv", str(fresh)], _without_venv)
        python = str(fresh / "bin" / "python")
        say(f"installing {wheel} and what it needs" + (" from the wheels that were sent" if request["offline"] else ""))
        source = ["--no-index", "--find-links", str(job / "wheels")] if request["offline"] else []
        pip = [python, "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check", *source, str(job / wheel)]
        steps.run(pip, lambda said: f"pip couldn't install it: {said}")
        version = steps.run([python, "-m", "edgecnn", "--version"], lambda said: f"edgecnn was installed, and doesn't start: {said}")
        _switch(place / "venv", fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for old in place.glob("venv-*"):
        if old.name not in (fresh.name, before):
            shutil.rmtree(old, ignore_errors=True)
    return {"version": version, "venv": str(place / "venv")}


def _linked(link: Path) -> str | None:
    """The name of the environment in use."""
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(link))
    return None


def _switch(link: Path, fresh: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise Refused(f"{link} is there already and no link that `edgecnn setup` made; rename it.")
    made = Path(f"{fresh}.link")
    os.symlink(fresh.name, made)
    os.replace(made, link)


def _without_venv(said: str) -> str:
    return f"{sys.executable} can't make a virtual environment ({said}); on Debian: sudo apt install python3-venv"


class Steps:
    """Programs one after the other, run by `run`, which ends them with all that they started when the line is lost."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._folder = run, folder

    def run(self, command: list[str], fault: Callable[[str], str]) -> str:
        """What it said on standard output. Raises Refused with `fault` of what it said last where it fails."""
        said = _Said()
        code = self._run(command, self._folder, subprocess.DEVNULL, said.add)
        if code:
            lines = [line.strip() for line in (said.text(b"o") + "\n" + said.text(b"m")).splitlines() if line.strip()]
            errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
            raise Refused(fault((errors or lines or [f"exit code {code}"])[-1][:500]))
        return said.text(b"o").strip()


class _Said:
    """The end of each of a program's outputs."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}

    def add(self, kind: bytes, content: bytes) -> None:
        self._kept[kind] = (self._kept.get(kind, b"") + content)[-20_000:]

    def text(self, kind: bytes) -> str:
        return self._kept.get(kind, b"").decode("utf-8", "replace")

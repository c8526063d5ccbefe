"""Virtual environments for other programs, beside the project's own: .venv-NAME, which git ignores."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


class NotInstalled(Exception):
    """Why an environment can't be made, in pip's last words."""


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment with these packages, installed one after the other. It is made once for each list of them."""
    python, whole = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(packages)
    if python.exists() and whole.exists() and whole.read_text() in (wanted, ""):
        return python
    print(f"making the environment {folder} with {' '.join(packages)} (a few minutes)", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    for package in packages:
        command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", package]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines() or ["pip said nothing"]
            raise NotInstalled(f"{package}: {said[-1].removeprefix('ERROR: ')}")
    whole.write_text(wanted)
    return python

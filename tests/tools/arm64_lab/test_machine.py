"""How the emulated machine is made, with programs in place of apt and pip that say what they would say where nothing can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.errors import MissingHere
from tools.arm64_lab import machine
from tools.arm64_lab.machine import CORES, ROOT, build


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_no_apt_is_one_sentence(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingHere, match=r"^there is no apt-get here"):
        build(lambda _: None, place=tmp_path / "place")


def test_what_apt_says_last_is_told_and_nothing_is_left(bin_folder: Path, tmp_path: Path) -> None:
    program(bin_folder, "apt-get", "echo 'E: Unable to locate package python3' >&2; exit 100")
    with pytest.raises(MissingHere, match=r"failed: Unable to locate package python3$"):
        build(lambda _: None, place=tmp_path / "place")
    assert not (tmp_path / "place" / "machine").exists()


def test_apt_works_in_a_state_of_its_own(bin_folder: Path, tmp_path: Path) -> None:
    program(
        bin_folder, "apt-get", f'while [ "$1" != -c ]; do shift; done; while read -r line; do echo "$line"; done < "$2" > "{tmp_path}/seen"; exit 100'
    )
    with pytest.raises(MissingHere):
        build(lambda _: None, place=tmp_path / "place")
    seen = (tmp_path / "seen").read_text()
    assert 'APT::Architecture "arm64"' in seen
    for name in ("Dir::State ", "Dir::State::status ", "Dir::Cache "):
        assert f'{name}"{tmp_path}/place/' in seen


def test_pip_that_finds_no_wheel_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingHere, match=r"pip.*failed: ERROR: .*nothing-of-this-name"):
        machine.pip_target(tmp_path, "3.11", [f"nothing-of-this-name @ file://{tmp_path}/nothing-of-this-name-1-py3-none-any.whl"])


def test_the_tool_ends_with_4_and_says_that_it_was_skipped(bin_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = (
        "from pathlib import Path; import tools.arm64_lab.machine as m, runpy, sys; "
        "m.build.__kwdefaults__['place'] = Path(sys.argv.pop()); runpy.run_module('tools.arm64_lab', run_name='__main__')"
    )
    place = bin_folder.parent / "place"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(place)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("SKIPPED: there is no apt-get here")


def test_no_core_claims_more_than_it_has() -> None:
    """Dot products came with Armv8.2: of the three, the A76 alone has them."""
    assert [core for core, facts in CORES.items() if "asimddp" in facts["features"].split()] == ["cortex-a76"]

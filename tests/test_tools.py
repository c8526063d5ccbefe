"""The set-up that tools/demo and tools/test share, with Pythons that only write down what they are asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
NEEDED = ("bash", "cat", "cp", "dirname", "find", "flock", "mkdir", "rm", "sha256sum", "sort", "xargs")

# answers as CPython does; `-m venv` makes another of its kind
PYTHON = """#!/bin/bash
echo "$*" >>"{log}"
case "$*" in
    *ensurepip*) exit {without_pip} ;;
    "-c import sys; sys.exit"*) exit {wrong_version} ;;
    "-c import sys; print"*) echo "3.11.2 /usr" ;;
    --version) echo "Python 3.11.2" ;;
    "-m pip install "*) [ ! -e "{log}.no-network" ] ;;
    "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    folder: Path
    path: Path
    log: Path

    def python(self, name: str, *, without_pip: bool = False, wrong_version: bool = False) -> None:
        file = self.path / name
        file.write_text(PYTHON.format(log=self.log, without_pip=int(without_pip), wrong_version=int(wrong_version)))
        file.chmod(0o755)

    def set_up(self) -> subprocess.CompletedProcess[str]:
        script = f"source '{self.folder}/tools/_setup.sh'; set_up"
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": str(self.path)}, cwd="/", check=False)

    def installs(self) -> list[str]:
        """What pip was asked to install since this was last called."""
        lines = [line for line in self.log.read_text().splitlines() if "pip install" in line] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder, path = tmp_path / "a checkout", tmp_path / "bin"
    path.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"these tests need {name}"
        (path / name).symlink_to(found)
    (folder / "tools").mkdir(parents=True)
    for name in ("tools/_setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return Checkout(folder, path, tmp_path / "log")


@pytest.mark.parametrize("name", ["python3.11", "python3"])
def test_torch_comes_first_and_in_exactly_the_pinned_version(checkout: Checkout, name: str) -> None:
    checkout.python(name)
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    first, *others = checkout.installs()
    assert re.search(r"-c constraints\.txt torch==2\.13\.0$", first)
    assert all("-c constraints.txt" in line for line in others)
    assert others[-1].endswith("-e .[dev]")
    assert "torch 2.13.0" in done.stdout


def test_what_was_installed_is_not_installed_again(checkout: Checkout) -> None:
    checkout.python("python3")
    checkout.set_up()
    assert checkout.installs()
    done = checkout.set_up()
    assert done.returncode == 0
    assert not checkout.installs()
    assert "up to date" in done.stdout


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_other_requirements_are_installed_into_the_same_environment(checkout: Checkout, name: str) -> None:
    checkout.python("python3")
    checkout.set_up()
    with (checkout.folder / name).open("a") as file:
        file.write("# another line\n")
    checkout.installs()
    (checkout.folder / ".venv" / "kept").touch()
    checkout.set_up()
    assert len(checkout.installs()) > 1
    assert (checkout.folder / ".venv" / "kept").exists()


def test_an_environment_of_a_checkout_that_was_moved_is_made_anew(checkout: Checkout) -> None:
    checkout.python("python3")
    checkout.set_up()
    moved = Checkout(checkout.folder.rename(checkout.folder.with_name("elsewhere")), checkout.path, checkout.log)
    moved.installs()
    assert "making the virtual environment" in moved.set_up().stdout
    assert moved.installs()


def test_a_set_up_that_broke_off_goes_on(checkout: Checkout) -> None:
    checkout.python("python3")
    network = checkout.log.with_name("log.no-network")
    network.touch()
    assert checkout.set_up().returncode != 0
    assert len(checkout.installs()) == 1
    network.unlink()
    done = checkout.set_up()
    assert done.returncode == 0
    assert "making the virtual environment" not in done.stdout
    assert len(checkout.installs()) > 1


def test_a_python_that_is_too_old_is_passed_over(checkout: Checkout) -> None:
    checkout.python("python3", wrong_version=True)
    checkout.python("python3.12")
    assert f"({checkout.path}/python3.12)" in checkout.set_up().stdout


@pytest.mark.parametrize("old", [True, False])
def test_no_python_is_one_sentence(checkout: Checkout, old: bool) -> None:
    if old:
        checkout.python("python3", wrong_version=True)
    done = checkout.set_up()
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "no Python 3.11 was found" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_a_python_without_venv_is_one_sentence(checkout: Checkout) -> None:
    checkout.python("python3", without_pip=True)
    done = checkout.set_up()
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "apt install python3-venv" in done.stderr
    assert not (checkout.folder / ".venv").exists()


# what CI brings, and what it says in the end


@dataclass(frozen=True)
class Clean:
    """A checkout on a machine with apt and without a browser or an sshd, where tools/check and tools/arm64 do nothing."""

    folder: Path
    path: Path

    def program(self, name: str, body: str, *, folder: Path | None = None) -> None:
        file = (folder or self.path) / name
        file.write_text(f"#!{self.path}/bash\n{body}\n")
        file.chmod(0o755)

    def tool(self, name: str, body: str) -> None:
        self.program(name, body, folder=self.folder / "tools")

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", self.folder / ".ci" / "run", "-k", "page"]
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": str(self.path), **environment}, cwd="/", check=False)

    def installed(self) -> list[str]:
        file = self.folder.parent / "apt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.split()[-1] for line in lines if line.startswith("install -y --no-install-recommends ")]


@pytest.fixture
def clean(tmp_path: Path) -> Clean:
    made = Clean(tmp_path / "a clone", tmp_path / "bin")
    made.path.mkdir()
    for name in ("bash", "dirname", "env", "grep", "mktemp", "rm", "sed", "tee"):
        (made.path / name).symlink_to(str(shutil.which(name)))
    for folder in (".ci", "tools"):
        (made.folder / folder).mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", made.folder / ".ci" / "run")
    made.tool("check", 'echo "checked $*"')
    made.tool("arm64", "true")
    made.program("id", "echo 0")
    made.program("apt-get", 'echo "apt says $*"; echo "$*" >>"${0%/*}/../apt"')
    return made


PASSED = "==> summary: checks and tests passed, emulated Arm passed"


@pytest.fixture
def has_sshd() -> bool:
    """Whether this machine has one where no PATH needs to name it."""
    return Path("/usr/sbin/sshd").exists()


def test_ci_installs_what_is_missing(clean: Clean, has_sshd: bool) -> None:
    done = clean.run()
    assert clean.installed() == ["chromium"] + ["openssh-server"] * (not has_sshd)
    assert [line for line in done.stdout.splitlines() if "apt-get" not in line] == ["checked -k page", PASSED]
    assert "apt says" not in done.stdout + done.stderr


@pytest.mark.parametrize("reason", ["chromium", "chromium-browser", "google-chrome", "EDGECNN_CHROMIUM", "EDGECNN_NO_CHROMIUM", "no root"])
def test_ci_installs_nothing_where_it_need_not_or_may_not(clean: Clean, reason: str) -> None:
    environment = {}
    clean.program("sshd", "true")
    if reason.isupper():
        environment = {reason: "1"}
    else:
        clean.program(*("id", "echo 1000") if reason == "no root" else (reason, "true"))
    done = clean.run(**environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"checked -k page\n{PASSED}\n", "")
    assert not clean.installed()


def test_ci_tells_why_something_can_not_be_installed_and_checks_the_rest(clean: Clean) -> None:
    clean.program("sshd", "true")
    clean.program("apt-get", '[ "$1" = update ] || { echo "E: no space" && exit 100; }')
    done = clean.run()
    assert done.stderr == "E: no space\n"
    assert done.stdout.splitlines()[1:] == ["==> that failed; the tests that want chromium will say so", "checked -k page", PASSED]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arm", "code", "summary"),
    [(0, 0, "emulated Arm passed"), (4, 0, "emulated Arm skipped"), (1, 1, "emulated Arm FAILED (1)")],
)
def test_ci_says_in_its_summary_what_became_of_arm(clean: Clean, arm: int, code: int, summary: str) -> None:
    clean.tool("arm64", f"echo 'SKIPPED: there is no apt-get here' >&2; exit {arm}")
    done = clean.run()
    assert done.returncode == code
    assert f"summary: checks and tests passed, {summary}\n    SKIPPED: there is no apt-get here\n" in done.stdout


@pytest.mark.parametrize("checks", [1, 4, 70])
def test_ci_fails_where_the_checks_do(clean: Clean, checks: int) -> None:
    clean.tool("check", f"exit {checks}")
    clean.tool("arm64", "exit 4")
    done = clean.run()
    assert done.returncode not in (0, 4)
    assert "checks and tests FAILED" in done.stdout


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def requirements() -> list[Requirement]:
    texts = re.findall(r'"([a-z][\w.-]*[>=].*?)"', (ROOT / "pyproject.toml").read_text())
    found = [Requirement(text.split(";")[0]) for text in texts]
    return [requirement for requirement in found if requirement.name != "tomli"]  # not on the Python that is pinned


def test_the_pins_fit_what_pyproject_asks_for() -> None:
    pinned = {name.lower().replace("_", "-"): version for name, version in pins().items()}
    asked = requirements()
    assert {"numpy", "torch", "pytest", "mypy"} <= {requirement.name for requirement in asked}
    for requirement in asked:
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_torch_is_pinned_without_a_build_so_that_any_build_fits() -> None:
    """`torch==2.13.0` lets pip take 2.13.0+cpu; `torch==2.13.0+cpu` would refuse the other."""
    assert pins()["torch"] == re.search(r"^TORCH=(\S+)", (ROOT / "tools" / "_setup.sh").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    assert not any("+" in version for version in pins().values())

"""`edgecnn setup`: on a device that has Python and nothing else, without a network, and what it says where that can't be."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from edgecnn import __version__
from edgecnn.cli import main
from edgecnn.remote.wheel import own_wheel, pack
from tools.arm64_lab.loopback import MISSING, Login, Loopback, loopback, own_python

STAND_INS = {"numpy": "2.0", "onnxruntime": "1.31", "pillow": "11.0"}


def stand_in(folder: Path, name: str, version: str) -> Path:
    return pack(folder, name, version, {f"{name}.py": b""}, {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"})


def installed(folder: Path, name: str) -> Path:
    """A package of this environment as a wheel."""
    found = metadata.distribution(name)
    files = {str(file): Path(str(found.locate_file(file))).read_bytes() for file in found.files or () if str(file).endswith(".py")}
    return pack(folder, name, found.version, files, {"METADATA": str(found.read_text("METADATA"))})


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with click, and with packages that have the names and versions of the others."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    installed(folder, "click")
    for name, version in STAND_INS.items():
        stand_in(folder, name, version)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Loopback:
    """A device whose Python has the standard library alone, and no other network than this line."""
    if MISSING is not None:
        pytest.skip(MISSING)
    folder = tmp_path / "device"
    folder.mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = own_python(folder / "bin", "-S", program=base)
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    with loopback(folder, [Login(path=path, environment=environment)]) as up:
        yield up


def edgecnn(device: Loopback, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecnn", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "EDGECNN_SSH": device.ssh}, timeout=120, check=False)


def test_a_device_is_set_up_without_a_network(bare: Loopback, wheels: Path) -> None:
    (name,), (home,) = bare.names, bare.homes
    place = home / ".local" / "share" / "edgecnn"
    assert "edgecnn isn't installed" in edgecnn(bare, "probe", "--on", name).stderr

    done = edgecnn(bare, "setup", name, "--wheels", wheels)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{name}: edgecnn {__version__} in {place / 'venv'}\n"
    assert [line.startswith(f"edgecnn: {name}: ") for line in done.stderr.splitlines()] == [True, True]
    first = (place / "venv").resolve()

    # what is installed there answers: of onnxruntime there is only the name, and that is said
    probed = edgecnn(bare, "probe", "--on", name)
    assert probed.returncode == 4
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in probed.stdout
    assert "onnxruntime doesn't run here" in probed.stderr

    failed = edgecnn(bare, "setup", name)
    assert failed.returncode == 4
    assert failed.stderr.splitlines()[-1].startswith(f"edgecnn: {name}: pip couldn't install it: No matching distribution found for ")
    assert ((place / "venv").resolve(), len(list(place.iterdir()))) == (first, 2)


@pytest.mark.full
def test_an_environment_takes_the_place_of_the_one_before_which_is_kept(bare: Loopback, wheels: Path) -> None:
    (name,), (home,) = bare.names, bare.homes
    place = home / ".local" / "share" / "edgecnn"
    seen: list[Path] = []
    for _ in range(3):
        assert edgecnn(bare, "setup", name, "--wheels", wheels).returncode == 0
        seen.append((place / "venv").resolve())
    assert len(set(seen)) == 3
    assert sorted(place.glob("venv-*")) == sorted(seen[1:])


@pytest.mark.parametrize("python", ["nothere", "/nowhere/$(touch x)", "; touch x"])
def test_a_python_that_isn_t_there_is_said(bare: Loopback, python: str) -> None:
    done = edgecnn(bare, "setup", *bare.names, "--python", python)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert f"{bare.names[0]} has no such Python: {python!r} was asked for" in done.stderr
    assert not [path for path in bare.homes[0].rglob("*") if path.name == "x"]


def test_a_python_that_is_too_old_is_said(bare: Loopback, tmp_path: Path) -> None:
    old = tmp_path / "device" / "bin" / "python-old"
    old.write_text(f"""#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])' "$2"\n""")
    old.chmod(0o755)
    done = edgecnn(bare, "setup", *bare.names, "--python", str(old))
    assert done.returncode == 4
    assert "needs 3.10 or newer" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--python=-c"], 2, "'-c' is no Python"),
        (["--python="], 2, "'' is no Python"),
        (["--python=a\nb"], 2, "is no Python"),
        (["--wheels=gone"], 3, "gone doesn't exist"),
        (["--wheels=."], 3, "holds no wheels"),
    ],
)
def test_what_can_t_be_is_said_at_once(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECNN_SSH", "/nowhere/ssh")
    assert main(["setup", "pi", *words]) == code
    assert said in capsys.readouterr().err


def test_the_wheel_is_this_install_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    made = own_wheel(first)
    assert made.name == f"edgecnn-{__version__}-py3-none-any.whl"
    assert made.read_bytes() == own_wheel(second).read_bytes()
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        told = archive.read(f"edgecnn-{__version__}.dist-info/METADATA").decode()
    assert {"edgecnn/cli/run.py", "edgecnn/targets/rpi4.toml", "edgecnn/py.typed", f"edgecnn-{__version__}.dist-info/entry_points.txt"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    assert f"\nVersion: {__version__}\n" in told
    assert "Requires-Dist: onnxruntime>=1.17" in told

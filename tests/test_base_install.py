"""What a device gets: `pip install edgecnn` without extras, built for real from this source, on each Python from 3.10 to 3.13 found here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import edgecnn
from edgecnn import targets
from tests.fixtures.artifacts import color_artifact, encode, solid
from tests.fixtures.interpreters import find_interpreters

ROOT = Path(__file__).parent.parent
EXTRAS = ("torch", "onnx", "onnxscript", "onnxsim", "safetensors", "rich", "lightning_fabric", "pooch", "cryptography", "jinja2", "markdown_it")
SHIPPED = sorted((ROOT / "models").glob("*/*.edgecnn"))


@dataclass(frozen=True, kw_only=True)
class Device:
    """An environment with the base install, and a folder to work in."""

    python: Path
    folder: Path

    def call(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return _call(self.python, "-W", "error", *arguments, cwd=self.folder)

    def edgecnn(self, *arguments: str | Path, code: int = 0) -> str:
        """Standard output of a command that ends with `code`, and with no word on standard error when that is 0."""
        done = self.call("-m", "edgecnn", *arguments)
        assert done.returncode == code, done.stderr
        assert code or not done.stderr
        return done.stdout or done.stderr


def _call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def _pip(python: Path, *arguments: str | Path, cwd: Path) -> None:
    """This environment's pip, acting on another: that one has none, as few devices do, and is made in a quarter of the time."""
    done = _call(sys.executable, "-m", "pip", "--python", python, *arguments, "--quiet", "--disable-pip-version-check", cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools packs what it finds left over in build/."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "edgecnn", source / "edgecnn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _pip(Path(sys.executable), "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", target, cwd=source)
    return next(target.glob("*.whl"))


def base_requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    return [line for line in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE) if "extra ==" not in line]


def make_device(interpreter: str, wheel: Path, requirements: list[str], folder: Path) -> Device:
    """What pip installs is fetched once and kept in .cache, so that later runs are quick and need no network."""
    python = folder / "venv" / "bin" / "python"
    done = _call(interpreter, "-m", "venv", "--without-pip", python.parent.parent, cwd=folder)
    assert done.returncode == 0, done.stderr
    key = hashlib.sha256(json.dumps([interpreter, sorted(requirements)]).encode()).hexdigest()[:16]
    wheels = ROOT / ".cache" / "base-install" / key
    if not wheels.exists():
        fresh = folder / "wheels"
        _pip(python, "download", "--only-binary", ":all:", "--dest", fresh, *requirements, cwd=folder)
        wheels.parent.mkdir(parents=True, exist_ok=True)
        copy = Path(shutil.copytree(fresh, wheels.parent / f"{key}-{os.getpid()}.part"))
        try:
            copy.rename(wheels)
        except OSError:  # another process was first
            shutil.rmtree(copy)
    _pip(python, "install", "--no-index", "--no-compile", "--find-links", wheels, wheel, *requirements, cwd=folder)
    return Device(python=python, folder=folder)


def _furnish(device: Device) -> Device:
    color_artifact(device.folder / "colors.edgecnn")
    for color in ("red", "blue"):
        (device.folder / f"{color}.png").write_bytes(encode(solid(color)))
    return device


@pytest.fixture(scope="session", params=find_interpreters().items(), ids=lambda item: f"python{item[0]}")
def device(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """The newest versions that pip finds for this Python."""
    folder = tmp_path_factory.mktemp("device")
    yield _furnish(make_device(request.param[1], wheel, base_requirements(wheel), folder))
    shutil.rmtree(folder)


def check_commands(device: Device) -> None:
    """Each command for devices does its work, without a warning."""
    first, second = map(json.loads, device.edgecnn("run", "colors.edgecnn", "blue.png", "red.png", "--json").splitlines())
    assert (first["label"], second["label"]) == ("blue", "red")
    assert "FAIL" not in device.edgecnn("validate", "colors.edgecnn")
    assert json.loads(device.edgecnn("inspect", "colors.edgecnn", "--target", "rpi4", "--json"))
    assert device.edgecnn("card", "colors.edgecnn").startswith("# colors ")
    check_probe(device)
    assert device.edgecnn("report", "colors.edgecnn", "--format", "md").startswith("# colors ")
    assert json.loads(device.edgecnn("report", "colors.edgecnn", "--format", "json"))["memory"]["peak_bytes"] > 0
    assert device.edgecnn("diff", "colors.edgecnn", "colors.edgecnn").endswith("byte for byte.\n")
    done = device.call("-m", "edgecnn", "bench", "colors.edgecnn", "--min-seconds", "0.1", "--json")
    assert done.returncode in (0, 1), done.stderr  # 1: a busy machine's figures are invalid
    assert len(json.loads(done.stdout)["samples_ns"]) >= 100


def check_probe(device: Device) -> None:
    """onnxruntime is found out about, and reads what the profiles of edgecnn.targets say of it."""
    found = json.loads(device.edgecnn("probe", "--json"))
    runtime = found["onnxruntime"]
    assert found["packages"]["onnxruntime"] == runtime["version"]
    for name in targets.names():
        target = targets.find(name)
        assert target.fault is not None or (runtime["opset"] >= target.opset and runtime["ir_version"] >= target.ir_version)
    assert {"name": "CPUExecutionProvider", "loads": True} in runtime["providers"]
    assert runtime["products"]["precise"] == runtime["products"]["wanted"]


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("edgecnn/")}
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    templates = set((ROOT / "edgecnn" / "report" / "templates").iterdir())
    assert len(templates) > 1
    wanted = templates.union(path for path in (ROOT / "edgecnn").rglob("*") if path.suffix in (".py", ".typed", ".toml"))
    assert packed == {str(path.relative_to(ROOT)) for path in wanted}


def test_the_base_install_is_small(wheel: Path) -> None:
    assert {re.split(r"\W", line)[0] for line in base_requirements(wheel)} == {"numpy", "onnxruntime", "pillow", "click"}


def test_what_the_extras_bring_is_not_there(device: Device) -> None:
    script = f"import importlib.util as u, edgecnn; print(edgecnn.__file__, [n for n in {EXTRAS} if u.find_spec(n)])"
    done = device.call("-c", script)
    assert done.stdout.startswith(str(device.folder)), done.stderr
    assert done.stdout.endswith("[]\n")


def test_every_module_for_devices_imports_there(device: Device) -> None:
    script = """
import importlib, pathlib, pkgutil, re, sys
import edgecnn
for package in ("artifact", "targets", "data", "device", "report", "cli"):
    home = importlib.import_module(f"edgecnn.{package}")
    for found in pkgutil.walk_packages(home.__path__, home.__name__ + "."):
        file = pathlib.Path(found.module_finder.path, found.name.rpartition(".")[2]).with_suffix(".py")
        if found.ispkg or not re.search(r"^(from|import) (edgecnn\\.build|edgecnn\\.train|rich)\\b", file.read_text("utf-8"), re.MULTILINE):
            importlib.import_module(found.name)
for name in edgecnn.__all__:
    if name != "export":
        getattr(edgecnn, name)
print(len([name for name in sys.modules if name.startswith("edgecnn.")]))
"""
    done = device.call("-c", script)
    assert not done.stderr
    assert int(done.stdout) > 30


def test_the_commands_for_devices_work_there(device: Device) -> None:
    check_commands(device)


def test_python_predicts_there(device: Device) -> None:
    script = "import edgecnn; model = edgecnn.load('colors.edgecnn'); print([p.label for p in model.predict_batch(['red.png', 'blue.png'])])"
    assert device.call("-c", script).stdout == "['red', 'blue']\n"


def test_the_console_script_lists_the_commands(device: Device) -> None:
    done = _call(device.python.with_name("edgecnn"), "--help", cwd=device.folder)
    assert done.returncode == 0
    assert not done.stderr
    assert {"run", "bench", "validate", "inspect", "card", "export", "train"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("export", "net.safetensors", "-o", "net.edgecnn"), "export"),
        (("train", "recipe.toml"), "train"),
        (("report", "colors.edgecnn", "-o", "net.edgecnn"), "report"),
        (("diff", "colors.edgecnn", "colors.edgecnn", "--format", "html", "-o", "net.edgecnn"), "report"),
    ],
    ids=["export", "train", "report", "diff"],
)
def test_a_command_that_needs_an_extra_says_the_pip_line(device: Device, arguments: tuple[str, ...], extra: str) -> None:
    for path in arguments[1:2]:
        (device.folder / path).touch()
    said = device.edgecnn(*arguments, code=4)
    assert said.count("\n") == 1
    assert f"pip install 'edgecnn[{extra}]'" in said
    assert not (device.folder / "net.edgecnn").exists()


@cache
def decided_here(artifact: Path) -> tuple[str, ...]:
    """What this environment sees in each sample of a shipped model."""
    model = edgecnn.load(artifact)
    return tuple(prediction.label for prediction in model.predict_batch(samples(artifact)))


def samples(artifact: Path) -> list[Path]:
    return sorted(path for path in (artifact.parent / "samples").glob("*/*") if path.is_file())


def check_shipped(device: Device) -> None:
    """What models/ has is whole there, gives its golden answers, and decides each sample as it does here."""
    assert SHIPPED
    for artifact in SHIPPED:
        assert "gives its golden answers" in device.edgecnn("verify", artifact, "--deep")
        assert "FAIL" not in device.edgecnn("validate", artifact)
        lines = device.edgecnn("run", artifact, *samples(artifact), "--json").splitlines()
        found = tuple(json.loads(line)["label"] for line in lines)
        assert len(found) >= 2
        assert found == decided_here(artifact)


def test_the_shipped_artifacts_work_there(device: Device) -> None:
    check_shipped(device)


def chosen(pythons: tuple[str, ...]) -> str | None:
    """An interpreter of the first of these versions that is here."""
    return next((path for version in pythons if (path := find_interpreters().get(version))), None)


# onnxruntime -> the Pythons that it has wheels for, the first that is here is taken; and what pip must be told besides
RUNTIMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "1.17": (("3.12", "3.11", "3.10"), ("numpy<2",)),
    "1.18": (("3.11", "3.10", "3.12"), ("numpy<2",)),
    "1.20": (("3.13", "3.12", "3.11", "3.10"), ()),
    "1.22": (("3.10", "3.11", "3.12", "3.13"), ()),
    "1.24": (("3.13", "3.11", "3.12"), ()),
    "1.27": (("3.12", "3.13", "3.11"), ()),
    "1.31": (("3.11", "3.12", "3.13"), ()),
}
QUICK = ("1.17",)
"""Beside the newest, which every Python gets above."""


@pytest.fixture(
    params=[pytest.param(version, marks=() if version in QUICK else pytest.mark.full) for version in RUNTIMES if chosen(RUNTIMES[version][0])]
)
def older(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[Device]:
    """A device with another onnxruntime than the newest, and the numpy that goes with it."""
    pythons, besides = RUNTIMES[request.param]
    interpreter = chosen(pythons)
    assert interpreter is not None
    others = [line for line in base_requirements(wheel) if not line.startswith("onnxruntime")]
    yield _furnish(make_device(interpreter, wheel, [*others, f"onnxruntime=={request.param}.*", *besides], tmp_path))
    shutil.rmtree(tmp_path / "venv")


def test_enough_versions_of_onnxruntime_are_tried() -> None:
    assert len([version for version, (pythons, _) in RUNTIMES.items() if chosen(pythons)]) >= 4


def test_each_onnxruntime_from_1_17_on_runs_what_ships(older: Device) -> None:
    check_commands(older)
    check_shipped(older)


@pytest.mark.full
def test_the_oldest_versions_do(wheel: Path, tmp_path: Path) -> None:
    """The lower bounds in pyproject.toml are true."""
    oldest = [re.sub(r">=(\d+)(\.\d+)?$", lambda found: f"=={found[1]}{found[2] or '.0'}.*", line) for line in base_requirements(wheel)]
    assert all("==" in line for line in oldest)
    device = _furnish(make_device(find_interpreters()["3.10"], wheel, oldest, tmp_path))
    check_commands(device)
    check_shipped(device)

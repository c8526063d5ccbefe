"""Who may import whom, by what is in sys.modules after importing each module alone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import edgecnn

HOME = Path(edgecnn.__file__).parent
HEAVY = {
    "torch",
    "onnx",
    "onnxscript",
    "onnxsim",
    "rich",
    "lightning",
    "lightning_fabric",
    "pooch",
    "safetensors",
    "cryptography",
    "jinja2",
    "markdown_it",
}
THIRD_PARTY = {"numpy", "onnxruntime", "PIL", "click", *HEAVY}

# package -> the packages of ours, and the libraries, that it may load
MAY_LOAD: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "artifact": ({"errors"}, set()),
    "targets": ({"errors", "artifact"}, set()),
    "data": ({"errors", "artifact"}, {"numpy", "PIL"}),
    "sign": ({"errors", "artifact"}, {"cryptography"}),
    "device": ({"errors", "artifact", "data", "sign"}, {"numpy", "PIL", "onnxruntime"}),
    "store": ({"errors", "artifact", "data", "sign", "device"}, {"numpy", "PIL", "onnxruntime"}),
    "remote": ({"errors", "artifact"}, set()),
    "report": ({"errors", "artifact", "data", "device"}, {"numpy", "PIL", "onnxruntime", "jinja2", "markdown_it", "onnx"}),
    "train": ({"errors", "artifact", "data", "device"}, THIRD_PARTY - {"click"}),
    "build": ({"errors", "artifact", "targets", "data", "device", "train"}, THIRD_PARTY - {"click"}),
}
DEVICE_COMMANDS = (
    "run",
    "bench",
    "validate",
    "verify",
    "inspect",
    "card",
    "report",
    "explain",
    "store",
    "sign",
    "probe",
    "setup",
    "diff",
    "completion",
)


def modules(package: str) -> list[str]:
    base = HOME / package
    files = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    names = [".".join(("edgecnn", *path.relative_to(HOME).with_suffix("").parts)) for path in files]
    return [name.removesuffix(".__init__") for name in names]


LIGHT = [name for package in ("errors", "artifact", "targets", "data", "sign", "device", "store", "remote", "report") for name in modules(package)]
HOST = [name for package in ("train", "build") for name in modules(package)]
ALL = frozenset(LIGHT + HOST)


@cache
def loaded_by(names: tuple[str, ...]) -> dict[str, list[str]]:
    """sys.modules after importing each of `names` in a process of its own, forked from one that has imported nothing."""
    script = """
import json, os, sys
for name in sys.argv[1:]:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        import importlib
        importlib.import_module(name)
        print(json.dumps([name, sorted(sys.modules)]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"importing {name} failed")
"""
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def package_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "edgecnn" and len(parts) > 1 else None


def check(name: str, loaded: list[str]) -> None:
    package = package_of(name)
    assert package is not None
    ours, theirs = MAY_LOAD[package]
    assert {found for found in map(package_of, loaded) if found} <= ours | {package}
    assert {found.partition(".")[0] for found in loaded} & THIRD_PARTY <= theirs


@pytest.mark.parametrize("name", LIGHT)
def test_a_module_for_devices_loads_no_more_than_its_package_may(name: str) -> None:
    check(name, loaded_by(tuple(LIGHT))[name])


def test_nothing_loads_cryptography_before_a_key_is_used() -> None:
    found = loaded_by(tuple(LIGHT))
    assert "edgecnn.sign.keys" in found
    assert [name for name, loaded in found.items() if "cryptography" in loaded] == []


def test_no_page_is_made_by_importing_its_module() -> None:
    """`edgecnn card` is of the package whose pages need the extra `report`, and works without it."""
    found = loaded_by(tuple(LIGHT))
    assert "edgecnn.report.page" in found
    assert [name for name, loaded in found.items() if {"jinja2", "markupsafe", "markdown_it", "onnx"} & set(loaded)] == []


def test_the_walk_found_every_layer() -> None:
    for package in MAY_LOAD:
        assert modules(package)
    assert "edgecnn.device.engines.ort" in LIGHT


def named_by(name: str) -> set[str]:
    """The modules that a module's import statements name, those inside its functions too."""
    path = HOME.joinpath(*name.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is meant"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= {found for found in inner if found in ALL} or {str(node.module)}
    return named


@pytest.mark.parametrize("name", LIGHT + HOST)
def test_no_function_imports_what_its_module_may_not(name: str) -> None:
    """Importing torch for each of the host's modules would take minutes, and what stands inside functions would be missed."""
    check(name, sorted(named_by(name)))


@pytest.mark.parametrize("name", ["edgecnn", "edgecnn.cli", *(f"edgecnn.cli.{command}" for command in DEVICE_COMMANDS)])
def test_a_device_command_s_definition_is_light(name: str) -> None:
    names = ("edgecnn", "edgecnn.cli", *(f"edgecnn.cli.{command}" for command in DEVICE_COMMANDS))
    loaded = {found.partition(".")[0] for found in loaded_by(names)[name]}
    assert not loaded & (THIRD_PARTY - {"click"})


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} was asked for", name=name)
sys.meta_path.insert(0, Absent())
from edgecnn.cli import main
code = main(sys.argv[1:])
print("LOADED", *sorted(HEAVY & {name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.artifacts import color_artifact, encode, solid

    folder = tmp_path_factory.mktemp("artifact")
    (folder / "red.png").write_bytes(encode(solid("red")))
    (folder / "photos" / "red").mkdir(parents=True)
    (folder / "photos" / "red" / "0.png").write_bytes(encode(solid("red")))
    color_artifact(folder / "other.edgecnn", batch="batch")
    return color_artifact(folder / "colors.edgecnn")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "colors.edgecnn", "red.png", "--json"),
        ("inspect", "colors.edgecnn"),
        ("store", "install", "colors.edgecnn", "--store", "store"),
        ("validate", "colors.edgecnn"),
        ("verify", "colors.edgecnn", "--deep"),
        ("card", "colors.edgecnn"),
        ("report", "colors.edgecnn", "--format", "md"),
        ("report", "colors.edgecnn", "--format", "json"),
        ("diff", "colors.edgecnn", "colors.edgecnn", "--exit-code"),
        ("diff", "colors.edgecnn", "other.edgecnn", "--data", "photos", "--json"),
        ("bench", "colors.edgecnn", "--min-seconds", "0.1", "--min-runs", "100"),
        ("probe", "--json"),
    ],
)
def test_a_device_command_works_where_torch_and_onnx_are_not_installed(arguments: tuple[str, ...], artifact: Path) -> None:
    script = f"HEAVY = {HEAVY!r}\n{WITHOUT}"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=artifact.parent)
    assert done.stdout.endswith("LOADED\n"), done.stderr
    # a benchmark on a busy machine may be invalid, which is 1
    assert done.returncode in ((0, 1) if arguments[0] == "bench" else (0,)), done.stderr


def test_a_page_needs_its_own_libraries_alone(artifact: Path) -> None:
    script = f"HEAVY = {HEAVY - {'jinja2', 'markdown_it'}!r}\n{WITHOUT}"
    command = [sys.executable, "-c", script, "report", "colors.edgecnn", "-o", "report.html"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=artifact.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LOADED\n")
    assert (artifact.parent / "report.html").read_text().startswith("<!DOCTYPE html>")

"""A package that isn't installed: one sentence with the pip line, whichever command meets it first, and device commands that need none of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgecnn.cli import main
from tests.bad_input.conftest import DESCRIBED, contents

Recipe = Callable[..., Path]

_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Absent())
from edgecnn.cli import main
code = main(sys.argv[1:])
assert not {name.partition(".")[0] for name in sys.modules} & set(absent)
sys.exit(code)
"""


def without(packages: Sequence[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a Python that has none of the packages."""
    return subprocess.run([sys.executable, "-c", _WITHOUT, ",".join(packages), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("packages", "source"),
    [
        (["onnx"], "colors.onnx"),
        (["rich"], "colors.onnx"),
        (["torch"], "model.safetensors"),
        (["torch"], "net.py:Net"),
        (["torch"], "net.pt2"),
    ],
)
def test_export_names_the_package_and_the_pip_line(packages: list[str], source: str, made: Path, workplace: Path) -> None:
    for name in ("model.safetensors", "net.pt2", "net.py"):
        (workplace / name).write_bytes(b"")
    before = contents(workplace)
    done = without(packages, "export", made / source if source.endswith(".onnx") else source, "-o", "old.edgecnn")
    assert (done.returncode, done.stdout) == (4, "")
    assert packages[0] in done.stderr
    assert done.stderr.endswith("pip install 'edgecnn[export]'\n")
    assert done.stderr.startswith("edgecnn: ")
    assert done.stderr.count("\n") == 1
    assert contents(workplace) == before


def test_train_names_the_package_and_the_pip_line(workplace: Path, recipe_file: Recipe) -> None:
    done = without(["torch"], "train", recipe_file(), "-o", "run")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "edgecnn: torch isn't installed, and this needs it; run: pip install 'edgecnn[train]'\n"
    assert not (workplace / "run").exists()


def test_data_to_be_fetched_without_pooch(
    workplace: Path, recipe_file: Recipe, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    files = f'files = [{{ url = "https://example.org/a.tar", sha256 = "{"0" * 64}" }}]'
    recipe = recipe_file(**{'path = "pictures"': f'path = "gone", {files}'})
    assert main(["train", str(recipe), "-o", "run"]) == 4
    assert capfd.readouterr() == ("", "edgecnn: pooch isn't installed, and this needs it; run: pip install 'edgecnn[train]'\n")
    assert contents(workplace / "run") == {".lock": b""}


def test_an_onnx_needs_no_torch(made: Path, workplace: Path) -> None:
    done = without(["torch", "safetensors", "onnxscript", "lightning_fabric"], "export", made / "colors.onnx", "-o", "new.edgecnn", *DESCRIBED)
    assert done.returncode == 0, done.stderr
    assert (workplace / "new.edgecnn").exists()

"""What `import edgecnn` gives: a small public face that loads nothing heavy."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn

FACE = {"EdgecnnError", "Model", "ModelSpec", "Prediction", "Preprocess", "__version__", "export", "load", "make_spec"}


def test_the_public_names_are_these() -> None:
    assert set(edgecnn.__all__) == FACE
    assert set(dir(edgecnn)) == FACE


@pytest.mark.parametrize("name", sorted(FACE - {"__version__"}))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(edgecnn, name))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        edgecnn.laod  # noqa: B018
    assert not hasattr(edgecnn, "laod")


def test_importing_edgecnn_loads_nothing_heavy() -> None:
    script = "import sys, edgecnn; print(*sorted({'numpy', 'onnxruntime', 'PIL', 'click', 'torch', 'onnx', 'rich', 'json'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"


def test_the_annotations_are_for_others_too() -> None:
    assert (Path(edgecnn.__file__).parent / "py.typed").is_file()


def test_every_lazy_name_is_where_it_is_said_to_be() -> None:
    for name, home in edgecnn._HOMES.items():
        assert getattr(edgecnn, name) is getattr(importlib.import_module(home), name)

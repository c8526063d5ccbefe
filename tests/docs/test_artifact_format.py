"""docs/artifact-format.md is enough to read an artifact: a reader that was written from it alone takes what ships and refuses what was changed."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.device.golden import read_golden
from tests.docs import reader

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted((ROOT / "models").glob("*/*.edgecnn"))


def test_there_are_models_to_read() -> None:
    assert len(SHIPPED) >= 3


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_reads_what_ships_and_decides_as_edgecnn_does(path: Path) -> None:
    from edgecnn.artifact.bundle import open_bundle

    with open_bundle(path) as bundle:
        name, picture = read_golden(bundle).originals[0]
    assert reader.check(path) == edgecnn.load(path).predict(picture, name=name).label


@pytest.mark.parametrize("path", SHIPPED[:1], ids=lambda path: path.stem)
def test_no_changed_byte_gets_past_it(path: Path) -> None:
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [*random.integers(0, len(data), 60).tolist(), 0, 4, len(data) - 1, len(data) - 22]:
        changed = data[:place] + bytes([data[place] ^ 1 + int(random.integers(0, 255)) % 255]) + data[place + 1 :]
        with pytest.raises(reader.Refused):
            reader.manifest_of(reader.members_of(changed))


def test_it_imports_nothing_of_edgecnn_and_is_short() -> None:
    text = Path(reader.__file__).read_text(encoding="utf-8")
    modules = {name.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("edgecnn") for name in modules)
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 110

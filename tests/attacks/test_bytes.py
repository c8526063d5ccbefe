"""Any single byte changed anywhere in a shipped artifact is refused, and `run` never answers from one that was changed in what it reads."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.ziplayout import CENTRAL, END, LOCAL
from edgecnn.cli import main
from edgecnn.device.model import open_model
from edgecnn.errors import ArtifactRejected
from tests.attacks.make import members_of

SHIPPED = Path(__file__).parents[2] / "models" / "simplecnn-fashion"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (shipped,) = SHIPPED.glob("*.edgecnn")
    return Path(shutil.copy(shipped, tmp_path / "copy.edgecnn"))


@contextmanager
def changed(file: BinaryIO, at: int, value: int) -> Iterator[None]:
    """The byte at `at` is `value` in the file itself while the block runs."""
    file.seek(at)
    (was,) = file.read(1)
    assert was != value
    file.seek(at)
    file.write(bytes([value]))
    try:
        yield
    finally:
        file.seek(at)
        file.write(bytes([was]))


def unnoticed(path: Path, positions: Iterable[int], read: Callable[[Path], object]) -> list[int]:
    """Positions at which another, seeded, value isn't refused by `read`."""
    good, draw, found = path.read_bytes(), random.Random(11), []
    with open(path, "r+b", buffering=0) as file:
        for at in positions:
            with changed(file, at, good[at] ^ draw.randrange(1, 256)):
                try:
                    read(path)
                except ArtifactRejected:
                    continue
                found.append(at)
    assert path.read_bytes() == good
    return found


def verify(path: Path) -> None:
    with open_bundle(path) as bundle:
        bundle.verify()


def test_any_changed_byte_is_refused(copy: Path, campaign: Callable[..., int]) -> None:
    """2,000 seeded positions, every one with --full."""
    size = copy.stat().st_size
    verify(copy)
    assert unnoticed(copy, random.Random(7).sample(range(size), campaign(sample=2000, full=size)), verify) == []
    verify(copy)


def test_every_header_byte_is_refused_at_opening(copy: Path) -> None:
    """All that is no member's content: local headers, the directory, the end record. No member is read for that."""
    headers = list(header_positions(copy.read_bytes()))
    assert len(headers) > 14 * (LOCAL.size + CENTRAL.size)
    assert unnoticed(copy, headers, lambda path: open_bundle(path).close()) == []


def header_positions(good: bytes) -> Iterator[int]:
    position = 0
    for name, content in members_of(good).items():
        yield from range(position, position := position + LOCAL.size + len(name))
        position += len(content)
    yield from range(position, len(good))
    assert len(good) - position > END.size


def test_what_run_reads_is_refused_when_it_was_changed(copy: Path, campaign: Callable[..., int]) -> None:
    """`run` reads the structure, the manifest and the graph: up to the end of model.onnx, and from the directory on."""
    good = copy.read_bytes()
    read = sum(LOCAL.size + len(name) + len(content) for name, content in list(members_of(good).items())[:2])
    positions = [*range(read), *range(len(good) - 500, len(good))]
    assert unnoticed(copy, random.Random(8).sample(positions, campaign(sample=500, full=20_000)), open_model) == []
    open_model(copy)


@pytest.mark.parametrize("command", [["run", "FILE", "IMAGE"], ["validate", "FILE"], ["verify", "FILE"], ["verify", "FILE", "--deep"]])
def test_the_command_line_refuses_it_in_a_sentence(copy: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    image = sorted((SHIPPED / "samples").rglob("*.png"))[0]
    arguments = [{"FILE": str(copy), "IMAGE": str(image)}.get(argument, argument) for argument in command]
    assert main(arguments) == 0
    capsys.readouterr()
    with open(copy, "r+b", buffering=0) as file, changed(file, 100_000, copy.read_bytes()[100_000] ^ 1):
        assert main(arguments) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "model.onnx isn't what was packed" in err

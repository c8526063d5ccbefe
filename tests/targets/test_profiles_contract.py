"""What every profile of edgecnn/targets promises; a new file is tested here the moment it exists."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgecnn.targets
from edgecnn.build.conform import MIN_OPSET
from edgecnn.build.target import aim
from edgecnn.errors import UsageError
from edgecnn.targets import find, names, read_profile
from edgecnn.train.recipe import tomllib

HOME = Path(edgecnn.targets.__file__).parent
MACHINES = {"x86_64", "aarch64", "armv7l", "any"}
WANTED = {"generic", "x86-64", "x86-64-vnni", "rpi3", "rpi4", "rpi5", "jetson-orin", "armv8"}


def test_what_the_readme_promises_is_there() -> None:
    assert set(names()) >= WANTED
    assert set(names()) == {path.stem for path in HOME.glob("*.toml")}


def test_the_folder_holds_data_and_its_reader_only() -> None:
    assert {path.name for path in HOME.iterdir() if path.suffix != ".toml"} - {"__pycache__"} == {"__init__.py"}


@pytest.mark.parametrize("name", names())
def test_a_profile_says_what_is_wanted_and_where_from(name: str) -> None:
    found = find(name)
    assert found == read_profile(HOME / f"{name}.toml")
    assert found.name == name
    assert name == name.lower()
    assert found.machine in MACHINES
    assert len(found.source) > 20
    assert found.memory_mb is not None
    assert found.memory_mb >= 512
    assert 1 <= found.cores <= 64
    assert found.opset is not None
    assert MIN_OPSET <= found.opset <= 20  # what the oldest onnxruntime that the base install takes reads
    assert found.ir_version in (8, 9)
    assert (found.processor or "").isprintable()
    assert set(found.isa) <= {"avx2", "avx_vnni", "avx512_vnni", "asimd", "asimdhp", "asimddp", "i8mm", "bf16"}


@pytest.mark.parametrize("name", names())
def test_a_profile_is_toml_as_others_read_it(name: str) -> None:
    told = tomllib.loads((HOME / f"{name}.toml").read_text(encoding="utf-8"))
    found = find(name)
    assert {key: list(value) if isinstance(value := getattr(found, key), tuple) else value for key in told} == told


@pytest.mark.parametrize("name", names())
def test_an_export_can_be_aimed_at_it_or_it_is_said_why_not(name: str) -> None:
    if find(name).fault is None:
        assert aim(name, quantize="int8", config=None, opset=None, threads=None, replays=False).name == name
    else:
        with pytest.raises(UsageError, match="nothing can be exported for"):
            aim(name, quantize="int8", config=None, opset=None, threads=None, replays=False)

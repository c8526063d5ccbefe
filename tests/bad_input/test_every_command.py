"""What every command does with a missing file, a damaged artifact, an impossible number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.device.host import available_cores
from tests.bad_input.conftest import Refused

DEVICE = {
    "run": ["run", "FILE", "IMAGE"],
    "validate": ["validate", "FILE"],
    "verify": ["verify", "FILE"],
    "bench": ["bench", "FILE", "--min-seconds", "0"],
    "inspect": ["inspect", "FILE"],
    "report": ["report", "FILE", "--format", "md"],
    "diff": ["diff", "FILE", "old.edgecnn"],
    "explain": ["explain", "FILE", "IMAGE", "-o", "page.html"],
}
HOST = {
    "train": ["train", "FILE", "-o", "run"],
    "export": ["export", "FILE", "-o", "old.edgecnn"],
}


@pytest.fixture
def image(made: Path) -> Path:
    return sorted((made / "some").rglob("*.png"))[0]


def filled(arguments: list[str], file: object, image: Path) -> list[object]:
    return [{"FILE": file, "IMAGE": image}.get(argument, argument) for argument in arguments]


@pytest.mark.parametrize("name", ["run", "validate", "verify", "bench", "inspect", "report", "diff", "explain", "train", "export"])
def test_a_missing_file_is_named(name: str, refused: Refused, image: Path) -> None:
    file = {"train": "gone.toml", "export": "gone.onnx"}.get(name, "gone.edgecnn")
    assert f"{file} doesn't exist" in refused(*filled({**DEVICE, **HOST}[name], file, image), code=3)


@pytest.mark.parametrize("name", ["run", "validate", "verify", "bench", "inspect", "report", "diff", "explain", "train", "export"])
def test_a_folder_in_the_place_of_a_file_is_said(name: str, refused: Refused, image: Path, workplace: Path) -> None:
    file = {"train": "gone.toml", "export": "gone.onnx"}.get(name, "gone.edgecnn")
    (workplace / file).mkdir()
    assert file in refused(*filled({**DEVICE, **HOST}[name], file, image), code=3)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", DEVICE)
def test_an_artifact_cut_short_is_refused(name: str, share: float, refused: Refused, image: Path, workplace: Path) -> None:
    whole = (workplace / "old.edgecnn").read_bytes()
    (workplace / "cut.edgecnn").write_bytes(whole[: int(len(whole) * share)])
    assert "cut.edgecnn" in refused(*filled(DEVICE[name], "cut.edgecnn", image), code=3)


@pytest.mark.parametrize("threads", ["0", "-1", str(available_cores() + 1), "many", ""])
@pytest.mark.parametrize("name", ["run", "validate", "bench", "explain", "train"])
def test_an_impossible_number_of_threads_is_a_usage_error(name: str, threads: str, refused: Refused, image: Path, recipe_file: object) -> None:
    file = recipe_file() if name == "train" else "old.edgecnn"  # type: ignore[operator]
    assert "threads" in refused(*filled({**DEVICE, **HOST}[name], file, image), "--threads", threads, code=2)


@pytest.mark.parametrize("name", ["run", "validate", "verify", "bench", "inspect", "report", "diff", "explain"])
def test_a_picture_is_no_artifact(name: str, refused: Refused, image: Path) -> None:
    said = refused(*filled(DEVICE[name], image, image), code=3)
    assert "is no .edgecnn file" in said


@pytest.mark.parametrize("name", [*DEVICE, *HOST])
def test_arguments_that_are_no_option_are_told(name: str, refused: Refused, image: Path) -> None:
    assert "No such option" in refused(*filled({**DEVICE, **HOST}[name], "old.edgecnn", image), "--nonsense", code=2)

"""Images and labels that can't be used: none at all, no images, labels that the model doesn't know, one label where several may hold."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bad_input.conftest import DESCRIBED, Refused
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.onnx_nets import color_folder

Recipe = Callable[..., Path]


@pytest.fixture
def int8(made: Path) -> list[object]:
    return ["export", made / "colors.onnx", "-o", "old.edgecnn", *DESCRIBED, "--quantize", "int8"]


def unreadable(how: str) -> bytes:
    """What a file can hold that is no picture to be used."""
    if how in ("empty", "text"):
        return b"" if how == "empty" else b"no picture at all"
    data = io.BytesIO()
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(data, "BMP")
    if how == "huge":
        data = io.BytesIO()
        Image.new("1", (10_000, 10_000)).save(data, "PNG")
    return data.getvalue()[: 300 if how == "cut short" else None]


def broken(folder: Path, how: str) -> Path:
    """Six pictures, of which blue/003.png can't be used."""
    color_folder(folder, 6, seed=9)
    bad = folder / "blue" / "003.png"
    if how == "a dangling link":
        bad.unlink()
        bad.symlink_to("nowhere.png")
    else:
        bad.write_bytes(unreadable(how))
    return folder


# calibration


@pytest.mark.parametrize("which", ["--calibration", "--validation"])
@pytest.mark.parametrize("what", ["an empty folder", "empty class folders", "a folder of texts", "an empty tar", "an empty csv"])
def test_a_set_without_images(which: str, what: str, int8: list[object], made: Path, workplace: Path, refused: Refused) -> None:
    given = workplace / ("given" + {"an empty tar": ".tar", "an empty csv": ".csv"}.get(what, ""))
    if what == "an empty tar":
        tarfile.open(given, "w").close()
    elif what == "an empty csv":
        given.write_text("file,labels\n")
    else:
        given.mkdir()
    if what == "empty class folders":
        (given / "red").mkdir()
    if what == "a folder of texts":
        (given / "notes.txt").write_text("no picture")
    other = "--validation" if which == "--calibration" else "--calibration"
    said = refused(*int8, which, given, other, made / "some", code=3)
    assert str(given) in said
    assert "image" in said


@pytest.mark.parametrize("how", ["text", "empty", "cut short", "huge", "a dangling link"])
@pytest.mark.parametrize("which", ["--calibration", "--validation"])
def test_an_image_that_is_none_is_named(which: str, how: str, int8: list[object], made: Path, workplace: Path, refused: Refused) -> None:
    other = "--validation" if which == "--calibration" else "--calibration"
    said = refused(*int8, which, broken(workplace / "given", how), other, made / "some", code=3)
    assert "blue/003.png" in said


def test_an_image_in_a_tar_that_is_none_is_named(int8: list[object], made: Path, workplace: Path, refused: Refused) -> None:
    with tarfile.open(workplace / "given.tar", "w") as archive:
        for name in ("blue/1.png", "red/2.png"):
            member = tarfile.TarInfo(name)
            member.size = 10
            archive.addfile(member, io.BytesIO(b"no picture"))
    assert "blue/1.png" in refused(*int8, "--calibration", "given.tar", "--validation", made / "some", code=3)


def test_int8_without_calibration_is_told_before_anything_is_read(int8: list[object], refused: Refused) -> None:
    assert "int8 needs calibration images to measure ranges on; give some hundred real ones with --calibration" in refused(*int8, code=2)


def test_one_image_in_both_sets_is_enough_to_refuse(int8: list[object], made: Path, workplace: Path, refused: Refused) -> None:
    folder = color_folder(workplace / "given", 6, seed=9)
    (folder / "blue" / "another name.png").write_bytes(next((made / "some").rglob("*.png")).read_bytes())
    said = refused(*int8, "--calibration", made / "some", "--validation", folder, code=3)
    assert "1 of the 7 validation images are among the calibration images" in said


@pytest.mark.parametrize("command", ["export", "validate"])
def test_labels_that_the_model_does_not_know(command: str, int8: list[object], made: Path, workplace: Path, refused: Refused) -> None:
    folder = color_folder(workplace / "given", 6, seed=9)
    (folder / "green").rename(folder / "gren")
    arguments = [*int8, "--calibration", made / "some", "--validation"] if command == "export" else ["validate", "old.edgecnn", "--data"]
    if command == "validate":
        assert refuses_data(refused, *arguments, folder).endswith(
            "did you mean green?; rename it or correct the labels. See docs/bring-your-own-model.md."
        )
    else:
        assert "'gren'" in refused(*arguments, folder, code=3)


def refuses_data(refused: Refused, *arguments: object) -> str:
    return refused(*arguments, "--json", code=3)  # as text, the golden answers' lines come before


@pytest.mark.parametrize("how", ["text", "empty", "cut short", "huge", "a dangling link"])
def test_validate_names_an_image_that_is_none(how: str, workplace: Path, refused: Refused) -> None:
    assert "blue/003.png" in refuses_data(refused, "validate", "old.edgecnn", "--data", broken(workplace / "given", how))


def test_validate_wants_images_and_labels(workplace: Path, refused: Refused) -> None:
    assert "gone doesn't exist" in refuses_data(refused, "validate", "old.edgecnn", "--data", "gone")
    (workplace / "empty").mkdir()
    assert "empty" in refuses_data(refused, "validate", "old.edgecnn", "--data", "empty")
    Image.new("RGB", (9, 9)).save(workplace / "empty" / "a.png")
    assert "label" in refuses_data(refused, "validate", "old.edgecnn", "--data", "empty")


# several labels


@pytest.fixture
def table(workplace: Path) -> Callable[[str], Path]:
    """table(rows): a CSV beside two pictures, 1.png and 2.png."""

    def write(rows: str) -> Path:
        for name in ("1.png", "2.png"):
            Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(workplace / name)
        (workplace / "labels.csv").write_text("file,labels\n" + rows)
        return workplace / "labels.csv"

    return write


def test_a_model_of_one_label_and_data_of_several(table: Callable[[str], Path], int8: list[object], made: Path, refused: Refused) -> None:
    data = table("1.png,red;green\n2.png,blue\n")
    assert "the collection is multi-label and colors is single-label" in refuses_data(refused, "validate", "old.edgecnn", "--data", data)
    assert "the collection is multi-label and colors is single-label" in refused(*int8, "--calibration", made / "some", "--validation", data, code=3)


def test_a_model_of_several_labels_and_data_of_one(made: Path, workplace: Path, refused: Refused) -> None:
    color_artifact(workplace / "several.edgecnn", task="multi-label")
    assert "the collection is single-label and colors is multi-label" in refuses_data(refused, "validate", "several.edgecnn", "--data", made / "some")
    multi = ["export", made / "colors.onnx", "-o", "old.edgecnn", *DESCRIBED, "--task", "multi-label"]
    assert "the collection is single-label and colors is multi-label" in refused(*multi, "--validation", made / "some", code=3)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1.png,red\n2.png,gren\n", "gren"),
        ("1.png,red\n3.png,blue\n", "3.png"),
        ("1.png,red\n../2.png,blue\n", "../2.png"),
        ("1.png,red\n1.png,blue\n", "1.png"),
        ("1.png,red,0.5\n", "labels.csv"),
    ],
)
def test_a_table_that_can_not_be_meant(rows: str, says: str, table: Callable[[str], Path], workplace: Path, refused: Refused) -> None:
    color_artifact(workplace / "several.edgecnn", task="multi-label")
    assert says in refuses_data(refused, "validate", "several.edgecnn", "--data", table(rows))


# training


@pytest.fixture
def train(workplace: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """train(recipe, code=3): the command, which must refuse and leave nothing but the folder's lock; the sentence that it says."""
    from edgecnn.cli import main
    from tests.bad_input.conftest import contents, sentence

    def run(recipe: Path, *more: object, code: int) -> str:
        before = contents(workplace)
        found = main(["train", str(recipe), "-o", "run", *map(str, more)])
        out, err = capfd.readouterr()
        assert (found, out) == (code, ""), err
        left = {name: data for name, data in contents(workplace).items() if name not in before}
        assert {name for name, data in left.items() if data} == set()
        assert [name for name in left if name.endswith((".safetensors", ".jsonl", ".npy", ".part"))] == []
        return sentence(err)

    return run


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"[optimizer]": "[optimiser]"}, 2, "optimiser: there is no such key, did you mean optimizer?\n"),
        ({"learning_rate": "learning_rat"}, 2, "learning_rat: there is no such key, did you mean learning_rate?"),
        ({"held_out": "heldout"}, 2, "did you mean held_out?"),
        ({"channels = [4]": "chanels = [4]"}, 2, "did you mean channels?"),
        ({'name = "simplecnn"': 'name = "simplecn"'}, 2, "did you mean simplecnn?"),
        ({"epochs = 3": 'epochs = "3"'}, 2, "schedule.epochs"),
        ({"epochs = 3": "epochs = "}, 2, "is no TOML"),
        ({"epochs = 3": "epochs = 0"}, 2, "epochs must be positive"),
        ({'task = "single-label"': 'task = "multi-label"'}, 2, "change task"),
        ({'task = "single-label"': 'task = "both"'}, 2, "both"),
        ({'task = "single-label"': 'task = "single-label"\nthresholds = [0.5, 0.5]'}, 2, "thresholds"),
        ({'path = "pictures"': 'path = "gone"'}, 3, "gone"),
        ({"size = [12, 12]": "size = [2, 2]"}, 2, "too small for simplecnn"),
    ],
)
def test_a_recipe_that_can_not_be_meant(changes: dict[str, str], code: int, says: str, recipe_file: Recipe, train: Callable[..., str]) -> None:
    assert says in train(recipe_file(**changes), code=code) + "\n"


@pytest.mark.parametrize("how", ["text", "empty", "cut short", "huge"])
def test_a_training_image_that_is_none_is_named(how: str, recipe_file: Recipe, pictures: Path, train: Callable[..., str]) -> None:
    (pictures / "below" / "00.png").write_bytes(unreadable(how))
    assert "below/00.png" in train(recipe_file(), code=3)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x = " + b"[" * 100_000], ids=["bytes", "nested"])
def test_a_recipe_that_is_no_text(data: bytes, workplace: Path, train: Callable[..., str]) -> None:
    (workplace / "recipe.toml").write_bytes(data)
    assert "recipe.toml is no TOML" in train(workplace / "recipe.toml", code=2)

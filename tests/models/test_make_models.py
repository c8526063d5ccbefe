"""tools/make_models leaves a whole folder or the one that was there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgecnn.data.collection import Item, split
from edgecnn.errors import DownloadFailed, RecipeError

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def making() -> Iterator[Any]:
    """The modules of the tool's library."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import model_making.folders as folders
        import model_making.published as published
        import model_making.trained as trained
    finally:
        sys.path.pop(0)

    @dataclass(frozen=True)
    class Making:
        folders: ModuleType
        published: ModuleType
        trained: ModuleType

    return Making(folders, published, trained)


@dataclass(frozen=True)
class Numbers:
    """60 items, of classes 0, 1, 2 in turn."""

    labels: tuple[str, ...] = ("zero", "one", "t/wo")
    multi_label: bool = False

    def __len__(self) -> int:
        return 60

    def __iter__(self) -> Iterator[Item]:
        for number in range(60):
            yield Item(name=f"x/{number}", source=np.full((2, 2), number, dtype=np.uint8), target=(number % 3,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in (("recipe.toml", "by hand"), ("card.md", "old"), ("gone.md", "old")):
        (folder / name).write_text(content)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_folder_takes_the_old_one_s_place(making: Any, folder: Path) -> None:
    with making.folders.staged(folder) as stage:
        assert names(stage) == {"recipe.toml"}
        (stage / "card.md").write_text("new")
        assert (folder / "card.md").read_text() == "old"
    assert names(folder) == {"recipe.toml", "card.md"}
    assert (folder / "card.md").read_text() == "new"
    assert names(folder.parent) == {"mine"}


def test_a_failure_leaves_the_old_folder(making: Any, folder: Path) -> None:
    def fail() -> None:
        with making.folders.staged(folder) as stage:
            (stage / "card.md").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (folder / "card.md").read_text() == "old"
    assert names(folder.parent) == {"mine"}


def test_what_a_kill_left_is_put_right(making: Any, folder: Path) -> None:
    folder.rename(folder.with_name(".mine.old.part"))
    half = folder.with_name(".mine.new.part")
    half.mkdir()
    (half / "card.md").write_text("half")
    with pytest.raises(RuntimeError), making.folders.staged(folder):
        raise RuntimeError
    assert (folder / "card.md").read_text() == "old"
    assert names(folder.parent) == {"mine"}


def test_a_draw_takes_as_many_of_each_class_and_the_same_again(making: Any) -> None:
    drawn = making.trained.draw(Numbers(), 12, seed=3)
    assert Counter(item.target for item in drawn) == {(0,): 4, (1,): 4, (2,): 4}
    assert drawn.positions == making.trained.draw(Numbers(), 12, seed=3).positions
    assert drawn.positions != making.trained.draw(Numbers(), 12, seed=4).positions
    with pytest.raises(RecipeError, match="each class"):
        making.trained.draw(Numbers(), 90, seed=3)


def test_a_draw_from_held_out_images_stays_among_them(making: Any) -> None:
    rest, held_out = split(Numbers(), 30, seed=1)
    drawn = making.trained.draw(held_out, 9, seed=1)
    assert drawn.positions < held_out.positions
    assert drawn.positions.isdisjoint(rest.positions)
    assert Counter(item.target for item in drawn) == {(0,): 3, (1,): 3, (2,): 3}


def test_images_are_written_in_class_folders_or_side_by_side(making: Any, tmp_path: Path) -> None:
    drawn = making.trained.draw(Numbers(labels=("a", "b", "c")), 3, seed=0)
    making.folders.write_images(drawn, tmp_path / "classed", classed=True)
    making.folders.write_images(drawn, tmp_path / "plain", classed=False)
    assert names(tmp_path / "classed") == {"a", "b", "c"}
    assert all(name.endswith(".png") for name in names(tmp_path / "plain"))
    assert making.folders.slug("T-shirt/top") == "t-shirt-top"


def test_another_file_than_promised_is_refused(making: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path))
    (tmp_path / "packages").mkdir()
    with zipfile.ZipFile(tmp_path / "packages" / "some_photos-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("cat.png", b"a cat")
    wanted = making.published.PackagedFile(package="some-photos==1.0", file="cat.png", sha256=hashlib.sha256(b"a cat").hexdigest())
    assert making.published.fetch(wanted) == b"a cat"
    other = making.published.PackagedFile(package="some-photos==1.0", file="cat.png", sha256=hashlib.sha256(b"a dog").hexdigest())
    with pytest.raises(DownloadFailed, match="another sha256"):
        making.published.fetch(other)


def test_the_recipe_of_five_is_whole_and_keeps_its_photos_apart(making: Any) -> None:
    recipe = making.published.load_published(ROOT / "models" / "five" / "recipe.toml")
    calibration, validation = ({photo.sha256 for photo in photos} for photos in (recipe.photos.calibration, recipe.photos.validation))
    assert calibration.isdisjoint(validation)
    assert len(validation) * recipe.photos.validation_crops >= 300
    assert {recipe.evaluation.labels[key] for key in recipe.evaluation.labels} <= set(recipe.labels)


def test_an_unknown_name_is_one_sentence() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_models", "four"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["make_models: There is no recipe for 'four' in models/; there are five, resnet8-cifar10, simplecnn-fashion."]

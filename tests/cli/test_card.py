"""`edgecnn card`: a file, or standard output; nothing where something is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgecnn.cli import main
from tests.fixtures.artifacts import COLORS, color_artifact, encode, solid, tiny_artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for color in COLORS:
        (folder / color).mkdir(parents=True)
        (folder / color / "0.png").write_bytes(encode(solid(color)))
    return folder


def run(*arguments: object) -> int:
    return main(["card", *map(str, arguments)])


def test_a_card_is_written_from_all_that_is_given(artifact: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about, recipe, output = tmp_path / "about.md", tmp_path / "recipe.toml", tmp_path / "card.md"
    about.write_text("Tells colours apart.\n\n## Intended use\n\nTests.\n")
    recipe.write_text("name = 'colors'\n")
    given = ("--data", photos, "--float32", artifact, "--about", about, "--recipe", recipe, "--threads", 1)
    assert run(artifact, *given, "-o", output) == 0
    assert capsys.readouterr() == ("", "")
    document = output.read_text()
    assert "Tells colours apart." in document
    assert "## Intended use\n\nTests.\n" in document
    assert "On the 3 images of photos, the same for both:" in document
    assert "3 of 3 |       100.00 %" in document
    assert hashlib.sha256(recipe.read_bytes()).hexdigest() in document
    assert str(tmp_path) not in document
    assert run(artifact, *given) == 0
    assert capsys.readouterr().out == document


def test_the_images_can_be_given_a_name(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(artifact, "--data", photos, "--data-name", "three colours") == 0
    assert "On the 3 images of three colours:" in capsys.readouterr().out
    assert run(artifact, "--data-name", "three colours") == 2


def test_what_is_wrong_is_one_sentence_and_no_card(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, output = tiny_artifact(tmp_path / "other.edgecnn"), tmp_path / "card.md"
    (tmp_path / "about.md").write_text("## Limitations\n")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "0.png").write_bytes(encode(solid("red")))
    cases = [
        (("--float32", other), 2, "not the model of"),
        (("--about", tmp_path / "about.md"), 2, "Limitations"),
        (("--recipe", tmp_path / "none.toml"), 3, "can't be read"),
        (("--data", plain), 3, "have no labels"),
        (("--data", tmp_path / "nowhere"), 3, "doesn't exist"),
    ]
    for arguments, code, said in cases:
        assert run(artifact, *arguments, "-o", output) == code
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
        assert not output.exists()
    assert run(tmp_path / "none.edgecnn", "-o", output) == 3
    assert run(artifact, "-o", tmp_path / "no" / "folder.md") == 4

"""`edgecnn explain`: a page, whatever the images come as; nothing where something is wrong."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecnn.cli import main
from tests.fixtures.artifacts import color_artifact, encode, solid, tiny_artifact


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: colors.edgecnn, other.edgecnn (of other labels), red.png, broken.png, photos/ and pixels.npy."""
    color_artifact(tmp_path / "colors.edgecnn")
    tiny_artifact(tmp_path / "other.edgecnn")
    (tmp_path / "red.png").write_bytes(encode(solid("red")))
    (tmp_path / "broken.png").write_bytes(encode(solid("red"))[:60])
    (tmp_path / "photos").mkdir()
    for color in ("blue", "green"):
        (tmp_path / "photos" / f"{color}.png").write_bytes(encode(solid(color)))
    np.save(tmp_path / "pixels.npy", np.stack([solid("blue"), solid("red")]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> int:
    return main(["explain", *map(str, arguments)])


def headings(page: Path) -> list[str]:
    """The images' names and what the network says of each."""
    text = page.read_text()
    parts = text.split('<section class="card verdict">')[1:]
    return [f"{part.partition('<h2>')[2].partition('</h2>')[0]}: {part.partition('says <b>')[2].partition('</b>')[0]}" for part in parts]


def test_a_page_is_written_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("colors.edgecnn", "red.png", "-o", "page.html") == 0
    page = folder / "page.html"
    assert capsys.readouterr() == (f"page.html, {page.stat().st_size:,} bytes\n", "")
    assert headings(page) == ["red.png: red"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert str(folder) not in page.read_text()
    first = page.read_bytes()
    assert run("colors.edgecnn", "red.png", "-o", "page.html", "--threads", 1) == 0
    assert page.read_bytes() == first


def test_images_come_as_for_run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO(encode(solid("green")))

    monkeypatch.setattr(sys, "stdin", Piped())
    np.save("ready.npy", np.full((1, 3, 8, 8), [[[[0.1]], [[0.2]], [[0.9]]]], np.float32))
    assert run("colors.edgecnn", "photos", "pixels.npy", "ready.npy", "-", "-o", "page.html") == 0
    wanted = ["blue.png: blue", "green.png: green", "pixels.npy[0]: blue", "pixels.npy[1]: red", "ready.npy[0]: blue", "standard input: green"]
    assert headings(folder / "page.html") == wanted


def test_what_can_not_be_read_is_told_and_the_others_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("colors.edgecnn", "broken.png", "red.png", "gone.png", "-o", "page.html") == 5
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert "broken.png" in err[0]
    assert "gone.png doesn't exist" in err[1]
    assert "2 of 3 inputs could not be used, the rest are in page.html" in err[2]
    assert headings(folder / "page.html") == ["red.png: red"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("colors.edgecnn", "broken.png"), 3, "broken.png"),
        (("colors.edgecnn", "red.png", "--compare", "other.edgecnn"), 2, "its labels differ"),
        (("colors.edgecnn", "red.png", "--compare", "gone.edgecnn"), 3, "gone.edgecnn doesn't exist"),
        (("colors.edgecnn", "odd.npy"), 2, "odd.npy[0]: colors takes float32 arrays"),
        (("red.png", "red.png"), 3, "is no .edgecnn file"),
        (("colors.edgecnn", "many"), 2, "more than 16 images"),
        (("colors.edgecnn", "red.png", "--threads", 0), 2, "0 threads"),
    ],
)
def test_where_something_is_wrong_it_is_one_sentence_and_no_page(
    arguments: tuple[object, ...], code: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("odd.npy", np.zeros((1, 3, 4, 4), np.float32))
    (folder / "many").mkdir()
    for number in range(17):
        (folder / "many" / f"{number:02d}.png").write_bytes(encode(solid("red")))
    (folder / "page.html").write_text("the old page")
    assert run(*arguments, "-o", "page.html") == code
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert (folder / "page.html").read_text() == "the old page"
    assert not list(folder.glob("*.part"))


def test_a_page_takes_the_place_of_nothing_that_it_is_made_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("colors.edgecnn", "red.png"):
        before = (folder / name).read_bytes()
        assert run("colors.edgecnn", "red.png", "-o", name) == 2
        assert "would be replaced" in capsys.readouterr().err
        assert (folder / name).read_bytes() == before


def test_a_folder_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("colors.edgecnn", "red.png", "-o", "nowhere/page.html") == 4
    assert "there is no folder nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["jinja2", "onnx"])
def test_without_its_extra_the_pip_line_is_told(
    package: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.report import page

    page.environment.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    assert run("colors.edgecnn", "red.png", "-o", "page.html") == 4
    assert f"{package} isn't installed, and this needs it; run: pip install 'edgecnn[report]'" in capsys.readouterr().err
    assert not (folder / "page.html").exists()


def test_an_artifact_that_was_not_proved_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    color_artifact(folder / "forced.edgecnn", force=True)
    assert run("forced.edgecnn", "red.png", "-o", "page.html") == 0
    assert "packed by force" in capsys.readouterr().err
    assert "was packed by force: its answers were not proved" in (folder / "page.html").read_text()


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert "Example: edgecnn explain resnet8.edgecnn cat.jpg -o cat.html" in help_text
    assert "--compare OTHER" in help_text

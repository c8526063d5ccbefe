"""`edgecnn report`: a page, Markdown or JSON, whole or not there, from a benchmark and images that belong to the artifact."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.codec import encode, strict_json
from edgecnn.artifact.records import EpochMetrics
from edgecnn.cli import main
from tests.fixtures.artifacts import COLORS, color_artifact, solid, tiny_artifact
from tests.fixtures.artifacts import encode as encoded
from tests.fixtures.chromium import Chromium

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of each colour, one of them under a wrong label."""
    folder = tmp_path / "photos"
    for color in COLORS:
        (folder / color).mkdir(parents=True)
        (folder / color / "0.png").write_bytes(encoded(solid(color)))
    (folder / "green" / "1.png").write_bytes(encoded(solid("blue")))
    return folder


@pytest.fixture
def bench(artifact: Path, tmp_path: Path, capsys: Captured) -> Path:
    """What `edgecnn bench` really prints."""
    assert main(["bench", str(artifact), "--threads", "1", "--min-seconds", "0", "--min-runs", "200", "--json"]) in (0, 1)
    path = tmp_path / "bench.json"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(encode(EpochMetrics(epoch=n, loss=1 / n, accuracy=0.5, learning_rate=0.1))) + "\n" for n in (1, 2, 3)))
    return path


def run(*arguments: object) -> int:
    return main(["report", *map(str, arguments), "--threads", "1"])


def test_a_page_is_written_from_all_that_is_given(
    artifact: Path, photos: Path, bench: Path, metrics: Path, tmp_path: Path, capsys: Captured, chromium: Chromium
) -> None:
    output = tmp_path / "report.html"
    given = (artifact, "--data", photos, "--data-name", "four pictures", "--bench", bench, "--metrics", metrics, "--float32", artifact)
    assert run(*given, "-o", output) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{output}, {output.stat().st_size:,} bytes\n", "")
    page = chromium.open(output, width=390)
    assert chromium.fits(page)
    assert "On the 4 images of four pictures" in page.locator("#accuracy").inner_text()
    assert page.locator("#mistakes img").count() == 1
    assert page.locator("#speed .plot").count() == 2
    assert page.locator("#training .plot").count() == 2
    assert str(tmp_path) not in output.read_text()
    before = output.read_bytes()
    assert run(*given, "-o", output) == 0
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "options", "start"),
    [
        ("r.html", (), "<!DOCTYPE html>"),
        ("r.md", (), "# colors 1.0.0"),
        ("r.markdown", (), "# colors 1.0.0"),
        ("r.json", (), "{"),
        ("report", (), "<!DOCTYPE html>"),
        ("r.txt", ("--format", "md"), "# colors 1.0.0"),
        ("r.html", ("--format", "json"), "{"),
    ],
)
def test_the_form_is_that_of_the_name_unless_it_is_said(name: str, options: tuple[str, ...], start: str, artifact: Path, tmp_path: Path) -> None:
    assert run(artifact, *options, "-o", tmp_path / name) == 0
    assert (tmp_path / name).read_text().startswith(start)


def test_standard_output_gets_it_where_no_file_is_named(artifact: Path, photos: Path, capsys: Captured) -> None:
    assert run(artifact, "--format", "json", "--data", photos) == 0
    found: Any = strict_json(capsys.readouterr().out.encode())
    assert (found["schema"], found["accuracy"]["packed"]["correct"]) == (1, 3)
    assert run(artifact, "--format", "md") == 0
    assert capsys.readouterr().out.startswith("# colors 1.0.0\n")
    assert run(artifact) == 0
    assert capsys.readouterr().out.endswith("</html>\n")


def test_a_page_is_not_poured_over_a_terminal(artifact: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    done = subprocess.run([sys.executable, "-m", "edgecnn", "report", str(artifact)], stdout=child, stderr=subprocess.PIPE, text=True, check=False)
    os.close(child)
    os.close(parent)
    assert done.returncode == 2
    assert done.stderr == "edgecnn: a page is no reading for a terminal; give -o report.html, or --format md.\n"


@pytest.fixture
def refused(tmp_path: Path, capsys: Captured) -> Callable[..., str]:
    """refused(*arguments, code=3): the one sentence of a report that isn't written."""

    def check(*arguments: object, code: int) -> str:
        output = tmp_path / "report.html"
        output.write_text("the old one")
        before = sorted(tmp_path.iterdir())
        capsys.readouterr()
        assert run(*arguments, "-o", output) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("edgecnn: ")
        assert err.count("\n") == 1
        assert output.read_text() == "the old one"
        assert sorted(tmp_path.iterdir()) == before
        return err

    return check


def test_what_is_wrong_is_one_sentence_and_no_report(
    artifact: Path, photos: Path, metrics: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    other = tiny_artifact(tmp_path / "other.edgecnn")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "0.png").write_bytes(encoded(solid("red")))
    strange = tmp_path / "strange"
    (strange / "pink").mkdir(parents=True)
    (strange / "pink" / "0.png").write_bytes(encoded(solid("red")))
    (tmp_path / "bad.png").mkdir()
    (tmp_path / "broken" / "red").mkdir(parents=True)
    (tmp_path / "broken" / "red" / "0.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bench.json").write_text("no json")
    (tmp_path / "about.md").write_text("## Limitations\n")
    cases: list[tuple[tuple[object, ...], int, str]] = [
        ((tmp_path / "gone.edgecnn",), 3, "gone.edgecnn doesn't exist"),
        ((photos / "red" / "0.png",), 3, "is no .edgecnn file"),
        ((artifact, "--data", tmp_path / "nowhere"), 3, "nowhere doesn't exist"),
        ((artifact, "--data", plain), 3, "have no labels"),
        ((artifact, "--data", strange), 3, "pink"),
        ((artifact, "--data", tmp_path / "broken"), 3, "0.png is no image that can be read"),
        ((artifact, "--data", tmp_path / "empty"), 3, "empty"),
        ((artifact, "--bench", tmp_path / "bench.json"), 3, "bench.json can't be used"),
        ((artifact, "--bench", tmp_path / "gone.json"), 3, "gone.json doesn't exist"),
        ((artifact, "--metrics", tmp_path / "bench.json"), 3, "is no record of a training"),
        ((artifact, "--metrics", tmp_path / "gone.jsonl"), 3, "gone.jsonl doesn't exist"),
        ((artifact, "--float32", other), 2, "not the model of"),
        ((artifact, "--about", tmp_path / "about.md"), 2, "Limitations"),
        ((artifact, "--data-name", "x"), 2, "give both or none"),
        ((artifact, "--format", "pdf"), 2, "pdf"),
        ((), 2, "Missing argument"),
    ]
    for arguments, code, said in cases:
        assert said in refused(*arguments, code=code)


def test_another_model_s_benchmark_is_refused(bench: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    other = tiny_artifact(tmp_path / "other.edgecnn")
    assert "is of colors.edgecnn, and has none of other.edgecnn with this graph; run: edgecnn bench" in refused(other, "--bench", bench, code=3)


def test_a_folder_that_is_not_there_is_named(artifact: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run(artifact, "-o", tmp_path / "no" / "report.html") == 4
    assert capsys.readouterr().err == f"edgecnn: {tmp_path}/no/report.html can't be written: there is no folder {tmp_path}/no; make it first.\n"


@pytest.mark.parametrize("package", ["jinja2", "markdown_it"])
def test_a_page_without_its_libraries_names_the_pip_line_before_anything_is_measured(
    package: str, artifact: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    from edgecnn.report import page

    page.environment.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(artifact, "--data", "nowhere", code=4)
    assert said.endswith("isn't installed, and this needs it; run: pip install 'edgecnn[report]'\n")
    assert package in said


def test_labels_and_file_names_that_try_to_be_markup_are_shown(tmp_path: Path, capsys: Captured, chromium: Chromium) -> None:
    from edgecnn.artifact.spec import Preprocess, make_spec

    hostile = "<img src=x onerror=document.title=1>"
    spec = make_spec(name="hostile", labels=(hostile, "a"), preprocess=Preprocess(size=(8, 8)))
    path = tiny_artifact(tmp_path / "hostile.edgecnn", spec=spec)
    for label in spec.labels:
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / f"{hostile}.png").write_bytes(encoded(solid("red")))
    assert run(path, "--data", tmp_path / "data", "--data-name", hostile, "-o", tmp_path / "report.html") == 0
    page = chromium.open(tmp_path / "report.html")
    assert page.title() == "hostile 1.0.0"
    assert page.locator("img:not(.pixels)").count() == 0
    assert f"On the 2 images of {hostile}" in page.locator("#accuracy").inner_text()


def test_it_is_a_device_command_with_an_example(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    device = capsys.readouterr().out.partition("Host commands")[0]
    assert "report" in device
    assert main(["report", "--help"]) == 0
    assert "Example: edgecnn report " in " ".join(capsys.readouterr().out.split())

"""A card says what the artifact and the measurement say, in tables that stay tables whatever the labels are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.data.collection import Item
from edgecnn.errors import ArtifactRejected, InputMissing, UsageError
from edgecnn.report.about import About, parse_about, read_about
from edgecnn.report.card import card
from edgecnn.report.markdown import code, table, text
from edgecnn.report.subject import measure, read_artifact
from tests.fixtures.artifacts import COLORS, color_artifact, color_spec, solid, tiny_artifact
from tests.fixtures.graphs import color_classifier


@dataclass(frozen=True)
class Colors:
    """Nine images of one colour each, one of them under a wrong label."""

    labels: tuple[str, ...] = COLORS
    multi_label: bool = False

    def __len__(self) -> int:
        return 9

    def __iter__(self):  # type: ignore[no-untyped-def]
        for number in range(9):
            shown = COLORS[2 if number == 4 else number // 3]
            yield Item(name=str(number), source=solid(shown, (20 + number, 30)), target=(number // 3,))


def rows(document: str, section: str) -> list[list[str]]:
    """The cells of all table rows in a section, without headings' rules."""
    part = document.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found if not set("".join(row)) <= set("-: ")]


def cell(document: str, section: str, row: str, column: int = 1) -> str:
    return next(cells[column] for cells in rows(document, section) if cells[0] == row)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors-1.0.0.edgecnn")


@pytest.fixture
def opposite(tmp_path: Path) -> Path:
    """A model of the same spec that takes the weakest colour: it gets every image wrong."""
    return tiny_artifact(tmp_path / "colors-float32.edgecnn", spec=color_spec(), model=color_classifier(scale=-10.0))


def test_the_card_states_what_the_artifact_states(artifact: Path) -> None:
    read = read_artifact(artifact)
    document = card(read)
    member = read.manifest.member("model.onnx")
    assert document.startswith("# colors 1.0.0\n")
    assert cell(document, "Sizes", "artifact, bytes") == f"{artifact.stat().st_size:,}"
    assert cell(document, "Sizes", "model.onnx, bytes") == f"{member.size:,}"
    assert cell(document, "Sizes", "parameters") == "12"
    assert cell(document, "Sizes", "multiply-accumulates for one image") == "9"
    assert read.sha256 in document
    assert member.sha256 in cell(document, "Provenance", "model.onnx")
    assert rows(document, "Parity")[1][2:5] == ["2", "0", "2 of 2 (100.00 %)"]
    assert rows(document, "Licences")[1:] == [["model", "`Apache-2.0`"], ["data", "`CC0-1.0`"]]
    assert "No accuracy was measured" in document


def test_the_card_holds_no_path_and_is_the_same_each_time(artifact: Path, tmp_path: Path) -> None:
    document = card(read_artifact(artifact), measured=measure(artifact, Colors(), name="colors"))
    assert str(tmp_path) not in document
    assert document == card(read_artifact(artifact), measured=measure(artifact, Colors(), name="colors"))
    assert document.endswith("\n")
    assert not document.endswith("\n\n")
    assert "\n\n\n" not in document


def test_accuracy_comes_with_its_interval_and_each_label(artifact: Path) -> None:
    document = card(read_artifact(artifact), measured=measure(artifact, Colors(), name="nine|images"))
    assert "On the 9 images of nine\\|images:" in document
    # Wilson's interval for 8 of 9
    assert rows(document, "Accuracy")[1] == ["float32", "8 of 9", "88.89 %", "56.50 to 98.01 %"]
    assert rows(document, "Accuracy")[3:] == [
        ["red", "3", "100.0 %", "100.0 %"],
        ["green", "3", "66.7 %", "100.0 %"],
        ["blue", "3", "100.0 %", "75.0 %"],
    ]


def test_float32_is_measured_on_the_same_images(artifact: Path, opposite: Path) -> None:
    measured = measure(artifact, Colors(), name="colors", float32=opposite)
    document = card(read_artifact(artifact), float32=read_artifact(opposite), measured=measured)
    first, second, apart = rows(document, "Accuracy")[1:4]
    assert first[1:3] == ["0 of 9", "0.00 %"]
    assert second[1:3] == ["8 of 9", "88.89 %"]
    assert apart[:3] == ["float32 less float32", "+8", "+88.89 points"]
    assert "Both decide 0 of the 9 images alike (0.00 %)" in document
    assert rows(document, "Accuracy")[5] == ["red", "3", "0.0 %", "100.0 %", "100.0 %"]


def test_several_labels_are_right_only_together(tmp_path: Path) -> None:
    path = color_artifact(tmp_path / "multi.edgecnn", task="multi-label", thresholds=(0.5, 0.5, 0.5))
    document = card(read_artifact(path), measured=measure(path, Colors(multi_label=True), name="colors"))
    assert rows(document, "Accuracy")[0][2] == "all labels right"
    assert rows(document, "Accuracy")[1][1] == "8 of 9"
    assert "| Thresholds | 0.5, 0.5, 0.5" in document
    assert "Every image gets one" not in document


def test_another_model_is_no_twin(artifact: Path, tmp_path: Path) -> None:
    other = tiny_artifact(tmp_path / "other.edgecnn")
    with pytest.raises(UsageError, match=r"other\.edgecnn is not the model of colors"):
        card(read_artifact(artifact), float32=read_artifact(other))


def test_an_artifact_packed_by_force_says_so(tmp_path: Path) -> None:
    forced = color_artifact(tmp_path / "forced.edgecnn", force=True)
    document = card(read_artifact(forced))
    assert "packed by force" in document
    assert "were not compared with" in document
    assert rows(document, "Parity") == []


def test_a_damaged_artifact_gets_no_card(artifact: Path) -> None:
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    with pytest.raises(ArtifactRejected):
        read_artifact(artifact)


def test_what_a_person_says_stands_at_the_head_of_its_section(artifact: Path) -> None:
    about = parse_about("Three colours.\n\n## Limits\n\n- Only pure ones.\n\n## Data\n\nPainted.\n", where="about.md")
    assert about == About(summary="Three colours.", sections={"Limits": "- Only pure ones.", "Data": "Painted."})
    document = card(read_artifact(artifact), about=about, recipe=("recipe.toml", b"name = 1\n"))
    assert document.startswith("# colors 1.0.0\n\nThree colours.\n\n|")
    assert "## Limits\n\n- Only pure ones.\n- Every image gets one of the 3 labels" in document
    assert document.index("## Data\n\nPainted.") < document.index("## Accuracy")
    digest = hashlib.sha256(b"name = 1\n").hexdigest()
    assert cell(document, "Provenance", "recipe") == f"`recipe.toml`, sha256 `{digest}`"


def test_a_section_that_no_card_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"section 'Limit', did you mean Limits\?"):
        parse_about("## Limit\nnone", where="about.md")
    with pytest.raises(UsageError, match="twice"):
        parse_about("## Data\na\n## Data\nb", where="about.md")
    assert parse_about("```\n## no heading\n```", where="about.md").summary.count("\n") == 2
    with pytest.raises(InputMissing, match="can't be read"):
        read_about(tmp_path / "about.md")
    (tmp_path / "about.md").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8"):
        read_about(tmp_path / "about.md")
    (tmp_path / "about.md").write_bytes(b"x" * 100_001)
    with pytest.raises(InputMissing, match="more than 100000 bytes"):
        read_about(tmp_path / "about.md")


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        (Preprocess(size=(6, 8)), "Resize it to 8 x 6 pixels (width x height); bilinear, antialiased"),
        (Preprocess(size=(6, 8), resize_mode="shortest-edge"), "covers 8 x 6 pixels and keeps its proportions"),
        (Preprocess(size=(8, 8), resize_mode="letterbox", crop_size=(6, 8)), "3. Take the central 8 x 6 pixels."),
        (Preprocess(size=(8, 8), antialias=False), "not antialiased"),
    ],
)
def test_preprocessing_is_told_step_by_step(preprocess: Preprocess, said: str, tmp_path: Path) -> None:
    spec = make_spec(name="tiny", labels=("a", "b"), preprocess=preprocess)
    assert said in card(read_artifact(tiny_artifact(tmp_path / "tiny.edgecnn", spec=spec)))


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5))
def test_no_text_breaks_out_of_its_cell(texts: list[str]) -> None:
    for write in (text, code):
        lines = list(table([["label", "n"], *([write(value), "1"] for value in texts)], right=(1,)))
        assert len(lines) == len(texts) + 2
        for line in lines:
            assert "\n" not in line
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3

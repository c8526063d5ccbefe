"""What people read: a verdict in a sentence, sections in the order that matters, no row lost without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.bundle import open_bundle
from edgecnn.report.diff import compare
from edgecnn.report.diff.records import COUNTED, Diff
from edgecnn.report.diff.side import of_artifact, of_graph
from edgecnn.report.diff.words import TITLES, percent, sections, value, verdict
from tests.fixtures.artifacts import color_artifact, tiny_artifact
from tests.fixtures.onnx_nets import residual
from tests.report.diff.graphs import compared, edited, quantized, renamed


def artifacts(a: Path, b: Path) -> Diff:
    sides = []
    for path in (a, b):
        with open_bundle(path) as bundle:
            sides.append(of_artifact(bundle, file=path.name))
    return compare(*sides)


def test_the_same_file_is_one_sentence(tmp_path: Path) -> None:
    a = color_artifact(tmp_path / "a.edgecnn")
    b = tmp_path / "b.edgecnn"
    b.write_bytes(a.read_bytes())
    assert verdict(artifacts(a, b)) == "a.edgecnn and b.edgecnn are the same, byte for byte."


def test_what_differs_and_what_is_the_same(tmp_path: Path) -> None:
    found = artifacts(color_artifact(tmp_path / "a.edgecnn"), tiny_artifact(tmp_path / "b.edgecnn"))
    assert verdict(found) == "They differ in labels, graph and weights; the same: preprocessing, task and scales."


def test_names_alone_are_said_to_be_names_alone() -> None:
    said = verdict(compared(residual(), edited(residual(), renamed)))
    assert said == (
        "Nothing differs that matters; the same: graph, weights and scales. The graphs' bytes differ all the same, in names, order or what they "
        "state of themselves. Not compared, for both are bare .onnx files: preprocessing, labels and task."
    )


def test_a_bare_graph_beside_an_artifact(tmp_path: Path) -> None:
    path = color_artifact(tmp_path / "a.edgecnn")
    with open_bundle(path) as bundle:
        found = compare(of_artifact(bundle, file="a.edgecnn"), of_graph(bundle.read("model.onnx"), file="b.onnx"))
    assert verdict(found) == (
        "Nothing differs that matters; the same: graph, weights and scales. Their graphs are the same, byte for byte. "
        "Not compared, for B is a bare .onnx: preprocessing, labels and task."
    )


@pytest.mark.parametrize("most", [1, 3, 0])
def test_rows_that_are_left_out_are_counted(most: int) -> None:
    found = {section.name: section for section in sections(compared(residual(), quantized("int8")), most)}
    whole = {section.name: section for section in sections(compared(residual(), quantized("int8")), 0)}
    for name, section in found.items():
        left = len(whole[name].rows) - len(section.rows)
        if left:
            assert section.more is not None
            assert re.search(r"\d+", section.more)[0] == str(left)  # type: ignore[index]
        else:
            assert section.more is None


def test_sections_come_in_the_order_that_matters() -> None:
    names = [section.name for section in sections(compared(residual(), quantized("int8")), 10)]
    assert names == [name for name in TITLES if name in names]
    assert tuple(TITLES)[: len(COUNTED)] == COUNTED


@given(st.floats(1e-12, 1e6))
def test_a_percentage_has_three_digits_and_is_never_nothing(share: float) -> None:
    said = percent(share)
    assert re.fullmatch(r"[\d.]+(e-\d+)? %", said)
    assert float(said[:-2]) == pytest.approx(100 * share, rel=0.006) or share < 1e-10
    assert float(said[:-2]) > 0


def test_values_as_people_write_them() -> None:
    assert [value(found) for found in (None, True, 0.1 + 0.2, 12345, [1, 2.5], "x")] == ["-", "true", "0.3", "12,345", "[1, 2.5]", "x"]


def test_equalised_channels_are_said_to_be_part_of_the_change(tmp_path: Path) -> None:
    a, b = color_artifact(tmp_path / "a.edgecnn"), next((Path(__file__).parents[3] / "models").glob("resnet8-cifar10/*.edgecnn"))
    for pair, whose in (((a, b), "B"), ((b, a), "A")):
        found = artifacts(*pair)
        said = [sentence for section in sections(found, 0) if section.name == "weights" for sentence in section.sentences]
        assert [sentence for sentence in said if "equalised" in sentence] == [
            f"The channels of {whose} are equalised, so factors that cancel out from one layer to the next may be part of the change; "
            "--data tells whether both decide alike."
        ]
    plain = artifacts(a, tiny_artifact(tmp_path / "b.edgecnn"))
    assert not any("equalised" in sentence for section in sections(plain, 0) for sentence in section.sentences)

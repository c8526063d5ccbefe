"""Sizes that a graph leaves open are given, fit, or are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.device.bench.opening import open_file, parse_shape
from edgecnn.errors import GraphRejected, UsageError
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.graphs import color_classifier, one_node


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1x3x32x32", ("", (1, 3, 32, 32))),
        ("1,3,32,32", ("", (1, 3, 32, 32))),
        ("input=2x3", ("input", (2, 3))),
        ("a=b=4", ("a=b", (4,))),
    ],
)
def test_shapes_are_read(text: str, wanted: tuple[str, tuple[int, ...]]) -> None:
    assert parse_shape(text) == wanted


@pytest.mark.parametrize("text", ["", "input=", "1x", "x", "axb", "1x-3", "input=1x3x32x32x", "0x3", "99999x99999", "1.5x2"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        parse_shape(text)


@pytest.fixture
def open_sizes(tmp_path: Path) -> Path:
    path = tmp_path / "open.onnx"
    path.write_bytes(one_node(shape=("batch", 3, "height", "width")))
    return path


def test_open_sizes_are_asked_for_by_name(open_sizes: Path) -> None:
    with pytest.raises(GraphRejected, match=r"e\.g\. --shape \w+=1x3x224x224"):
        open_file(open_sizes)


@pytest.mark.parametrize("named", [False, True])
def test_a_graph_with_open_sizes_runs_on_those_that_are_given(open_sizes: Path, named: bool) -> None:
    name = next(iter(open_file(open_sizes, shapes={"": (2, 3, 8, 8)}).feeds))
    opened = open_file(open_sizes, shapes={name if named else "": (2, 3, 16, 8)}, threads=1)
    assert opened.feeds[name].shape == (2, 3, 16, 8)
    assert opened.batch == 2
    assert not opened.open_batch
    opened.run()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"other": (1, 3, 8, 8)}, "no input 'other'; its inputs are"),
        ({"": (1, 4, 8, 8)}, "--shape 1x4x8x8 doesn't fit the input"),
        ({"": (1, 3, 8)}, "--shape 1x3x8 doesn't fit the input"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(open_sizes: Path, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_file(open_sizes, shapes=shapes)


def test_an_artifact_states_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an artifact, which states its sizes"):
        open_file(color_artifact(tmp_path / "colors.edgecnn"), shapes={"": (1, 3, 8, 8)})


@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("kind", ["colors.edgecnn", "colors.onnx"])
def test_images_fill_an_open_batch_only(tmp_path: Path, batch: int | str, kind: str) -> None:
    path = tmp_path / kind
    if kind.endswith(".onnx"):
        path.write_bytes(color_classifier(batch=batch))
    else:
        color_artifact(path, batch=batch)
    opened = open_file(path, threads=1, images=32)
    assert opened.batch == (32 if batch == "batch" else batch)
    assert opened.open_batch == (batch == "batch")

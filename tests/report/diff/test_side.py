"""A side is read whole or refused; a bare graph says as much of itself as edgecnn wrote into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import ModelSpec, make_spec
from edgecnn.build.metadata import stamp
from edgecnn.errors import ArtifactRejected, GraphRejected
from edgecnn.report.diff.side import Side, of_artifact, of_graph
from tests.fixtures.artifacts import color_artifact, color_spec
from tests.fixtures.graphs import color_classifier, tiny_classifier


def artifact(path: Path) -> Side:
    with open_bundle(path) as bundle:
        return of_artifact(bundle, file=path.name)


def spec_of(model: bytes) -> ModelSpec | None:
    return of_graph(model, file="net.onnx").spec


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_graph_that_edgecnn_stamped_tells_its_whole_spec(batch: int | str) -> None:
    spec = color_spec(8, batch=batch)
    assert spec_of(stamp(color_classifier(8, batch=batch), spec)) == spec


def test_thresholds_are_not_in_a_graph_so_several_labels_are_not_told() -> None:
    spec = color_spec(8, task="multi-label")
    assert spec_of(stamp(color_classifier(8), spec)) is None


def test_a_graph_of_others_tells_nothing() -> None:
    assert spec_of(color_classifier(8)) is None


@pytest.mark.parametrize(
    "change", [("edgecnn.labels", '["red"]'), ("edgecnn.labels", "[" * 9999), ("edgecnn.preprocess", "{}"), ("edgecnn.name", "A B")]
)
def test_a_graph_whose_story_does_not_hold_tells_nothing(change: tuple[str, str]) -> None:
    import onnx

    proto = onnx.load_from_string(stamp(color_classifier(8), color_spec(8)))
    for entry in proto.metadata_props:
        if entry.key == change[0]:
            entry.value = change[1]
    assert spec_of(proto.SerializeToString()) is None


def test_what_is_no_model_is_refused_by_name() -> None:
    with pytest.raises(GraphRejected, match=r"net\.onnx: The ONNX graph can't be read"):
        of_graph(b"\x00\x01 no model", file="net.onnx")


def test_an_artifact_is_verified_to_its_last_byte(tmp_path: Path) -> None:
    path = color_artifact(tmp_path / "colors.edgecnn")
    whole = path.read_bytes()
    assert artifact(path).kind == "artifact"
    place = whole.index(b"golden/outputs.npy") + 200  # in a member that no comparison reads
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ArtifactRejected, match="altered or damaged"):
        artifact(path)


def test_the_graph_of_another_model_is_not_run_as_this_one() -> None:
    side = of_graph(tiny_classifier(4), file="other.onnx")
    with pytest.raises(GraphRejected, match=r"other\.onnx: .*output"):
        side.session(make_spec(name="m", labels=("a", "b"), preprocess=color_spec(8).preprocess), threads=1)

"""Writing an artifact: the same bytes for the same model, and none at all without proof."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.manifest import Manifest
from edgecnn.artifact.pack import canonical_zip, pack
from edgecnn.artifact.spec import Preprocess
from edgecnn.errors import EdgecnnError, GraphRejected, ManifestRejected, OutputNotWritable, ParityFailed
from tests.artifact.samples import arguments, pack_sample, parity, spec
from tests.fixtures.graphs import one_node, tiny_classifier


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    given_arguments = arguments()
    manifest = pack(tmp_path / "m.edgecnn", **given_arguments)
    assert manifest.validated
    assert not manifest.forced
    with open_bundle(tmp_path / "m.edgecnn") as bundle:
        assert bundle.manifest == manifest
        assert bundle.manifest.spec == given_arguments["spec"]
        assert bundle.read("model.onnx") == given_arguments["model"]
        assert bundle.read("golden/inputs.npy") == given_arguments["members"]["golden/inputs.npy"]
        bundle.verify()


def test_every_zip_tool_can_read_it(tmp_path: Path) -> None:
    pack_sample(tmp_path / "m.edgecnn")
    with zipfile.ZipFile(tmp_path / "m.edgecnn") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "model.onnx", "golden/00.png", "golden/inputs.npy", "report.json"]
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.external_attr >> 16 == 0o100644


def test_the_same_model_gives_the_same_bytes_in_another_folder_time_zone_and_locale(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from tests.artifact.samples import pack_sample; pack_sample(Path(sys.argv[1]))"
    root = Path(__file__).parents[2]
    digests = set()
    for folder, zone, locale, seed in (("a", "Asia/Tokyo", "C", "1"), ("b", "America/Lima", "tr_TR.UTF-8", "2")):
        (tmp_path / folder).mkdir()
        environment = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / folder / "m.edgecnn")], env=environment, cwd=tmp_path / folder, check=True)
        digests.add(hashlib.sha256((tmp_path / folder / "m.edgecnn").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_order_in_which_members_are_given_does_not_matter(tmp_path: Path) -> None:
    members = arguments()["members"]
    pack_sample(tmp_path / "a", members=members)
    pack_sample(tmp_path / "b", members=dict(reversed(members.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


model = tiny_classifier()
UNPROVED = {
    "no parity": None,
    "another graph's": parity(b"another graph"),
    "too large a difference": parity(model, excess=1e-3, max_abs=1e-3),
    "nothing compared": parity(model, samples=0, elements=0, agreeing=0),
    "a NaN": parity(model, nonfinite=1),
    "decisions differ": parity(model, agreeing=3),
}


@pytest.mark.parametrize("report", UNPROVED.values(), ids=UNPROVED.keys())
def test_a_model_without_proof_is_not_packed_unless_forced_and_then_says_so(tmp_path: Path, report: Any) -> None:
    path = tmp_path / "m.edgecnn"
    with pytest.raises(ParityFailed, match="isn't packed"):
        pack_sample(path, parity=report)
    assert not list(tmp_path.iterdir())
    pack_sample(path, parity=report, force=True)
    with open_bundle(path) as bundle:
        assert bundle.manifest.forced
        assert not bundle.manifest.validated


def test_force_leaves_no_mark_on_a_model_with_proof(tmp_path: Path) -> None:
    assert pack_sample(tmp_path / "m.edgecnn", force=True).validated


DISAGREEMENTS = {
    "labels": ({"spec": spec(labels=("cat", "dog"))}, r"output is float32 logits of shape \[1, 2\].*\[1, 3\]"),
    "input size": ({"spec": spec(preprocess=Preprocess(size=(9, 8)))}, r"input is float32 input of shape \[1, 3, 9, 8\].*\[1, 3, 8, 8\]"),
    "batch": ({"spec": spec(batch="batch")}, r"\[batch, 3, 8, 8\].*\[1, 3, 8, 8\]"),
    "fixed batch": ({"model": tiny_classifier(batch="n")}, r"\[1, 3, 8, 8\].*\[n, 3, 8, 8\]"),
    "input name": ({"model": tiny_classifier(input="image")}, "float32 input of .* float32 image of"),
    "output name": ({"model": tiny_classifier(output="scores")}, "float32 logits of .* float32 scores of"),
    "opset": ({"opset": 17}, "opset 17, the graph has 18"),
    "ir_version": ({"ir_version": 10}, "ir_version 10, the graph has 9"),
}


@pytest.mark.parametrize(("changes", "message"), DISAGREEMENTS.values(), ids=DISAGREEMENTS.keys())
def test_a_spec_that_speaks_of_another_graph_is_refused_with_both_sides(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    changed = arguments(**changes)
    with pytest.raises(ManifestRejected, match=message):
        pack(tmp_path / "m.edgecnn", **{**changed, "parity": parity(changed["model"])})
    assert not list(tmp_path.iterdir())


def test_an_open_batch_may_have_any_name_in_the_graph(tmp_path: Path) -> None:
    pack_sample(tmp_path / "m.edgecnn", model=tiny_classifier(batch="N"), spec=spec(batch="batch"))


def test_a_graph_that_devices_refuse_is_not_packed(tmp_path: Path) -> None:
    unknown = one_node("NonZero", shape=(1, 3, 8, 8), result=(1, 3))
    with pytest.raises(GraphRejected, match="NonZero"):
        pack_sample(tmp_path / "m.edgecnn", model=unknown, members={})
    with pytest.raises(GraphRejected, match="can't be read"):
        pack_sample(tmp_path / "m.edgecnn", model=b"no graph", members={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x", "Golden/00.png", "a b", "manifest.json", "model.onnx", "golden", "x/../y", ""])
def test_a_member_with_a_bad_name_is_not_packed(tmp_path: Path, name: str) -> None:
    with pytest.raises(EdgecnnError):
        pack_sample(tmp_path / "m.edgecnn", members={name: b"x", "golden/inputs.npy": b"y"})
    assert not list(tmp_path.iterdir())


def test_more_members_than_a_device_reads_are_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ManifestRejected, match="65 members, at most 64"):
        pack_sample(tmp_path / "m.edgecnn", members={f"golden/{i:02}.png": b"" for i in range(63)})
    pack_sample(tmp_path / "m.edgecnn", members={f"golden/{i:02}.png": b"" for i in range(62)})


def test_an_artifact_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "m.edgecnn"
    pack_sample(path)
    before = path.read_bytes()
    with pytest.raises(ParityFailed):
        pack_sample(path, parity=None)
    assert path.read_bytes() == before
    with pytest.raises(OutputNotWritable, match="no folder"):
        pack_sample(tmp_path / "absent" / "m.edgecnn")


def test_a_malformed_report_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ManifestRejected, match=r"report\.json"):
        pack_sample(tmp_path / "m.edgecnn", members={"report.json": b"{}"})


names = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,8}", fullmatch=True).filter(lambda name: ".." not in name)


@given(st.dictionaries(names, st.binary(max_size=50), max_size=8))
def test_any_members_make_a_zip_that_others_read(tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]) -> None:
    path = tmp_path_factory.mktemp("zip") / "m.zip"
    path.write_bytes(b"".join(canonical_zip(members)))
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == members


def test_a_manifest_that_was_packed_reads_as_it_was_written(tmp_path: Path) -> None:
    manifest = pack_sample(tmp_path / "m.edgecnn", tools={"b": "2", "a": "1"})
    assert Manifest.from_json(manifest.to_json()) == manifest

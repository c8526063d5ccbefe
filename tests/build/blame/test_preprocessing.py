"""Preprocessing is a stage of its own: what the artifact makes of an image, against the way that the reference says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build.blame import blame, preprocessing
from tests.build.blame.conftest import row
from tests.fixtures.onnx_nets import color_folder, color_net


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("size=16x16,channels=BGR", "channels is BGR in the artifact and RGB in the reference"),
        ("size=16x16,interpolation=nearest", "interpolation is nearest in the artifact and bilinear in the reference"),
        ("size=16x16,antialias=false", "antialias is False in the artifact and True in the reference"),
        ("size=16x16,resize_mode=letterbox", "resize_mode is letterbox in the artifact and stretch in the reference"),
        ("size=16x16,mean=0.5,0.5,0.5,std=0.5,0.5,0.5", "image_mean is (0.5, 0.5, 0.5) in the artifact and (0, 0, 0) in the reference"),
    ],
)
def test_other_preprocessing_is_blamed_on_preprocessing(place, tmp_path, wrong, told):
    found = place.blame(place.export(tmp_path / "a.edgecnn", preprocess=wrong))
    assert found.culprit.stage == "preprocessing"
    assert told in found.verdict
    assert "inputs differ by up to" in found.verdict
    assert found.culprit.against_source.max_abs > 0
    assert [row.stage for row in found.stages if row.failures] == ["preprocessing"]  # the graphs answer what they are given rightly


def test_the_same_preprocessing_put_otherwise_is_no_fault(place, tmp_path):
    file = place.export(tmp_path / "a.edgecnn", preprocess="size=16x16,mean=0.5,0.5,0.5,std=0.25,0.25,0.25")
    found = place.blame(file, preprocess="size=16x16,rescale_factor=1,mean=127.5,127.5,127.5,std=63.7501,63.75,63.75")
    assert found.passed
    assert 0 < row(found, "preprocessing").against_source.max_abs < 1e-4


def test_golden_images_that_give_other_inputs_here_are_blamed_on_preprocessing(place, tmp_path, monkeypatch):
    file = place.export(tmp_path / "a.edgecnn")
    sound = preprocessing.to_uint8
    monkeypatch.setattr(preprocessing, "to_uint8", lambda *arguments, **keywords: 255 - sound(*arguments, **keywords))
    found = place.blame(file)
    assert found.culprit.stage == "preprocessing"
    assert "golden/00.png gives other inputs here than where the artifact was made" in found.verdict


def test_an_onnx_that_says_nothing_of_its_images_leaves_preprocessing_unknown(place, tmp_path):
    found = place.blame(place.export(tmp_path / "a.edgecnn"), preprocess=None)
    assert not row(found, "preprocessing").judged
    assert "say it with --preprocess" in row(found, "preprocessing").note
    assert "(preprocessing couldn't be told)" in found.verdict


def test_an_onnx_that_an_artifact_was_taken_apart_for_says_it_itself(place, tmp_path):
    sound = place.export(tmp_path / "a.edgecnn", quantize="none")
    with open_bundle(sound) as bundle:
        (tmp_path / "bare.onnx").write_bytes(bundle.read("model.onnx"))
    wrong = place.export(tmp_path / "b.edgecnn", preprocess="size=16x16,channels=BGR")
    assert place.blame(wrong, preprocess=None).passed  # the bare net.onnx can't tell
    found = blame(wrong, tmp_path / "bare.onnx", data=place.folder / "others", images=24)
    assert found.culprit.stage == "preprocessing"


def test_what_makes_no_difference_to_these_images_is_told_all_the_same(place, tmp_path):
    """Pictures of the input's own size aren't resized, so they can't show it."""
    color_folder(tmp_path / "small", 24, seed=3, size=(16, 16))
    file = place.export(tmp_path / "a.edgecnn", preprocess="size=16x16,interpolation=nearest")
    found = place.blame(file, data=tmp_path / "small")
    assert found.passed
    assert row(found, "preprocessing").note == (
        "interpolation is nearest in the artifact and bilinear in the reference, which makes no difference to these images; "
        "give --data in their own sizes to see it"
    )
    assert place.blame(file).culprit.stage == "preprocessing"


def test_an_input_of_another_size_is_blamed_on_preprocessing(place, tmp_path):
    (tmp_path / "net.onnx").write_bytes(color_net(batch="batch", size="side"))
    for images in ("some", "others"):
        (tmp_path / images).symlink_to(place.folder / images)
    there = replace(place, folder=tmp_path)
    found = there.blame(there.export(tmp_path / "a.edgecnn"), preprocess="size=24x24")
    assert found.culprit.stage == "preprocessing"
    assert "the artifact makes inputs of 3 x 16 x 16, the reference wants 3 x 24 x 24" in found.verdict

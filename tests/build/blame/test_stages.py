"""A fault in each stage is blamed on that very stage, and a sound artifact on none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import pipeline
from edgecnn.build.blame import blame, rebuilt, stages
from edgecnn.device.session import Session
from edgecnn.errors import DataRejected, SourceRejected, UsageError
from edgecnn.train.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig
from tests.build.blame.conftest import bad_scale, changed, repacked, row, transposed_weight, wrong_padding
from tests.fixtures.graphs import tiny_classifier
from tests.fixtures.onnx_nets import COLORS
from tests.fixtures.plain_int8 import PLAIN

BOTH = (pipeline, rebuilt)
ONLY_WHEN_MADE = (pipeline,)


# nothing to blame


@pytest.mark.parametrize("quantize", ["none", "dynamic", "fp16", "int8"])
def test_a_sound_artifact_is_rebuilt_byte_for_byte_and_falls_short_nowhere(place, tmp_path, quantize):
    found = place.blame(place.export(tmp_path / "a.edgecnn", quantize))
    made = ["export", "simplify", *(["quantize"] if quantize != "none" else [])]
    assert [row.stage for row in found.stages] == ["preprocessing", *made, "optimized", "packaged"]
    assert [row.made for row in found.stages] == [None, *["rebuilt alike"] * len(made), None, None]
    assert found.passed
    assert found.verdict.startswith(f"no stage of {tmp_path / 'a.edgecnn'} falls short of its limits: it decides 24 of 24 images as its network does")
    for stage in found.stages:
        assert stage.passed
        assert stage.against_source.samples == 24
    assert row(found, "packaged").against_previous.max_abs == 0  # the file is what was optimized


def test_without_calibration_images_the_file_s_own_graph_stands_for_the_quantized_one_and_that_is_said(place, tmp_path):
    found = place.blame(place.export(tmp_path / "a.edgecnn"), calibration=None)
    assert row(found, "quantize").made == "taken from the file"
    assert "without --calibration, so the packaged graph stands for it" in row(found, "quantize").note
    assert found.passed


def test_without_data_the_golden_images_are_taken_and_that_is_said(place, tmp_path):
    found = place.blame(place.export(tmp_path / "a.edgecnn"), data=None)
    assert (found.origin, found.images, row(found, "packaged").against_source.samples) == ("golden", 8, 8)
    assert any("8 golden images are few" in note for note in found.notes)
    assert found.passed


# a fault in each stage


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_wrong_padding_in_the_exported_graph_is_blamed_on_export_and_the_layer(place, tmp_path, spoil, quantize):
    spoil("export", wrong_padding, BOTH)
    found = place.blame(place.export(tmp_path / "a.edgecnn", quantize))
    assert found.culprit.stage == "export"
    assert found.culprit.made == "rebuilt alike"  # the exporter still does it
    assert found.changed == ("the first tensor that differs is t0, from n0 (Conv)",)
    assert "--opset" in found.verdict


def test_a_simplifier_that_transposes_a_weight_is_blamed_and_the_layer(place, tmp_path, spoil):
    spoil("simplify", transposed_weight, BOTH)
    found = place.blame(place.export(tmp_path / "a.edgecnn"))
    assert found.culprit.stage == "simplify"
    assert row(found, "export").passed
    assert found.changed == ("the first tensor that differs is t2, from n2 (Conv)",)
    assert "onnxsim" in found.verdict


def test_a_simplifier_that_changes_an_answer_a_little_is_blamed(place, tmp_path, spoil):
    spoil("simplify", bad_scale(1.001, "c2"), BOTH)
    found = place.blame(place.export(tmp_path / "a.edgecnn"))
    assert found.culprit.stage == "simplify"
    assert row(found, "quantize").passed  # which can't tell it from its own noise


@pytest.mark.parametrize(
    ("scale", "factor", "layer", "advice"),
    [
        ("t1_scale", 100, "n0", "To do: calibrate on images like these, without odd ones (n0: its output t1 goes from "),
        ("t1_scale", 0.01, "n0", "To do: calibrate on images like these (n0: its output t1 goes from "),
        ("t3_scale", 100, "n2", "so most levels are never used"),
        ("input_scale", 0.01, "input", "saturate"),
        ("c2_scale", -1, "n2", "To do: export it again (n2: its weights c2 aren't the reference's"),
    ],
)
def test_a_bad_scale_is_blamed_on_quantization_and_its_layer(place, tmp_path, spoil, scale, factor, layer, advice):
    spoil("quantize", bad_scale(factor, scale), BOTH)
    found = place.blame(place.export(tmp_path / "a.edgecnn"))
    assert found.culprit.stage == "quantize"
    assert row(found, "simplify").passed
    assert found.layers[0].layer == layer
    assert f"most of the noise comes from {layer}, which alone brings the logits down to " in found.verdict
    assert advice in found.verdict


def test_an_optimizer_that_changes_answers_is_blamed(place, tmp_path, monkeypatch):
    file = place.export(tmp_path / "a.edgecnn")
    sound = stages.open_session

    class Backwards:
        def __init__(self, session: Session) -> None:
            self.logits = lambda x: -session.logits(x)

    def open_session(model, spec, *, optimize):
        return Backwards(sound(model, spec)) if optimize else sound(model, spec, optimize=False)

    monkeypatch.setattr(stages, "open_session", open_session)
    found = place.blame(file)
    assert found.culprit.stage == "optimized"
    assert row(found, "quantize").passed
    assert "onnxruntime's optimizer changes the answers on this machine" in found.verdict


def test_weights_that_the_optimizer_rounds_though_they_were_to_stay_float_are_named(place, tmp_path, spoil):
    """onnxruntime does so between integers, with one scale for all: here one weight, of a channel that is always 0, leaves the others no level."""

    def one_large(proto: onnx.ModelProto) -> None:
        for name, at, value in (("c0", np.s_[5], 0), ("c1", np.s_[5], -1), ("c2", np.s_[:, 5], 300)):
            entry = next(entry for entry in proto.graph.initializer if entry.name == name)
            values = numpy_helper.to_array(entry).copy()
            values[at] = value
            entry.CopyFrom(numpy_helper.from_array(values, name))

    def in_float(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.name == "n2")
        node.input[1:] = ["c2_float", "c3_float"]
        for entry in onnx.load(there.reference).graph.initializer:
            if entry.name in ("c2", "c3"):
                proto.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(entry), f"{entry.name}_float"))

    there = replace(place, folder=tmp_path)
    there.reference.write_bytes(changed(place.reference.read_bytes(), one_large))
    for images in ("some", "others"):
        (tmp_path / images).symlink_to(place.folder / images)
    spoil("quantize", in_float, BOTH)
    found = there.blame(there.export(tmp_path / "a.edgecnn", config=PLAIN))
    assert found.culprit.stage == "optimized"
    assert row(found, "quantize").passed
    assert "onnxruntime's optimizer rounds the float weights of n2 to int8, with one scale for all channels" in found.verdict
    (kept,) = (cure for cure in found.cures if cure.config.startswith("keep_float="))
    assert {"n2", "n4"} <= set(kept.config.partition("=")[2].split(","))
    assert kept.enough
    assert "so keep the layers that read its output in float too: export it with --config " in found.verdict


def test_a_fault_that_comes_on_top_of_another_has_its_own_advice_and_one_that_only_goes_on_has_none(place, tmp_path, spoil):
    spoil("export", wrong_padding, BOTH)
    found = place.blame(repacked(place.export(tmp_path / "a.edgecnn", "none"), transposed_weight))
    assert [each.stage for each in found.stages if each.failures] == ["export", "simplify", "optimized", "packaged"]
    assert [each.stage for each in found.stages if each.advice] == ["export", "packaged"]


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_file_that_holds_another_graph_than_was_validated_is_blamed_on_packaging(place, tmp_path, quantize):
    file = repacked(place.export(tmp_path / "a.edgecnn", quantize), wrong_padding)
    found = place.blame(file)
    assert found.culprit.stage == "packaged"
    assert found.entered is None
    assert "isn't the one that its last stage made" in found.verdict
    assert found.changed == ("n0: its pads is [2, 2, 0, 0] where a rebuild gives [1, 1, 1, 1]",)


def test_it_is_even_where_the_answers_are_the_same(place, tmp_path):
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.name = "another"

    found = place.blame(repacked(place.export(tmp_path / "a.edgecnn"), rename))
    assert found.culprit.stage == "packaged"
    assert found.culprit.against_previous.max_abs == 0


def test_it_is_even_where_it_can_not_be_quantized_again(place, tmp_path):
    found = place.blame(repacked(place.export(tmp_path / "a.edgecnn"), transposed_weight), calibration=None)
    assert found.culprit.stage == "packaged"
    assert row(found, "quantize").made == "not rebuilt"
    assert not row(found, "quantize").judged


def test_one_of_a_few_images_that_is_decided_otherwise_is_no_fault_yet(place, tmp_path):
    """Of ten images one is 10 %, and any sound int8 network may turn one of them."""
    found = place.blame(place.export(tmp_path / "a.edgecnn"), images=10)
    limits = stages.Limits(atol=0, min_agreement=0.98, min_sqnr_db=15, spare=1)
    apart = replace(row(found, "packaged").against_source, samples=10, agreeing=9)
    assert limits.failures(apart, quantized=True, other="x") == ()
    assert limits.failures(replace(apart, agreeing=8), quantized=True, other="x") == ("8 of 10 decisions are x's (80.00%), wanted 98.00%",)
    assert limits.failures(replace(apart, samples=100, agreeing=97), quantized=True, other="x") != ()
    assert replace(limits, spare=0).failures(apart, quantized=True, other="x") != ()  # golden images, or all are wanted


def test_another_network_as_the_reference_is_named_as_such(place, tmp_path):
    file = place.export(tmp_path / "a.edgecnn")
    stranger = onnx.load(place.reference)
    for entry in stranger.graph.initializer:
        values = numpy_helper.to_array(entry)
        if entry.name in ("c0", "c2", "c6"):
            entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(-values), entry.name))
    onnx.save(stranger, tmp_path / "stranger.onnx")
    for calibration in (place.folder / "some", None):
        found = blame(file, tmp_path / "stranger.onnx", data=place.folder / "others", calibration=calibration, preprocess="size=16x16", images=24)
        assert "stranger.onnx's, so that isn't the network that it was made from. To do: give the network that it was made from" in found.verdict
        assert found.cures == ()


# layers


def test_a_graph_without_pairs_is_said_to_tell_no_layers(place, tmp_path):
    found = place.blame(place.export(tmp_path / "a.edgecnn", "dynamic"))
    assert found.layers == ()
    assert found.notes[-1] == "no layer could be told: the graph has no QuantizeLinear/DequantizeLinear pairs"
    assert place.blame(tmp_path / "a.edgecnn", by_layer=False).notes == found.notes[:-1]


def test_a_packaged_graph_that_does_not_run_is_blamed_on_packaging(place, tmp_path):
    """The artifact's reader lets it through: it knows no attribute's name that means nothing."""

    def nonsense(proto: onnx.ModelProto) -> None:
        next(node for node in proto.graph.node if node.op_type == "Conv").attribute.append(onnx.helper.make_attribute("nonsense", 1))

    found = place.blame(repacked(place.export(tmp_path / "a.edgecnn"), nonsense))
    assert found.culprit.stage == "packaged"
    assert "it can't be opened: onnxruntime" in found.verdict
    assert found.layers == ()
    assert found.changed == ("n0: its nonsense is 1 where a rebuild gives none",)


# the reference as a checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a small network in torch: it wants 12 x 12 pixels, normalized by mean 0.5 and standard deviation 0.25."""
    options = {"channels": (6,), "hidden": ()}
    net = build_net("simplecnn", num_classes=3, in_channels=3, input_size=(12, 12), options=options)
    pre = Preprocess(size=(12, 12), image_mean=(0.5,) * 3, image_std=(0.25,) * 3)
    spec = make_spec(name="tiny", labels=COLORS, preprocess=pre)
    config = NetConfig(name="simplecnn", options=options)
    header = Header(spec=spec, net=config, epoch=1, epochs=1, steps_per_epoch=1, threads=1, recipe_sha256="ab" * 32, seed=0)
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(path, Checkpoint(header=header, weights=net.state_dict()))
    return path


def test_a_checkpoint_says_itself_how_it_wants_its_images(checkpoint, place, tmp_path):
    sound = pipeline.export(checkpoint, output=tmp_path / "a.edgecnn", validation=place.folder / "others").path
    found = blame(sound, checkpoint, data=place.folder / "others", images=20)
    assert found.passed, found.verdict
    assert [row.made for row in found.stages] == [None, "rebuilt alike", "rebuilt alike", None, None]
    assert 0 < row(found, "export").against_source.max_abs < 1e-4
    other = pipeline.export(checkpoint, output=tmp_path / "b.edgecnn", preprocess="size=12x12", labels="a,b,c", force=True).path
    found = blame(other, checkpoint)
    assert found.culprit.stage == "preprocessing"
    assert "image_std is (1, 1, 1) in the artifact and (0.25, 0.25, 0.25) in the reference" in found.verdict
    assert "answer 0 is called a by the artifact and blue by the reference" in found.notes


# faults that were there when the artifact was made, and are no longer


@pytest.mark.parametrize(
    ("stage", "change", "told"),
    [
        ("export", wrong_padding, "n0: its pads is [2, 2, 0, 0] where a rebuild gives [1, 1, 1, 1]"),
        ("export", transposed_weight, "n2: its constant c2 is otherwise: its first two axes are swapped"),
        ("simplify", transposed_weight, "n2: its constant c2 is otherwise: its first two axes are swapped"),
    ],
)
def test_a_fault_that_is_no_longer_made_is_traced_to_the_stage_where_it_came_in(place, tmp_path, spoil, stage, change, told):
    spoil(stage, change, ONLY_WHEN_MADE)
    file = place.export(tmp_path / "a.edgecnn", quantize="none")
    found = place.blame(file)
    assert found.culprit.stage == "packaged"
    assert found.entered.stage == stage
    assert found.changed == (told,)
    assert f"its {stage} stage comes out otherwise than recorded, with the same tools, so the fault came in there or after it" in found.verdict
    assert row(found, stage).note == "it comes out otherwise than recorded, with the same tools"


def test_a_scale_that_was_bad_when_it_was_made_is_found_in_the_file(place, tmp_path, spoil):
    spoil("quantize", bad_scale(100), ONLY_WHEN_MADE)
    found = place.blame(place.export(tmp_path / "a.edgecnn"))
    assert (found.culprit.stage, found.entered.stage) == ("packaged", "quantize")
    assert "n0: its constant t1_scale is otherwise" in found.verdict
    assert found.layers[0].layer == "n0"  # the layers are those of the file


def test_without_calibration_it_is_found_in_the_quantized_graph_itself(place, tmp_path, spoil):
    spoil("quantize", bad_scale(100), ONLY_WHEN_MADE)
    found = place.blame(place.export(tmp_path / "a.edgecnn"), calibration=None)
    assert (found.culprit.stage, found.layers[0].layer) == ("quantize", "n0")


def test_padding_that_was_wrong_when_it_was_made_is_found_in_the_quantized_graph(place, tmp_path, spoil):
    spoil("export", wrong_padding, ONLY_WHEN_MADE)
    found = place.blame(place.export(tmp_path / "a.edgecnn"), calibration=None, min_sqnr_db=34)
    assert (found.culprit.stage, found.entered.stage) == ("quantize", "export")
    assert found.changed == ("n0: its pads is [2, 2, 0, 0] where a rebuild gives [1, 1, 1, 1]",)


# what can't be blamed


def test_answers_that_are_not_finite_fall_short(place, tmp_path, spoil):
    file = place.export(tmp_path / "a.edgecnn")
    spoil("quantize", bad_scale(np.inf, "c5_scale"), (rebuilt,))
    found = place.blame(file)
    assert found.culprit.stage == "quantize"
    assert "24 of 24 images are answered with NaN or infinity" in found.verdict


def test_other_calibration_images_are_refused(place, tmp_path):
    with pytest.raises(DataRejected, match=r"24 of the 60 images of --calibration .* aren't the 24 that the ranges were measured on"):
        place.blame(place.export(tmp_path / "a.edgecnn"), calibration=place.folder / "others")


def test_a_network_of_other_labels_is_refused(place, tmp_path):
    other = onnx.load(place.reference)
    gemm = other.graph.node[-1]
    for name, shape in ((gemm.input[1], (4, 8)), (gemm.input[2], (4,))):
        entry = next(entry for entry in other.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(np.ones(shape, dtype=np.float32), name))
    other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(other, tmp_path / "net.onnx")
    file = place.export(tmp_path / "a.edgecnn")
    with pytest.raises(SourceRejected, match=r"answers with 4 logits, .* with 3; give the network that it was made from"):
        replace(place, folder=tmp_path).blame(file, data=None, calibration=None)


def test_fewer_than_one_image_is_refused(place, tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        place.blame(place.export(tmp_path / "a.edgecnn"), images=0)


def test_a_network_of_another_input_is_refused(checkpoint, place, tmp_path):
    grey = tmp_path / "grey.onnx"
    grey.write_bytes(tiny_classifier(3, 16, 1))
    file = place.export(tmp_path / "a.edgecnn", "none")
    with pytest.raises(UsageError, match="make them agree"):
        blame(file, grey)
    net = build_net("simplecnn", num_classes=3, in_channels=1, input_size=(12, 12), options={"channels": (6,), "hidden": ()})
    spec = make_spec(name="grey", labels=COLORS, preprocess=Preprocess(size=(12, 12), channels="L", image_mean=(0.0,), image_std=(1.0,)))
    whole = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "grey.safetensors", Checkpoint(header=replace(whole.header, spec=spec), weights=net.state_dict()))
    with pytest.raises(SourceRejected, match=r"grey.safetensors doesn't take what .*a.edgecnn does, so it isn't what that was made from"):
        blame(file, tmp_path / "grey.safetensors")


def test_calibration_images_that_are_not_needed_are_told(place, tmp_path):
    assert any("calibration images weren't needed" in note for note in place.blame(place.export(tmp_path / "a.edgecnn", "fp16")).notes)
    assert not any("weren't needed" in note for note in place.blame(place.export(tmp_path / "b.edgecnn", "int8")).notes)

"""A fault in each stage is blamed on that very stage, and a sound artifact on none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import pipeline
from edgecnn.build.blame import blame, preprocessing, rebuilt, stages
from edgecnn.build.chain import sha256
from edgecnn.build.metadata import stamp
from edgecnn.build.pixels import pixel_spec, take_pixels
from edgecnn.device.golden import read_golden
from edgecnn.device.session import Session
from edgecnn.errors import DataRejected, SourceRejected, UsageError
from edgecnn.train.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig
from tests.build.blame.conftest import bad_scale, packed_again, repacked, transposed_weight, wrong_padding
from tests.fixtures.artifacts import npy
from tests.fixtures.graphs import tiny_classifier
from tests.fixtures.onnx_nets import COLORS

BOTH = (pipeline, rebuilt)
ONLY_WHEN_MADE = (pipeline,)


def row(found, stage):
    return next(row for row in found.stages if row.stage == stage)


# nothing to blame


@pytest.mark.parametrize("quantize", ["none", "dynamic", "fp16", "int8"])
def test_a_sound_artifact_is_rebuilt_byte_for_byte_and_falls_short_nowhere(place, tmp_path, quantize):
    found = place.blame(place.export(tmp_path / "a.edgecnn", quantize))
    made = ["export", "simplify", *(["quantize"] if quantize != "none" else [])]
    assert [row.stage for row in found.stages] == ["preprocessing", *made, "optimized", "packaged"]
    assert [row.made for row in found.stages] == [None, *["rebuilt alike"] * len(made), None, None]
    assert found.passed
    assert found.verdict == f"no stage of {tmp_path / 'a.edgecnn'} falls short of its limits."
    for row in found.stages:
        assert row.passed
        assert row.against_source.samples == 24
    assert row.against_previous.max_abs == 0  # the file is what was optimized


@pytest.mark.parametrize(
    "options",
    [{"batch": "dynamic"}, {"quantize": "fp16", "task": "multi-label", "validation": None}, {"config": {"activation_type": "int8"}}],
)
def test_whatever_the_artifact_was_made_with_is_made_again(place, tmp_path, options):
    found = place.blame(place.export(tmp_path / "a.edgecnn", **options))
    assert [row.made for row in found.stages if row.made] == ["rebuilt alike"] * 3
    assert found.passed, found.verdict


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_graph_that_takes_pixels_is_fed_them(place, tmp_path, quantize):
    file = place.export(tmp_path / "a.edgecnn", quantize)
    with open_bundle(file) as bundle:
        spec, report, golden = bundle.manifest.spec, bundle.report(), read_golden(bundle)
        model = stamp(take_pixels(bundle.read("model.onnx"), spec), pixel_spec(spec))
    stages = (*report.stages[:-1], replace(report.stages[-1], sha256=sha256(model)))
    pixels = np.rint(golden.inputs * 255).astype(np.uint8)
    members = {"report.json": replace(report, stages=stages).to_json(), "golden/inputs.npy": npy(pixels)}
    found = place.blame(packed_again(file, model, members, spec=pixel_spec(spec), parity=None))
    assert found.passed, found.verdict
    assert [row.made for row in found.stages if row.made] == ["rebuilt alike"] * len(stages)
    assert all(row.against_source.sqnr_db is None or row.against_source.sqnr_db > 30 for row in found.stages)
    assert len(found.layers) == (5 if quantize == "int8" else 0)


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
        ("t1_scale", 100, "n0", "most of its levels are never used: calibrate on images like these"),
        ("t1_scale", 0.01, "n0", "saturate: calibrate on images like these"),
        ("t3_scale", 100, "n2", "most of its levels are never used"),
        ("input_scale", 0.01, "input", "saturate"),
        ("c2_scale", -1, "n2", "the weights c2 aren't the reference's"),
    ],
)
def test_a_bad_scale_is_blamed_on_quantization_and_its_layer(place, tmp_path, spoil, scale, factor, layer, advice):
    spoil("quantize", bad_scale(factor, scale), BOTH)
    found = place.blame(place.export(tmp_path / "a.edgecnn"))
    assert found.culprit.stage == "quantize"
    assert row(found, "simplify").passed
    assert found.layers[0].layer == layer
    assert f"the worst layer is {layer}" in found.verdict
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


# layers


def test_a_graph_without_pairs_is_said_to_tell_no_layers(place, tmp_path):
    found = place.blame(place.export(tmp_path / "a.edgecnn", "dynamic"))
    assert found.layers == ()
    assert found.notes[-1] == "no layer could be told: the graph has no QuantizeLinear/DequantizeLinear pairs"
    assert place.blame(tmp_path / "a.edgecnn", by_layer=False).notes == found.notes[:-1]


def test_a_graph_whose_channels_were_scaled_is_not_held_against_the_reference_s_tensors(place, tmp_path):
    file = place.export(tmp_path / "a.edgecnn")
    with open_bundle(file) as bundle:
        report, model = bundle.report(), bundle.read("model.onnx")
    *others, last = report.stages
    last = replace(last, configuration={**last.configuration, "equalize": True})
    found = place.blame(packed_again(file, model, {"report.json": replace(report, stages=(*others, last)).to_json()}), calibration=None)
    assert found.layers == ()
    assert "its channels were scaled before it was quantized" in found.notes[-1]


def test_a_packaged_graph_that_does_not_run_is_blamed_on_packaging(place, tmp_path):
    def other_edges(proto: onnx.ModelProto) -> None:
        next(entry for node in proto.graph.node if node.op_type == "Conv" for entry in node.attribute if entry.name == "pads").ints[:] = [0] * 4
        node = next(node for node in proto.graph.node if node.op_type == "Gemm")
        next(entry for entry in node.attribute if entry.name == "transB").i = 0
        del proto.graph.value_info[:]

    found = place.blame(repacked(place.export(tmp_path / "a.edgecnn"), other_edges))
    assert found.culprit.stage == "packaged"
    assert "it can't be opened: onnxruntime" in found.verdict
    assert found.layers == ()


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
    assert f"its {stage} stage isn't what is rebuilt today" in found.verdict
    assert row(found, stage).note == "the tools are those that it was made with"


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
    with pytest.raises(DataRejected, match="aren't those that the ranges were measured on"):
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

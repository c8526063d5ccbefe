from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

import edgecnn
from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import notes, pipeline, quantize, quantizing
from edgecnn.build.pipeline import export
from edgecnn.build.quantize import Quantized
from edgecnn.build.simplify import Simplified
from edgecnn.device.image import to_input
from edgecnn.device.validate import check_golden
from edgecnn.errors import DataRejected, ImageRejected, InputMissing, OutputNotWritable, ParityFailed, UsageError
from tests.fixtures.modules import NETS
from tests.fixtures.onnx_nets import COLORS, color_folder, color_net
from tests.fixtures.plain_int8 import PLAIN

PREPROCESS = "size=16x16"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with colors.onnx, 24 calibration and 60 validation images."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 60, seed=2)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Without onnxsim's child, which takes seconds."""
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model, tools={"onnxsim": "0"}))


def export_colors(place, output, **options):
    return export(place / "colors.onnx", output=output, labels=COLORS, preprocess=PREPROCESS, **options)


def with_images(place):
    return {"calibration": place / "some", "validation": place / "others"}


@pytest.fixture(scope="module")
def int8(place):
    """The whole road, nothing replaced."""
    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECNN_CACHE", str(place / "cache"))
        result = export_colors(
            place, place / "int8.edgecnn", quantize="int8", licenses={"model": "MIT"}, on_stage=events.append, **with_images(place)
        )
    return result, events


# what comes out


def test_the_int8_artifact_proves_itself_on_a_device(int8):
    result, _ = int8
    with open_bundle(result.path) as bundle:
        bundle.verify()
        report = check_golden(bundle)
        assert bundle.manifest == result.manifest
        assert bundle.report() == result.report
    assert report.passed
    assert [step.samples for step in report.steps] == [8, 8, 8]
    assert result.manifest.validated
    assert result.manifest.limits.outputs_atol == 0.0


def test_it_predicts_without_torch_or_onnx(int8, place):
    prediction = edgecnn.load(int8[0].path).predict(place / "others" / "red" / "002.png")
    assert prediction.label == "red"


def test_the_manifest_speaks_of_the_packed_bytes(int8):
    manifest, stages = int8[0].manifest, int8[0].report.stages
    assert manifest.parity.graph_sha256 == stages[-1].sha256 == manifest.member("model.onnx").sha256
    assert (manifest.parity.samples, manifest.parity.reference) == (60, "source network")
    assert (manifest.quantization, manifest.opset, manifest.ir_version) == ("int8", 18, 8)
    assert manifest.licenses == {"model": "MIT"}
    assert {"onnx", "onnxruntime", "onnxsim", "numpy", "pillow"} <= set(manifest.tools)


def test_the_stages_tell_how_it_was_made(int8):
    stages = {stage.name: stage for stage in int8[0].report.stages}
    assert list(stages) == ["export", "simplify", "quantize"]
    assert stages["export"].configuration == {"batch": 1, "source": "onnx"}
    assert stages["quantize"].configuration["calibration_images"] == 24
    assert stages["quantize"].configuration["judged_on"] == "validation"
    assert len(stages["quantize"].configuration["judged_sha256"]) == 64
    assert stages["quantize"].against_previous.reference == "simplify"
    assert stages["quantize"].nodes > stages["export"].nodes
    assert all(stage.against_source.passed for stage in stages.values())


def test_accuracy_is_told_of_both_with_their_difference(int8):
    accuracy = int8[0].accuracy
    assert (accuracy.source.correct, accuracy.artifact.correct, accuracy.source.count) == (60, 60, 60)
    assert accuracy.difference.points == 0
    assert accuracy.difference.low < 0 < accuracy.difference.high


def test_each_stage_is_told_as_it_goes(int8):
    events = int8[1]
    assert [(e.stage, e.kind) for e in events if e.kind != "progress"] == [(s, k) for s in pipeline.STAGES for k in ("start", "end")]
    seen = {(e.stage, e.done, e.total) for e in events if e.kind == "progress"}
    assert {("quantize", 24, 24), ("validate", 60, 60)} <= seen
    assert [e.record.name for e in events if e.record] == ["export", "simplify", "quantize"]
    assert next(e.parity for e in events if e.parity).samples == 60


def test_the_artifact_says_when_its_proof_rests_on_less_than_validation_images(place, tmp_path, quick):
    flattered = export_colors(place, tmp_path / "a.edgecnn", quantize="int8", calibration=place / "some")
    assert flattered.report.stages[-1].configuration["judged_on"] == "calibration"
    patterns = export_colors(place, tmp_path / "b.edgecnn")
    assert patterns.report.stages[-1].configuration["judged_on"] == "synthetic"


def test_calibration_images_that_nothing_is_measured_on_are_pointed_out(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", calibration=place / "some")
    assert any("add --quantize int8" in note for note in result.notes)


def test_an_artifact_never_replaces_what_it_is_made_from(place, tmp_path, quick):
    source = tmp_path / "net.onnx"
    source.write_bytes((place / "colors.onnx").read_bytes())
    before = source.read_bytes()
    with pytest.raises(UsageError, match="give it another name"):
        export(source, output=tmp_path / "." / "net.onnx", labels=COLORS, preprocess=PREPROCESS)
    assert source.read_bytes() == before


def test_dynamic_ranges_are_never_measured_on_several_images_at_once(place, tmp_path, quick):
    with pytest.raises(UsageError, match="take --batch 1"):
        export_colors(place, tmp_path / "a.edgecnn", quantize="dynamic", batch="dynamic")


def test_few_validation_images_are_pointed_out(int8):
    assert any("60 images are too few" in note for note in int8[0].notes)


def test_the_bare_graph_says_what_it_is_and_keeps_float_edges(int8):
    with open_bundle(int8[0].path) as bundle:
        proto = onnx.load_from_string(bundle.read("model.onnx"))
    assert {entry.key: entry.value for entry in proto.metadata_props}["edgecnn.name"] == "colors"
    edges = (*proto.graph.input, *proto.graph.output)
    assert [value.type.tensor_type.elem_type for value in edges] == [onnx.TensorProto.FLOAT] * 2


_KINDS = [(name, batch) for name in ("none", *quantize.names()) for batch in (1, 3, "dynamic") if name != "dynamic" or batch == 1]


@pytest.mark.parametrize(("name", "batch"), _KINDS)
def test_every_kind_and_batch_gives_an_artifact_that_passes_its_own_check(place, tmp_path, quick, name, batch):
    result = export_colors(place, tmp_path / "a.edgecnn", quantize=name, batch=batch, **with_images(place))
    with open_bundle(result.path) as bundle:
        assert check_golden(bundle).passed
    assert result.manifest.validated
    assert result.manifest.spec.batch == (None if batch == "dynamic" else batch)
    assert result.accuracy.artifact.correct == 60


def test_the_golden_images_are_lossless_originals(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", **with_images(place))
    from PIL import Image

    originals = [np.asarray(Image.open(path)) for path in sorted((place / "others").rglob("*.png"))]
    with open_bundle(result.path) as bundle:
        for name in result.report.golden:
            pixels = np.asarray(Image.open(io.BytesIO(bundle.read(name))))
            assert any(np.array_equal(pixels, original) for original in originals)


# what a proof is worth


def test_without_images_patterns_stand_in_and_it_is_said(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="fp16")
    assert any("no images were given" in note for note in result.notes)
    assert result.manifest.validated
    assert result.accuracy is None


def test_agreement_on_the_calibration_images_themselves_is_said_to_flatter(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="int8", calibration=place / "some")
    assert any("the 24 calibration images themselves" in note for note in result.notes)
    assert result.manifest.parity.samples == 24
    assert result.accuracy is None


def test_enough_validation_images_need_no_word(place, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(notes, "ENOUGH_IMAGES", 60)
    monkeypatch.setattr(notes, "FEW_IMAGES", 24)
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="int8", **with_images(place))
    assert result.notes == ()


def test_images_without_labels_prove_the_decisions_alone(place, tmp_path, quick):
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in (place / "others").rglob("*.png"):
        (plain / path.name).write_bytes(path.read_bytes())
    result = export_colors(place, tmp_path / "a.edgecnn", validation=plain)
    assert result.accuracy is None
    assert result.manifest.validated


def test_multi_label_models_are_proved_by_their_sets_of_labels(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="int8", calibration=place / "some", task="multi-label")
    assert result.manifest.spec.postprocess.activation == "sigmoid"
    assert result.manifest.parity.agreement >= 0.98


# what falls short


def spoiled(name, model, calibration, **config):
    """A quantizer that turns the answers round."""
    proto = onnx.load_from_string(model)
    tensor = next(entry for entry in proto.graph.initializer if len(entry.dims) == 2)
    values = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
    return Quantized(model=proto.SerializeToString())


def test_a_graph_that_decides_otherwise_is_not_packed_and_the_old_file_stays(place, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(quantizing, "run_quantizer", spoiled)
    output = tmp_path / "a.edgecnn"
    output.write_bytes(b"old")
    with pytest.raises(ParityFailed, match=r"after fp16 .* 0 of 60 decisions agree \(0\.00%\), wanted 98\.00%.*Nothing was written") as caught:
        export_colors(place, output, quantize="fp16", **with_images(place))
    assert caught.value.exit_code == 1
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_by_force_it_is_packed_and_marked(place, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(quantizing, "run_quantizer", spoiled)
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="fp16", force=True, **with_images(place))
    assert result.manifest.forced
    assert not result.manifest.validated
    assert result.accuracy.artifact.correct == 0


@pytest.mark.parametrize("force", [False, True])
def test_a_float_graph_with_other_numbers_is_blamed_on_its_stage(place, tmp_path, monkeypatch, force):
    def shifted(model, **_):
        proto = onnx.load_from_string(model)
        tensor = next(entry for entry in proto.graph.initializer if entry.dims == [3])
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.float32(0.001), tensor.name))
        return Simplified(model=proto.SerializeToString())

    monkeypatch.setattr(pipeline, "simplify", shifted)
    if force:
        assert export_colors(place, tmp_path / "a.edgecnn", force=True).manifest.forced
        return
    with pytest.raises(ParityFailed, match=r"after simplify .* largest difference is 0\.001.*--atol"):
        export_colors(place, tmp_path / "a.edgecnn", quantize="int8", **with_images(place))
    export_colors(place, tmp_path / "a.edgecnn", atol=0.01)  # where that will do


# what is refused, before the work and with nothing written


def refused(place, tmp_path, error, match, **options):
    before = set(tmp_path.rglob("*"))
    started = []
    with pytest.raises(error, match=match):
        export_colors(place, options.pop("output", tmp_path / "a.edgecnn"), on_stage=started.append, **options)
    assert set(tmp_path.rglob("*")) == before
    return started


def test_int8_without_calibration_images_is_a_usage_error(place, tmp_path):
    assert refused(place, tmp_path, UsageError, "int8 needs calibration images", quantize="int8") == []


def test_an_unknown_quantizer_and_impossible_limits_are_usage_errors(place, tmp_path):
    refused(place, tmp_path, UsageError, r"no quantizer int4, did you mean int8\?", quantize="int4")
    refused(place, tmp_path, UsageError, "min_agreement must lie between 0 and 1", min_agreement=98)
    refused(place, tmp_path, UsageError, "atol must be 0 or more", atol=-1.0)


def test_images_in_both_sets_are_refused(place, tmp_path):
    match = "24 of the 24 validation images are among the calibration images"
    assert refused(place, tmp_path, DataRejected, match, calibration=place / "some", validation=place / "some") == []


def test_an_empty_calibration_set_is_refused(place, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(place, tmp_path, DataRejected, "images", quantize="int8", calibration=tmp_path / "empty") == []


def test_a_calibration_image_that_is_none_is_named(place, tmp_path, quick):
    folder = color_folder(tmp_path / "some", 40, seed=5)
    (folder / "red" / "0020.png").write_bytes(b"no picture")
    refused(place, tmp_path, ImageRejected, r"0020\.png", quantize="int8", calibration=folder, validation=place / "others")


def test_validation_labels_that_the_model_does_not_know_are_told_before_the_work(place, tmp_path):
    folder = color_folder(tmp_path / "others", 6, seed=5)
    (folder / "red").rename(folder / "purple")
    assert refused(place, tmp_path, DataRejected, "purple", validation=folder) == []


def test_missing_files_are_told(place, tmp_path):
    refused(place, tmp_path, InputMissing, "nowhere", calibration=tmp_path / "nowhere")
    with pytest.raises(InputMissing, match="nothing"):
        export(tmp_path / "nothing.onnx", output=tmp_path / "a.edgecnn")


def test_an_output_that_cannot_be_written_is_told_before_the_work(place, tmp_path):
    assert refused(place, tmp_path, OutputNotWritable, "no folder", output=tmp_path / "none" / "a.edgecnn") == []
    assert refused(place, tmp_path, UsageError, "is a folder", output=tmp_path) == []


def test_a_disk_that_fills_up_leaves_the_old_file(place, tmp_path, quick, monkeypatch):
    output = tmp_path / "a.edgecnn"
    output.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgecnn.artifact.files.os.fsync", full)
    with pytest.raises(OutputNotWritable, match="disk is full"):
        export_colors(place, output)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("stage", ["simplify", "quantize", "validate", "pack"])
def test_an_interrupt_in_any_stage_leaves_nothing(place, tmp_path, quick, stage):
    def interrupt(event):
        if (event.stage, event.kind) == (stage, "start"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_colors(place, tmp_path / "a.edgecnn", quantize="int8", on_stage=interrupt, **with_images(place))
    assert list(tmp_path.iterdir()) == []


# the same bytes, and torch only where it is needed

_SCRIPT = """
import sys
sys.modules["torch"] = None
from edgecnn.build.pipeline import export
place, output = sys.argv[1:]
options = dict(labels=("blue", "green", "red"), preprocess="size=16x16", licenses={"model": "MIT"})
export(place + "/colors.onnx", output=output, quantize="int8", calibration=place + "/some", validation=place + "/others", **options)
"""


def test_another_folder_zone_locale_and_process_give_the_same_bytes_without_torch(int8, place, tmp_path):
    output = tmp_path / "again.edgecnn"
    environment = {**os.environ, "TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "77", "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", _SCRIPT, str(place), str(output)], cwd=tmp_path, env=environment, check=True)
    assert output.read_bytes() == int8[0].path.read_bytes()


def test_a_torch_module_goes_the_whole_road(tmp_path, quick):
    import torch

    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(), torch.nn.MaxPool2d(2))
    net = torch.nn.Sequential(
        *layers, torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    spec = make_spec(name="module", version="2.0.0", labels=COLORS, preprocess=Preprocess(size=(16, 16)))
    some = color_folder(tmp_path / "some", 30, seed=1)
    result = edgecnn.export(net, spec, output=tmp_path / "a.edgecnn", quantize="int8", calibration=some, min_agreement=0.8)
    assert result.manifest.spec == spec
    assert net.training
    assert "torch" in result.manifest.tools
    with open_bundle(result.path) as bundle:
        assert check_golden(bundle).passed
        graph = onnx.load_from_string(bundle.read("model.onnx"))
    assert not {"Relu", "Clip", "BatchNormalization"} & {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("name", NETS)
def test_the_nets_that_people_bring_go_the_whole_road_to_int8(name, place, tmp_path, quick):
    net = NETS[name]
    result = export(
        net.build(),
        output=tmp_path / "a.edgecnn",
        quantize="int8",
        calibration=place / "some",
        input_size=net.input_shape,
        output_index=net.output_index,
        min_agreement=0.75,  # random weights decide by a hair
    )
    with open_bundle(result.path) as bundle:
        assert check_golden(bundle).passed
        assert "QuantizeLinear" in {node.operator for node in bundle.check_graph().nodes}
    assert len(result.manifest.spec.labels) == net.outputs
    assert all(stage.against_source.passed for stage in result.report.stages)


# a graph that takes the image's bytes


@pytest.mark.parametrize("how", [{"quantize": "none"}, {"quantize": "int8"}, {"quantize": "fp16"}, {"quantize": "int8", "batch": "dynamic"}])
def test_a_graph_that_takes_bytes_answers_as_the_one_that_takes_floats(place, tmp_path, quick, how):
    found, wanted = (
        export_colors(place, tmp_path / f"{kind}.edgecnn", input_type=kind, **how, **with_images(place)) for kind in ("uint8", "float32")
    )
    spec = found.manifest.spec
    assert (spec.input.dtype, spec.preprocess.normalized_by) == ("uint8", "graph")
    with open_bundle(found.path) as bundle:
        bundle.verify()
        assert check_golden(bundle).passed
    files = sorted((place / "others").rglob("*.png"))[:20]
    answers = []
    for result in (found, wanted):
        model = edgecnn.load(result.path)
        answers.append(np.concatenate([model.logits(to_input(file, model.spec.preprocess)) for file in files]))
    step = 0.0 if how["quantize"] != "int8" else 0.02 * np.abs(answers[1]).max()  # one of the 255 steps of a tensor, seen in the answer
    np.testing.assert_allclose(answers[0], answers[1], atol=step + 1e-5)
    assert (answers[0].argmax(axis=1) == answers[1].argmax(axis=1)).all()


def test_an_input_type_that_is_none_is_refused(place, tmp_path, quick):
    with pytest.raises(UsageError, match="there is no input type int8; give float32 or uint8"):
        export_colors(place, tmp_path / "a.edgecnn", input_type="int8")


# fine-tuning


@pytest.fixture(scope="module")
def training(place):
    return color_folder(place / "training", 40, seed=5)


def test_fine_tuning_is_recorded_and_is_no_worse(place, tmp_path, quick, training):
    told = []
    options = {"quantize": "int8", "config": {**PLAIN, "qat_steps": 40, "per_channel": False, "reduce_range": True}, **with_images(place)}
    tuned = export_colors(place, tmp_path / "a.edgecnn", qat=training, on_stage=told.append, **options)
    options["config"] = {**PLAIN, "per_channel": False, "reduce_range": True}
    plain = export_colors(place, tmp_path / "b.edgecnn", **options)
    facts = tuned.report.stages[-1].configuration
    assert (facts["qat_steps"], facts["qat_images"]) == (40, 40)
    assert len(facts["qat_sha256"]) == 64
    assert any((e.stage, e.done, e.total) == ("quantize", 40, 40) for e in told)
    before, after = (result.report.stages[-1].against_source for result in (plain, tuned))
    assert after.mean_abs < before.mean_abs
    assert tuned.manifest.member("model.onnx").size == plain.manifest.member("model.onnx").size


def test_fine_tuning_twice_gives_the_same_bytes(place, tmp_path, quick, training):
    for name in ("a", "b"):
        export_colors(place, tmp_path / f"{name}.edgecnn", quantize="int8", config={"qat_steps": 3}, qat=training, **with_images(place))
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()


def test_images_that_it_was_fine_tuned_on_prove_nothing(place, tmp_path, quick):
    with pytest.raises(DataRejected, match="60 of the 60 validation images are among the training images"):
        export_colors(place, tmp_path / "a.edgecnn", quantize="int8", qat=place / "others", **with_images(place))


# a quantizer's options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int8", "config": {"rangs": "mse"}}, "int8 has no option rangs, did you mean ranges"),
        ({"quantize": "int8", "config": {"ranges": "max"}}, "ranges is 'max'"),
        ({"quantize": "int8", "config": {"qat_steps": "20"}}, "qat_steps is 20, but there are no images to fine-tune on; give training images"),
        ({"quantize": "int8", "config": {"qat_steps": "0"}, "qat": "some"}, "qat_steps is 0, but there are images to fine-tune on and no steps"),
        ({"quantize": "fp16", "qat": "some"}, "--qat fine-tunes int8, and --quantize is fp16"),
        ({"quantize": "none", "qat": "some"}, "--qat is for a quantizer, and --quantize is none"),
        ({"quantize": "none", "config": {"ranges": "mse"}}, "--config ranges is for a quantizer"),
        ({"quantize": "int8", "calibration_images": 0}, "--calibration-images is 0"),
    ],
)
def test_options_that_do_not_fit_are_told_before_the_work(place, tmp_path, options, message):
    def no_work(event):
        raise AssertionError(event)

    options = {key: place / value if key == "qat" else value for key, value in options.items()}
    with pytest.raises(UsageError, match=message):
        export_colors(place, tmp_path / "a.edgecnn", on_stage=no_work, **options, **with_images(place))
    assert list(tmp_path.iterdir()) == []


# calibration images


def test_of_many_calibration_images_some_are_taken_and_few_are_said_to_be_few(place, tmp_path, quick):
    result = export_colors(place, tmp_path / "a.edgecnn", quantize="int8", calibration_images=10, **with_images(place))
    assert result.report.stages[-1].configuration["calibration_images"] == 10
    assert any("ranges were measured on 10 calibration images, which is few; give some 300" in note for note in result.notes)


def test_a_second_export_measures_no_ranges_again(place, tmp_path, quick, monkeypatch):
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path / "cache"))
    told = []
    first, second = (
        export_colors(place, tmp_path / f"{name}.edgecnn", quantize="int8", on_stage=told.append, **with_images(place)) for name in ("a", "b")
    )
    assert first.path.read_bytes() == second.path.read_bytes()
    assert sum((e.stage, e.done) == ("quantize", 24) for e in told) == 3  # the first measures and corrects, the second corrects

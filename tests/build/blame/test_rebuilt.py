"""Whatever an artifact was made with is made again, byte for byte, or it is said what isn't, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build.quantize import options
from tests.build.blame.conftest import packed_again, row
from tests.fixtures.onnx_nets import color_folder

OTHERWISE = {"int": None, "float": 99.0, "names": ("n2",)}


def other(option):
    """A value that isn't the default; None for what needs training images."""
    if option.kind == "bool":
        return not option.default
    return next((choice for choice in option.choices if choice != option.default), OTHERWISE.get(option.kind))


def made(found):
    return [row.made for row in found.stages if row.made]


@pytest.mark.parametrize(
    "options",
    [
        {"batch": "dynamic"},
        {"opset": 19},
        {"quantize": "fp16", "task": "multi-label", "validation": None},
        {"quantize": "dynamic", "config": {"per_channel": False}},
        {"quantize": "none", "input_type": "uint8"},
        {"quantize": "int8", "input_type": "uint8"},
    ],
)
def test_whatever_the_artifact_was_made_with_is_made_again(place, tmp_path, options):
    found = place.blame(place.export(tmp_path / "a.edgecnn", **options))
    assert made(found) == ["rebuilt alike"] * (2 if options.get("quantize") == "none" else 3)
    assert found.passed, found.verdict
    assert all(row.against_source.sqnr_db is None or row.against_source.sqnr_db > 30 for row in found.stages)
    assert len(found.layers) == {"int8": 5, "fp16": 2}.get(options.get("quantize", "int8"), 0)


@pytest.mark.parametrize("option", [option for option in options("int8") if other(option) is not None], ids=lambda option: option.name)
def test_every_option_of_the_quantizer_is_recorded_and_taken_again(place, tmp_path, option):
    file = place.export(
        tmp_path / "a.edgecnn", config={option.name: other(option), **({"ranges": "percentile"} if option.name == "percentile" else {})}
    )
    with open_bundle(file) as bundle:
        configuration = bundle.report().stages[-1].configuration
    assert {each.name for each in options("int8")} <= set(configuration)
    found = place.blame(file)
    assert made(found) == ["rebuilt alike"] * 3
    assert row(found, "quantize").graph_sha256 == row(found, "quantize").recorded_sha256


def test_of_more_calibration_images_those_are_taken_that_export_took(place, tmp_path):
    file = place.export(tmp_path / "a.edgecnn", calibration_images=7)
    assert made(place.blame(file)) == ["rebuilt alike"] * 3


def test_what_was_fine_tuned_is_taken_from_the_file_and_that_is_said(place, tmp_path):
    color_folder(tmp_path / "more", 9, seed=5)
    file = place.export(tmp_path / "a.edgecnn", config={"qat_steps": 2}, qat=tmp_path / "more")
    found = place.blame(file)
    quantize = row(found, "quantize")
    assert quantize.made == "taken from the file"
    assert quantize.note == ("it was fine-tuned on 9 training images, and can't be made again without them, so the packaged graph stands for it")
    assert found.passed
    assert len(found.layers) == 5
    assert "its weights were fine-tuned together, so what one layer costs alone says less of it" in found.notes


@pytest.fixture
def recorded(place, tmp_path):
    """recorded(**changes): an artifact whose record of quantization is otherwise."""
    file = place.export(tmp_path / "a.edgecnn")
    with open_bundle(file) as bundle:
        report, model = bundle.report(), bundle.read("model.onnx")

    def make(configuration=None, **changes):
        *others, last = report.stages
        last = replace(last, configuration=configuration if configuration is not None else last.configuration, **changes)
        return packed_again(file, model, {"report.json": replace(report, stages=(*others, last)).to_json()})

    make.configuration = report.stages[-1].configuration
    return make


def test_another_version_of_a_tool_is_named_where_a_rebuild_differs(place, recorded):
    found = place.blame(recorded(sha256="0" * 64, tools={"onnxruntime": "1.17.0+cpu", "no-such-tool": "2"}))
    quantize = row(found, "quantize")
    assert quantize.made == "rebuilt otherwise"
    assert quantize.note.startswith("it comes out otherwise than recorded, with no-such-tool none for 2 and onnxruntime ")
    assert quantize.note.endswith(" for 1.17.0+cpu")


def test_an_option_that_the_record_leaves_away_is_named_where_a_rebuild_differs(place, recorded):
    fewer = {name: value for name, value in recorded.configuration.items() if name != "per_channel"}
    note = row(place.blame(recorded(fewer, sha256="0" * 64)), "quantize").note
    assert note == ("it comes out otherwise than recorded, with the same tools; its record doesn't name per_channel, of which the default was taken")


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ({"quantizer": "int3"}, "there is no quantizer int3 here"),
        ({"keep_float": "gone"}, "it can't be quantized again: there is no layer gone"),
        ({"ranges": "odd"}, "it can't be quantized again: ranges is 'odd'"),
    ],
)
def test_what_can_not_be_quantized_again_is_taken_from_the_file(place, recorded, configuration, told):
    found = place.blame(recorded({**recorded.configuration, **configuration}))
    assert row(found, "quantize").made == "taken from the file"
    assert row(found, "quantize").note.startswith(told)

"""--quantize auto in an export: the winner goes the usual road, and its recipe goes it again, byte for byte."""

from __future__ import annotations

import json

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build import auto, pipeline
from edgecnn.build.export_recipe import read_export_recipe
from edgecnn.build.pipeline import export
from edgecnn.build.search import lab
from edgecnn.build.search.speed import Race
from edgecnn.build.simplify import Simplified
from edgecnn.device.validate import check_golden
from edgecnn.errors import AccuracyFailed, DataRejected, OutputNotWritable, UsageError
from tests.fixtures.onnx_nets import COLORS, color_folder, color_net

DROP = 5.0  # points: 73 images can show that


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 90, seed=2)
    color_folder(folder / "few", 30, seed=3)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without onnxsim's child, and with times that no other work on this machine changes: int8 takes half of float32's."""
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model, tools={"onnxsim": "0"}))
    set_speed(monkeypatch, 0.5)


def set_speed(monkeypatch, ratio):
    def race(models, spec, x, *, threads, progress):
        assert x.shape == (1, 3, 16, 16)
        return Race(rounds={name: (1e6 * (ratio if name.startswith("int8") else 1.0),) * 15 for name in models})

    monkeypatch.setattr(lab, "race", race)


def colors(place, output, **options):
    given = {"calibration": place / "some", "validation": place / "others", "labels": COLORS, "preprocess": "size=16x16"} | options
    return export(place / "colors.onnx", output=output, **given)


def search_colors(place, output, **options):
    return colors(place, output, **({"quantize": "auto", "max_drop": DROP} | options))


def won(result):
    return next(trial for trial in result.search.trials if trial.candidate == result.search.winner)


def test_the_winner_is_an_artifact_like_any_other(place, tmp_path):
    result = search_colors(place, tmp_path / "a.edgecnn")
    assert result.search is not None
    assert result.search.winner.quantizer == "int8"
    assert result.manifest.quantization == "int8"
    assert [stage.name for stage in result.report.stages] == ["export", "simplify", "quantize"]
    stage = result.report.stages[-1]
    tried = len(result.search.trials)
    assert f"chosen by --quantize auto of {tried} candidates" in stage.note
    assert "at most 5 points of top-1 lost" in stage.note
    with open_bundle(result.path) as bundle:
        bundle.verify()
        assert check_golden(bundle).passed
    assert result.accuracy.difference == won(result).judged.difference


def test_what_wins_in_the_search_is_what_is_packed(place, tmp_path, monkeypatch):
    graphs = {}
    original = lab.quantize
    monkeypatch.setattr(
        lab, "quantize", lambda name, *args, **config: graphs.setdefault(str((name, *sorted(config.items()))), original(name, *args, **config))
    )
    result = search_colors(place, tmp_path / "a.edgecnn")
    winner = result.search.winner
    searched = graphs[str((winner.quantizer, *sorted(winner.config.items())))].model
    assert won(result).bytes == len(searched)
    packed = result.manifest.member("model.onnx").size
    assert 0 <= packed - len(searched) < 1000  # the spec's signature in its metadata


def test_the_recipe_makes_the_same_bytes_again(place, tmp_path):
    search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml")
    assert read_export_recipe(tmp_path / "r.toml").config["activation_type"] == "uint8"  # what is a default today is written down as well
    again = colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml")
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()
    assert again.search is None
    assert not any("recipe" in note for note in again.notes)


def test_so_does_that_of_a_float32_winner_with_an_open_batch_and_another_opset(place, tmp_path, monkeypatch):
    set_speed(monkeypatch, 1.5)
    told = {"batch": "dynamic", "opset": 17}
    monkeypatch.setattr(lab, "race", lambda models, *_, **__: Race(rounds=dict.fromkeys(models, (1e6,) * 15)))
    found = search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml", **told)
    colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml")
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()
    assert found.manifest.quantization == "none"
    assert found.manifest.opset == 17
    assert found.search.why.startswith("float32 is kept: nothing else is faster on this machine")


def test_other_calibration_images_are_refused_and_nothing_is_written(place, tmp_path):
    search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml")
    with pytest.raises(DataRejected, match="the 24 of the 30 calibration images are not the recipe's 24"):
        colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml", calibration=place / "few")
    with pytest.raises(UsageError, match="needs calibration images"):
        colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml", calibration=None)
    assert not (tmp_path / "b.edgecnn").exists()


def test_other_versions_and_other_validation_images_are_said(place, tmp_path, monkeypatch):
    search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml")
    real = auto.versions()
    monkeypatch.setattr(auto, "versions", lambda: real | {"onnxruntime": "9.9"})
    result = colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml", validation=place / "few")
    assert any(f"onnxruntime {real['onnxruntime']} then and 9.9 now" in note for note in result.notes)
    assert any("the validation images are not the recipe's 90" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "fp16"}, "the recipe says --quantize int8 and how"),
        ({"config": {"per_channel": False}}, "the recipe says --quantize int8 and how"),
        ({"opset": 17}, "--opset is 17 and the recipe says 18"),
        ({"batch": 2}, "--batch is 2 and the recipe says 1"),
        ({"max_drop": 1.0}, "--max-drop is for --quantize auto"),
    ],
)
def test_what_contradicts_the_recipe_is_refused(place, tmp_path, options, message):
    search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml")
    with pytest.raises(UsageError, match=message):
        colors(place, tmp_path / "b.edgecnn", recipe=tmp_path / "r.toml", **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_drop": None}, UsageError, "auto needs a goal: --max-drop"),
        ({"max_drop": -1}, UsageError, "--max-drop -1 is no goal"),
        ({"calibration": None}, UsageError, "auto needs images to measure ranges on"),
        ({"validation": None}, UsageError, "auto needs other images to measure accuracy on"),
        ({"objective": "speed"}, UsageError, "there is no objective speed"),
        ({"config": {"per_channel": False}}, UsageError, "auto finds out per_channel itself"),
        ({"quantize": "int8"}, UsageError, "--max-drop is for --quantize auto, and --quantize is int8"),
        ({"quantize": "none", "max_drop": None, "objective": "bytes"}, UsageError, "--objective is for"),
        ({"max_drop": 0.5}, AccuracyFailed, "90 images can't tell 0.5 points apart, even if no answer changes; 770 would"),
        ({"threads": 4096}, UsageError, "4096 threads were asked for, this process may use"),
        ({"recipe": "no/folder/r.toml"}, OutputNotWritable, "there is no folder no/folder"),
    ],
)
def test_a_bad_request_is_one_sentence_and_nothing_is_written(place, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        search_colors(place, tmp_path / "a.edgecnn", **{"recipe": tmp_path / "r.toml"} | options)
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_no_file_that_the_export_reads_or_writes(place, tmp_path):
    for recipe in (tmp_path / "a.edgecnn", place / "colors.onnx"):
        with pytest.raises(UsageError, match="another name"):
            search_colors(place, tmp_path / "a.edgecnn", recipe=recipe)
    assert not (tmp_path / "a.edgecnn").exists()


def test_an_interrupt_ends_it_with_nothing_written(place, tmp_path):
    def stop(event):
        if event.search is not None and len(event.search.trials) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_colors(place, tmp_path / "a.edgecnn", recipe=tmp_path / "r.toml", on_stage=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_no_validation_image_shows_is_named(place, tmp_path):
    color_folder(tmp_path / "two", 150, seed=2)
    for file in (tmp_path / "two" / "blue").iterdir():
        file.unlink()
    result = search_colors(place, tmp_path / "a.edgecnn", validation=tmp_path / "two")
    assert any(note.startswith("no validation image shows blue") for note in result.notes)


def test_the_trials_are_plain_values(place, tmp_path):
    from edgecnn.cli._search import facts

    found = json.loads(json.dumps(facts(search_colors(place, tmp_path / "a.edgecnn").search), allow_nan=False))
    first, *others = found["trials"]
    assert first["name"] == "float32"
    assert first["judged"]["finding"] == "holds"
    assert set(first["judged"]) == {"correct", "agreeing", "difference", "count", "accuracy", "interval", "p", "finding"}
    assert found["winner"] in {trial["name"] for trial in others}

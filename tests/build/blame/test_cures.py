"""What is advised was tried, and who follows it gets what was promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from edgecnn.build.blame import LayerRow, cures
from edgecnn.build.blame.cures import cures as candidates
from edgecnn.build.blame.cures import to_keep
from edgecnn.build.quantize import configure
from edgecnn.device.differences import Differences
from tests.build.blame.conftest import changed, row
from tests.fixtures.onnx_nets import color_net
from tests.fixtures.plain_int8 import PLAIN

LOUD = 2000


def loud_channel(proto):
    """The same function: what one channel has more, the next layer takes back."""
    for entry in proto.graph.initializer:
        values = numpy_helper.to_array(entry).copy()
        if entry.name in ("c0", "c1"):
            values[3] *= LOUD
        elif entry.name == "c2":
            values[:, 3] /= LOUD
        entry.CopyFrom(numpy_helper.from_array(values, entry.name))


@pytest.fixture
def loud(place, tmp_path):
    (tmp_path / "net.onnx").write_bytes(changed(color_net(batch="batch"), loud_channel))
    for images in ("some", "others"):
        (tmp_path / images).symlink_to(place.folder / images)
    return replace(place, folder=tmp_path)


def test_the_layer_with_a_loud_channel_is_named_and_the_advice_helps_who_follows_it(loud):
    found = loud.blame(loud.export(loud.folder / "a.edgecnn", config=PLAIN), min_sqnr_db=24)
    assert found.culprit.stage == "quantize"
    assert [each.layer for each in found.layers if each.advice] == ["n0"]
    assert "its output t1 goes from 0 to " in found.layers[0].advice[0].cause
    assert "for a channel that reaches " in found.layers[0].advice[0].cause
    now, *tried = found.cures
    assert (now.config, now.enough) == ("", False)
    best = tried[0]
    assert best.enough
    assert f"To do: export it with --config {best.config}, which brings the logits from " in found.verdict
    kept = next(cure for cure in tried if cure.config.startswith("keep_float="))
    assert (kept.config, kept.costs, kept.enough) == ("keep_float=n0,n2", True, True)
    for cure in (best, kept):
        again = loud.blame(loud.export(loud.folder / "b.edgecnn", config={**PLAIN, **dict([cure.config.split("=")])}), min_sqnr_db=24)
        assert again.passed, again.verdict
        assert row(again, "packaged").against_source.sqnr_db == pytest.approx(cure.found.sqnr_db, abs=0.1)


def test_they_are_tried_for_a_graph_that_takes_pixels_too(loud):
    found = loud.blame(loud.export(loud.folder / "a.edgecnn", input_type="uint8", config=PLAIN), min_sqnr_db=24)
    assert found.culprit.stage == "quantize"
    assert found.cures[0].found.sqnr_db < 24
    assert any(cure.enough for cure in found.cures[1:])
    assert all("edgecnn/" not in cure.config for cure in found.cures)


def test_without_the_calibration_images_they_are_named_and_not_tried(loud):
    found = loud.blame(loud.export(loud.folder / "a.edgecnn", config=PLAIN), min_sqnr_db=24, calibration=None)
    assert all(cure.found is None for cure in found.cures[1:])
    assert "To do: give --calibration, and these are tried: --config " in found.verdict
    assert [cure.config for cure in found.cures[-2:]] == ["keep_float=n0,n2", "rounding=adaptive"]


def test_nothing_is_tried_for_a_sound_artifact_of_which_no_layer_stands_out_or_when_no_layers_are_wanted(place, loud):
    sound = place.blame(place.export(loud.folder / "a.edgecnn"))
    assert (sound.passed, sound.cures) == (True, ())
    assert loud.blame(loud.export(loud.folder / "b.edgecnn"), min_sqnr_db=24, by_layer=False).cures == ()


def test_what_is_not_the_quantizer_s_fault_has_no_cure_there(place, tmp_path):
    assert place.blame(place.export(tmp_path / "a.edgecnn", preprocess="size=16x16,channels=BGR")).cures == ()


# which there are


def names(options=None, layers=()):
    keep = to_keep(layers, color_net())
    return [cure.config for cure in candidates("int8", {**configure("int8", {}), **PLAIN, **(options or {})}, keep, color_net())]


def test_what_the_artifact_has_already_is_not_proposed():
    assert {"equalize=true", "correct_bias=true", "rounding=adaptive", "ranges=percentile", "ranges=entropy", "ranges=mse"} == set(names())
    assert set(names({"equalize": True, "correct_bias": True, "rounding": "adaptive"})) == {"ranges=percentile", "ranges=entropy", "ranges=mse"}
    assert "per_channel=true" not in names()
    assert "per_channel=true" in names({"per_channel": False})
    assert "ranges=minmax" in names({"ranges": "mse"})
    assert "ranges=mse" not in names({"ranges": "mse"})


def test_layers_are_kept_in_float_with_what_reads_them_and_those_that_are_already():
    layer = LayerRow(layer="n0", operator="Conv", sqnr_db=9.0, weights_sqnr_db=9.0, activations_sqnr_db=9.0, tensors=(), readers=("n2", "gone"))
    assert "keep_float=n0,n2" in names(layers=[layer])
    assert "keep_float=n6,n0,n2" in names({"keep_float": ("n6",)}, layers=[layer])
    assert not any(name.startswith("keep_float") for name in names({"keep_float": ("n0", "n2")}, layers=[layer]))
    assert not any(name.startswith("keep_float") for name in names(layers=[replace(layer, layer="input", readers=())]))


# in which order


def measured(sqnr_db):
    return Differences(samples=4, max_abs=1.0, mean_abs=1.0, sqnr_db=sqnr_db, cosine=1.0, agreeing=4, kl_divergence=0.0)


def test_what_is_enough_comes_first_of_it_what_costs_no_speed_and_what_could_not_be_tried_last(monkeypatch):
    noise = {"a": 20.0, "b": 30.0, "c": 40.0, "d": 10.0, "e": None}
    monkeypatch.setattr(cures, "run_quantizer", lambda name, model, calibration, **options: type("Q", (), {"model": options["x"]}))
    monkeypatch.setattr(cures, "open_session", lambda model, spec: type("S", (), {"logits": lambda self, x: np.array([[ord(model)]])})())
    monkeypatch.setattr(cures, "differences", lambda expected, answers, spec: measured(noise[chr(answers[0, 0])]))
    given = [cures.Cure(config=f"x={letter}", costs=letter == "c") for letter in noise]
    keywords = {"float_model": b"", "calibration": None, "spec": None, "inputs": np.zeros(1), "expected": np.zeros(1), "options": {}}
    told = []
    found = cures.try_out(
        given,
        quantizer="int8",
        enough=lambda answers: (answers.sqnr_db or 99) > 15,
        progress=lambda done, total: told.append((done, total)),
        **keywords,
    )
    assert [cure.config[-1] for cure in found] == ["e", "b", "a", "c", "d"]
    assert told == [(i, 5) for i in range(6)]


@pytest.mark.parametrize(("sqnr_db", "tried"), [(20.0, False), (10.0, True)])
def test_what_takes_long_is_tried_only_where_nothing_else_is_enough_at_no_cost(place, monkeypatch, sqnr_db, tried):
    monkeypatch.setattr(cures, "run_quantizer", lambda *_, **options: type("Q", (), {"model": b""}))
    monkeypatch.setattr(cures, "open_session", lambda *_: type("S", (), {"logits": lambda self, x: np.zeros((1, 1))})())
    monkeypatch.setattr(cures, "differences", lambda *_: measured(sqnr_db))
    given = [cures.Cure(config="keep_float=a", costs=True), cures.Cure(config="ranges=mse"), cures.Cure(config="rounding=adaptive")]
    keywords = {"float_model": b"", "calibration": None, "spec": None, "inputs": np.zeros(1), "expected": np.zeros(1), "options": {}}
    found = cures.try_out(given, quantizer="int8", enough=lambda answers: answers.sqnr_db > 15, **keywords)
    assert {cure.config: cure.found is not None for cure in found} == {"keep_float=a": True, "ranges=mse": True, "rounding=adaptive": tried}


def test_options_that_can_not_be_taken_are_left_untried_at_the_end(place):
    float_model = color_net()
    images = np.random.default_rng(0).random((4, 3, 16, 16), dtype=np.float32)
    spec = place.spec
    found = cures.try_out(
        [cures.Cure(config="keep_float=gone"), cures.Cure(config="ranges=mse")],
        quantizer="int8",
        options=configure("int8", {}),
        float_model=float_model,
        calibration=lambda: iter((images,)),
        spec=spec,
        inputs=images,
        expected=np.ones((4, 3), dtype=np.float32),
        enough=lambda answers: False,
    )
    assert [(cure.config, cure.found is None) for cure in found] == [("ranges=mse", False), ("keep_float=gone", True)]

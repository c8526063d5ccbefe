"""What is told of each tensor is what a naive look at both graphs says, and advice follows from it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.blame.advice import advise, worth
from edgecnn.build.blame.layers import measure
from edgecnn.build.blame.records import LayerRow, TensorRow
from edgecnn.build.pixels import take_pixels
from edgecnn.build.quantize import configure, quantize
from edgecnn.device.differences import sqnr_db
from edgecnn.device.image import normalize
from tests.build.blame.conftest import bad_scale, changed
from tests.fixtures.onnx_nets import residual


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    coarse = rng.normal(0, 1, (24, 3, 4, 4)) + rng.normal(0, 1, (24, 3, 1, 1))
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3), dtype=np.float32)


@pytest.fixture(scope="module")
def graph():
    return residual()


@pytest.fixture(scope="module")
def int8(graph, images):
    return quantize("int8", graph, lambda: iter((images,))).model


def tensors(rows):
    return {tensor.tensor: tensor for row in rows for tensor in row.tensors}


def constants(model):
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(model).graph.initializer}


def test_the_input_s_figures_are_those_of_rounding_it_by_hand(graph, int8, images):
    found, values = tensors(measure(graph, int8, images))["input"], constants(int8)
    scale, zero = values["input_scale"], int(values["input_zero_point"])
    rounded = (np.clip(np.rint(images / scale) + zero, 0, 255) - zero) * scale
    assert found.sqnr_db == pytest.approx(sqnr_db(images, rounded), abs=0.01)
    assert found.arriving_sqnr_db == pytest.approx(found.sqnr_db, abs=0.01)  # nothing comes before it
    assert (found.low, found.high) == (images.min(), images.max())
    assert (found.range_low, found.range_high) == pytest.approx((-zero * scale, (255 - zero) * scale))
    assert (found.scale, found.zero_point, found.saturated) == ((float(scale),) * 2, (zero, zero), 0)


def test_a_weight_s_figures_are_those_of_its_channels(graph, int8, images):
    found, values = tensors(measure(graph, int8, images))["c0"], constants(int8)
    scale = values["c0_scale"].reshape(-1, 1, 1, 1)
    wanted = constants(graph)["c0"]
    assert found.kind == "weight"
    assert found.sqnr_db == pytest.approx(sqnr_db(wanted, values["c0_quantized"] * scale), abs=0.01)
    assert (found.channels, found.scale) == (16, (float(scale.min()), float(scale.max())))
    assert (found.low, found.high, found.saturated) == (float(wanted.min()), float(wanted.max()), 0)


def test_errors_before_a_tensor_arrive_there_too(graph, int8, images):
    found = tensors(measure(graph, int8, images))
    assert found["t6"].arriving_sqnr_db < found["t6"].sqnr_db - 1


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_the_share_of_saturated_values_is_counted(graph, int8, images, factor):
    found = tensors(measure(graph, changed(int8, bad_scale(factor, "input_scale")), images))["input"]
    beyond = (images < found.range_low - found.scale[0] / 2) | (images > found.range_high + found.scale[0] / 2)
    assert 0 < found.saturated == beyond.mean()


def test_an_output_is_rounded_after_its_relu(graph, int8, images):
    """The Conv's tensor has its ReLU's name, but holds what comes before it."""
    assert tensors(measure(graph, int8, images))["t1"].low == 0


def test_rows_are_worst_first_and_each_tensor_is_told_once(graph, int8, images):
    rows = measure(graph, int8, images)
    assert [row.sqnr_db for row in rows] == sorted(row.sqnr_db for row in rows)
    names = [tensor.tensor for row in rows for tensor in row.tensors]
    assert len(names) == len(set(names))
    assert {tensor.kind for row in rows for tensor in row.tensors} == {"weight", "bias", "activation"}


def test_a_tensor_that_the_float_graph_lacks_is_said_to_be_unmatched(graph, int8, images):
    other = changed(graph, _rename_relu)
    found = tensors(measure(other, int8, images))
    missing = found["t1_DequantizeLinear_Output"]
    assert (missing.matched, missing.sqnr_db, missing.low) == (False, None, None)
    assert missing.scale is not None  # what the file itself says
    assert found["t3"].matched


def _rename_relu(proto):
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["renamed" if name == "t1" else name for name in names]


def test_a_graph_that_takes_pixels_is_measured_alike(images):
    pre = Preprocess(size=(16, 16), image_mean=(0.5, 0.4, 0.3), image_std=(0.25, 0.25, 0.2))
    spec = make_spec(name="net", labels=("a", "b", "c", "d", "e"), preprocess=pre)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    inputs = normalize(pixels, pre)
    model = quantize("int8", residual(), lambda: iter((inputs,))).model
    wanted = {row.layer: row for row in measure(residual(), model, inputs)}
    found = measure(residual(), take_pixels(model, spec), inputs, quantized_inputs=normalize(pixels, replace(pre, normalized_by="graph")))
    assert len(found) == len(wanted)
    for row in found:
        assert row.sqnr_db == pytest.approx(wanted["input" if row.operator == "Add" and row.layer != "n5" else row.layer].sqnr_db, abs=0.01)
        assert all(tensor.matched for tensor in row.tensors)


def test_more_images_take_no_more_memory(graph, int8, images):
    def peak(rounds):
        inputs = np.concatenate([images] * rounds)
        tracemalloc.start()
        measure(graph, int8, inputs)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(8) < peak(1) + 100_000


def test_what_is_no_longer_finite_is_the_worst(graph, int8, images):
    spoiled = changed(changed(int8, bad_scale(1e20, "c9_scale")), bad_scale(1e19, "c9_scale"))
    row = measure(graph, spoiled, images)[0]
    assert (row.layer, row.sqnr_db, tensors([row])["c9"].sqnr_db) == ("n9", -999, -999)


# what to do

EVERY = configure("int8", {})
FINE = TensorRow(
    tensor="t", kind="activation", matched=True, sqnr_db=45.0, low=0.0, high=5.0, range_low=0.0, range_high=5.1, channels=1, saturated=0.0
)
WEIGHT = TensorRow(tensor="w", kind="weight", matched=True, sqnr_db=30.0, channels=16)


def advice(*rows, weights=None, output=None, options=EVERY, sqnr=20.0):
    row = LayerRow(layer="conv1", operator="Conv", sqnr_db=sqnr, weights_sqnr_db=weights, activations_sqnr_db=output, tensors=rows)
    return advise(row, options, bound=25.0)


def test_a_layer_that_costs_little_is_left_alone():
    assert advice(WEIGHT, FINE, weights=30.0, output=30.0, sqnr=27.0) == ()
    assert advice(WEIGHT, FINE, sqnr=None) == ()


def test_keeping_it_in_float_is_the_last_resort():
    assert advice(FINE, output=20.0) == ("keep it in float (--config keep_float=conv1)",)
    assert advice(replace(FINE, saturated=0.2), output=20.0)[-1] == "keep it in float (--config keep_float=conv1)"


def test_what_saturates_wants_other_images_or_another_range():
    (told, _) = advice(replace(FINE, saturated=0.2, high=50.0), output=20.0, options={**EVERY, "ranges": "percentile"})
    assert told == "values of t go from 0 to 50, its range from 0 to 5.1, so 20.0% saturate: calibrate on images like these (--config ranges=minmax)"
    assert "--config" not in advice(replace(FINE, saturated=0.2, high=50.0), output=20.0)[0]  # it is minmax already


def test_a_range_that_few_values_reach_wants_a_method_that_gives_them_up():
    assert advice(replace(FINE, sqnr_db=30.0), output=20.0)[0].endswith("few values lie near its ends: give these up (--config ranges=mse)")


def test_a_range_far_wider_than_its_values_wants_other_images():
    assert "most of its levels are never used" in advice(replace(FINE, high=0.5), output=20.0)[0]


def test_weights_with_one_scale_want_one_a_channel():
    told = advice(replace(WEIGHT, channels=1), weights=20.0, options={**EVERY, "per_channel": False})
    assert told[0] == "give each channel of its weights a scale (--config per_channel=true)"
    assert "per_channel" not in "".join(advice(WEIGHT, weights=20.0))


def test_corrections_are_named_only_where_the_quantizer_has_them_and_they_are_off():
    have = {"equalize": False, "rounding": "nearest"}
    assert [said.partition("--config ")[2] for said in advice(WEIGHT, weights=20.0, options=have)] == ["equalize=true)", "rounding=adaptive)"]
    assert advice(WEIGHT, weights=20.0, options={"equalize": True, "rounding": "adaptive"}) == ()
    assert advice(WEIGHT, weights=20.0, options={}) == ()


def test_foreign_weights_are_no_matter_of_rounding():
    assert "aren't the reference's (1.0 dB), which no rounding explains" in advice(replace(WEIGHT, sqnr_db=1.0), weights=1.0)[0]


def test_a_layer_is_worth_a_change_where_it_makes_no_less_noise_than_the_mean():
    rows = [LayerRow(layer="x", operator="Conv", sqnr_db=db, weights_sqnr_db=db, activations_sqnr_db=None, tensors=()) for db in (20.0, 40.0, None)]
    assert 20 < worth(rows) < 24
    assert worth(rows[1:]) == pytest.approx(40)
    assert worth([replace(rows[0], sqnr_db=80.0)]) == 45

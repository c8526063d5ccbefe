"""What is told of each tensor is what a naive look at both graphs says."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.blame.layers import measure
from edgecnn.build.pixels import take_pixels
from edgecnn.build.quantize import quantize
from edgecnn.device.differences import sqnr_db
from edgecnn.device.image import normalize
from tests.build.blame.conftest import bad_scale, changed
from tests.fixtures.onnx_nets import color_net, residual


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


def test_the_loudest_channel_and_the_middle_one_are_told(graph, int8, images):
    channels = np.abs(images).max(axis=(0, 2, 3))
    found = tensors(measure(graph, int8, images))["input"]
    assert found.channel_high == pytest.approx((np.median(channels), channels.max()))


def test_a_dead_channel_s_scale_says_nothing_of_the_others(graph, images):
    def kill(proto):
        entry = next(entry for entry in proto.graph.initializer if entry.name == "c0")
        values = numpy_helper.to_array(entry).copy()
        values[3] = 0
        entry.CopyFrom(numpy_helper.from_array(values, "c0"))

    dead = changed(graph, kill)
    model = quantize("int8", dead, lambda: iter((images,))).model
    found = tensors(measure(dead, model, images))["c0"]
    highest = max(found.high, -found.low)
    assert constants(model)["c0_scale"][3] == 1  # what onnxruntime gives to nothing but zeros
    assert found.range_high == pytest.approx(highest, rel=0.01)
    assert found.scale[1] < 0.1


def test_the_layers_that_read_an_output_are_told(graph, int8, images):
    """Behind pairs and what only moves values."""
    found = {row.layer: row.readers for row in measure(graph, int8, images)}
    assert found == {"input": ("n0",), "n0": ("n2", "n5"), "n2": ("n4",), "n4": ("n5",), "n5": ("n7",), "n7": ("n9",), "n9": ()}


def test_rows_are_worst_first_and_each_tensor_is_told_once(graph, int8, images):
    rows = measure(graph, int8, images)
    assert [row.sqnr_db for row in rows] == sorted(row.sqnr_db for row in rows)
    names = [tensor.tensor for row in rows for tensor in row.tensors]
    assert len(names) == len(set(names))
    assert {tensor.kind for row in rows for tensor in row.tensors} == {"weight", "bias", "activation"}


def test_a_tensor_that_the_float_graph_lacks_is_said_to_be_unmatched(graph, int8, images):
    other = changed(graph, _rename_relu)
    found = tensors(measure(other, int8, images))
    (missing,) = (tensor for name, tensor in found.items() if name.startswith("t1_"))
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


def test_an_equalized_graph_is_held_against_the_network_with_its_channels_scaled_alike(images):
    float_model = color_net()
    model = quantize("int8", float_model, lambda: iter((images,)), equalize=True, correct_bias=True).model
    found = measure(float_model, model, images, options={"equalize": True, "correct_bias": True})
    weights = [tensor for row in found for tensor in row.tensors if tensor.kind == "weight"]
    assert len(weights) == 3
    assert all(tensor.matched and not tensor.foreign for row in found for tensor in row.tensors if tensor.kind != "bias")
    assert all(30 < tensor.sqnr_db < 60 for tensor in weights if tensor.sqnr_db is not None)
    as_it_was = measure(float_model, model, images)
    assert any(tensor.sqnr_db < 15 for row in as_it_was for tensor in row.tensors if tensor.kind == "weight")


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

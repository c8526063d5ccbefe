"""What each layer costs alone: by graphs whose faults are known, and by what all layers together must come to."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.build.pairs import quantize_only, quantized_layers
from edgecnn.build.quantize import quantize
from edgecnn.build.sensitivity import feed, matching_graph, sensitivity
from edgecnn.device.differences import sqnr_db
from edgecnn.device.engines import open_graph
from edgecnn.errors import DataRejected, SourceRejected
from tests.fixtures.onnx_nets import residual


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    coarse = rng.normal(0, 1, (24, 3, 4, 4)) + rng.normal(0, 1, (24, 3, 1, 1))
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3), dtype=np.float32)


@pytest.fixture(scope="module")
def calibration(images):
    return lambda: iter((images[:16], images[16:]))


@pytest.fixture(scope="module")
def graph():
    return residual()


@pytest.fixture(scope="module")
def int8(graph, calibration):
    return quantize("int8", graph, calibration).model


def scaled(model, name, factor):
    proto = onnx.load_from_string(model)
    entry = next(entry for entry in proto.graph.initializer if entry.name == name)
    entry.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(entry) * np.float32(factor)), name))
    return proto.SerializeToString()


def answers(model, images):
    return feed(open_graph(model, optimize=False), images)[0]


def by_name(found):
    return {layer.name: layer for layer in found}


def test_every_layer_is_told_the_worst_first(graph, int8, calibration):
    found = sensitivity(graph, int8, calibration)
    assert {(layer.name, layer.operator) for layer in found} == {
        ("input", "input"),
        ("n0", "Conv"),
        ("n2", "Conv"),
        ("n4", "Conv"),
        ("n5", "Add"),
        ("n7", "GlobalAveragePool"),
        ("n9", "Gemm"),
    }
    assert [layer.sqnr_db for layer in found] == sorted(layer.sqnr_db for layer in found)
    assert all(20 < layer.sqnr_db < 90 for layer in found)


def test_weights_and_outputs_are_told_apart_and_come_to_the_whole(graph, int8, calibration):
    for layer in sensitivity(graph, int8, calibration):
        parts = [part for part in (layer.weights_sqnr_db, layer.activations_sqnr_db) if part is not None]
        assert parts
        together = -10 * math.log10(sum(10 ** (-part / 10) for part in parts))
        assert layer.sqnr_db == pytest.approx(together, abs=3)  # they may hang together, for better or worse
    found = by_name(sensitivity(graph, int8, calibration))
    assert found["n9"].activations_sqnr_db is None  # the logits stay in float
    assert found["n5"].weights_sqnr_db is None  # an addition


def test_all_layers_together_give_the_quantized_graph_s_answers(graph, int8, images):
    """So nothing that it quantizes was missed, and each thing was put where it belongs."""
    reference = matching_graph(graph)
    layers = quantized_layers(reference, onnx.load_from_string(int8))
    constants = [constant for layer in layers for constant in layer.constants]
    activations = [activation for layer in layers for activation in layer.activations]
    rebuilt = quantize_only(reference, constants=constants, activations=activations)
    assert sqnr_db(answers(int8, images), answers(rebuilt, images)) > 90
    assert sqnr_db(answers(graph, images), answers(int8, images)) < 50
    assert sqnr_db(answers(graph, images), answers(quantize_only(reference), images)) > 110


@pytest.mark.parametrize("factor", [16, 1 / 16])
@pytest.mark.parametrize(("scale", "layer"), [("t1_scale", "n0"), ("t3_scale", "n2"), ("input_scale", "input"), ("c6_scale", "n4")])
def test_a_bad_scale_costs_its_own_layer_and_no_other(graph, int8, calibration, scale, layer, factor):
    before = by_name(sensitivity(graph, int8, calibration))
    found = sensitivity(graph, scaled(int8, scale, factor), calibration)
    assert found[0].name == layer
    assert found[0].sqnr_db < before[layer].sqnr_db - 10
    for other in found[1:]:
        assert other == before[other.name]


def test_what_tensors_are_called_makes_no_difference(graph, int8, calibration):
    proto = onnx.load_from_string(int8)
    floats = {name for node in matching_graph(graph).graph.node for name in (*node.input, *node.output)}
    own = {entry.name for entry in proto.graph.initializer} | {name for node in proto.graph.node for name in node.output}
    new = {name: f"x{i}" for i, name in enumerate(sorted(own - floats))}
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
        if node.op_type.endswith("Linear"):
            node.name = f"y{node.output[0]}"
    for entry in proto.graph.initializer:
        entry.name = new.get(entry.name, entry.name)
    del proto.graph.value_info[:]
    assert sensitivity(graph, proto.SerializeToString(), calibration) == sensitivity(graph, int8, calibration)


@pytest.mark.parametrize("config", [{"activation_type": "int8"}, {"per_channel": False}, {"reduce_range": True}, {"ranges": "percentile"}])
def test_any_configuration_is_understood(graph, calibration, images, config):
    model = quantize("int8", graph, calibration, **config).model
    reference = matching_graph(graph)
    layers = quantized_layers(reference, onnx.load_from_string(model))
    every = {"constants": [c for layer in layers for c in layer.constants], "activations": [a for layer in layers for a in layer.activations]}
    assert sqnr_db(answers(model, images), answers(quantize_only(reference, **every), images)) > 90


def test_half_precision_weights_are_layers_too(graph, calibration):
    found = by_name(sensitivity(graph, quantize("fp16", graph).model, calibration))
    assert set(found) == {"n0", "n2", "n4", "n9"}
    assert all(layer.activations_sqnr_db is None and 60 < layer.sqnr_db < 120 for layer in found.values())


def test_a_graph_without_pairs_has_no_layers(graph, calibration):
    assert sensitivity(graph, graph, calibration) == ()


def test_an_open_batch_and_any_batches_of_images_give_the_same(images):
    model = residual(batch="batch")
    quantized = quantize("int8", model, lambda: iter((images,))).model
    whole = by_name(sensitivity(model, quantized, lambda: iter((images,))))
    for name, layer in by_name(sensitivity(model, quantized, lambda: (images[i : i + 5] for i in range(0, 24, 5)))).items():
        assert layer.sqnr_db == pytest.approx(whole[name].sqnr_db, abs=0.01)


def test_nothing_is_measured_on_no_images(graph, int8):
    with pytest.raises(DataRejected, match="no images"):
        sensitivity(graph, int8, lambda: iter(()))


def test_a_float_graph_that_answers_nan_measures_nothing(graph, int8, calibration):
    proto = onnx.load_from_string(graph)
    entry = next(entry for entry in proto.graph.initializer if entry.name == "c10")
    entry.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, dtype=np.float32), "c10"))
    with pytest.raises(SourceRejected, match="NaN or infinity"):
        sensitivity(proto.SerializeToString(), int8, calibration)


def test_answers_that_are_no_longer_finite_are_the_worst(graph, int8, calibration):
    found = sensitivity(graph, scaled(scaled(int8, "c9_scale", 1e20), "c9_scale", 1e19), calibration)
    assert (found[0].name, found[0].sqnr_db) == ("n9", -math.inf)


def test_progress_is_told_to_the_end(graph, int8, calibration):
    told = []
    sensitivity(graph, int8, calibration, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 7)
    assert told[-1] == (7, 7)

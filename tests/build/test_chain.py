from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.records import ParityLimits
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import chain
from edgecnn.build.chain import Made
from edgecnn.build.quantize import quantize
from edgecnn.data.collection import open_collection
from edgecnn.device.parity import compare
from edgecnn.device.session import open_session
from edgecnn.errors import GraphRejected
from tests.fixtures.onnx_nets import COLORS, Net, color_folder, color_net

SPEC = make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16)))
INPUTS = np.random.default_rng(1).random((6, 3, 16, 16), dtype=np.float32)
LIMITS = ParityLimits(atol=1e-5, rtol=1e-5, min_agreement=1.0)


class Network:
    def __init__(self, model, shift=0.0):
        self.session, self.shift = open_session(model, SPEC, optimize=False), shift

    def logits(self, x):
        return self.session.logits(x) + np.float32(self.shift)


def add(model, *, shift=0.0, previous=None, name="export"):
    return chain.add_link(
        Made(name=name, model=model, note="a note"),
        spec=SPEC,
        inputs=INPUTS,
        source=Network(color_net(), shift).logits(INPUTS),
        previous=previous,
        limits=LIMITS,
    )


def test_a_link_tells_what_the_graph_is_and_how_near_its_answers_are():
    model = color_net()
    stage = add(model).stage
    assert (stage.bytes, stage.sha256, stage.note) == (len(model), chain.sha256(model), "a note")
    assert stage.nodes == 7
    assert stage.against_previous is None
    assert stage.against_source.graph_sha256 == stage.sha256
    assert stage.against_source.reference == "source network"
    assert stage.against_source.passed


def test_the_graph_and_the_stage_before_are_told_apart_from_the_source():
    first = add(color_net(), shift=0.5)
    second = add(color_net(), shift=0.5, previous=first, name="simplify")
    assert not second.stage.against_source.passed
    assert second.stage.against_source.max_abs == pytest.approx(0.5, abs=1e-5)
    assert second.stage.against_previous.passed
    assert second.stage.against_previous.reference == "export"


def test_a_graph_that_is_not_the_specs_is_refused():
    with pytest.raises(GraphRejected, match="logits"):
        add(_wrong_labels())


def _wrong_labels():
    make = Net()
    make.linear(make.pooled(make.conv("input", (3, 8))), 8, 5, output="logits")
    return make.bytes(labels=5)


def test_a_collection_gives_accuracy_of_both_and_their_paired_difference(tmp_path):
    images = open_collection(color_folder(tmp_path / "images", 30, seed=1), labels=COLORS)
    good = add(color_net())
    seen = []
    measured = chain.measure(
        good,
        good,
        Network(color_net()),
        images,
        spec=SPEC,
        limits=ParityLimits(min_agreement=0.98),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert measured.accuracy.source.correct == measured.accuracy.artifact.correct == 30
    assert measured.accuracy.difference.points == 0
    assert measured.link.stage.against_source.samples == 30
    assert measured.link.stage.against_source.limits == ParityLimits(min_agreement=0.98)
    assert measured.passed
    assert seen[-1] == (30, 30)


def test_a_graph_that_decides_otherwise_falls_short(tmp_path):
    images = open_collection(color_folder(tmp_path / "images", 30, seed=1), labels=COLORS)

    class Blind(Network):
        def logits(self, x):
            return np.tile(np.float32([1, 0, 0]), (len(x), 1))

    link = add(color_net())
    measured = chain.measure(link, link, Blind(color_net()), images, spec=SPEC, limits=ParityLimits(min_agreement=0.98))
    assert not measured.passed
    assert measured.accuracy.source.correct == 10
    assert measured.accuracy.difference.points == pytest.approx(200 / 3)


def on(outputs, *, apart=0.0):
    reference = outputs + np.float32(apart)
    return compare(reference, outputs, LIMITS, graph_sha256="0" * 64, reference="source network", spec=SPEC)


def limits_of(model, *, apart=0.0, scale=1.0):
    outputs = open_session(model, SPEC).logits(INPUTS) * np.float32(scale)
    return chain.device_limits(model, golden=on(outputs, apart=apart), outputs=outputs)


def calibration():
    return iter([INPUTS])


def test_float32_answers_may_differ_by_its_rounding():
    assert limits_of(color_net()).outputs_atol == 1e-4
    assert limits_of(quantize("fp16", color_net()).model).outputs_atol == 1e-4
    assert limits_of(color_net(), scale=1e4).outputs_atol > 1e-3  # 1e-6 of the largest answer


def test_integers_all_the_way_are_exact():
    limits = limits_of(quantize("int8", color_net(), calibration).model, apart=0.01)
    assert limits.outputs_atol == 0.0
    assert limits.reference.atol == pytest.approx(0.011)
    assert limits.reference.min_agreement == 1.0


def test_floats_behind_the_last_product_differ_by_their_rounding():
    make = Net()
    logits = make.linear(make.pooled(make.node("Relu", make.conv("input", (3, 8)))), 8, 3)
    make.node("Log", make.node("Exp", logits), output="logits")
    assert limits_of(quantize("int8", make.bytes(labels=3), calibration).model, apart=0.01).outputs_atol == 1e-4


def test_floats_that_are_rounded_on_the_way_may_differ_by_what_quantization_changed():
    make = Net()
    swish = make.node("HardSigmoid", make.conv("input", (3, 8)))
    make.linear(make.pooled(make.conv(swish, (8, 8))), 8, 3, output="logits")
    model = make.bytes(labels=3)
    assert limits_of(quantize("int8", model, calibration).model, apart=0.0123).outputs_atol == pytest.approx(0.013)
    assert limits_of(quantize("dynamic", model).model, apart=0.0123).outputs_atol == pytest.approx(0.013)


def test_residual_additions_are_not_called_exact_because_arm_rounds_them_otherwise():
    make = Net()
    first = make.conv("input", (3, 8))
    added = make.node("Add", first, make.conv(first, (8, 8)))
    make.linear(make.pooled(added), 8, 3, output="logits")
    assert limits_of(quantize("int8", make.bytes(labels=3), calibration).model, apart=0.0123).outputs_atol == pytest.approx(0.013)


@given(st.floats(1e-30, 1e30))
def test_limits_are_rounded_up_to_two_digits(value):
    rounded = chain._two_digits_up(value)
    assert value * (1 - 1e-6) <= rounded <= value * 1.1 + 1e-45
    assert float(f"{rounded:.1e}") == rounded

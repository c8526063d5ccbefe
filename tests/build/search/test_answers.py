"""Noise on calibration images and decisions on validation images, of graphs whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.search.answers import Jury, sqnr
from edgecnn.data.collection import Item
from edgecnn.device.session import open_session
from tests.fixtures.onnx_nets import COLORS, color_net

SPEC = make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16)))


class Pictures:
    """Flat pictures of these colours, labelled as such; `labels=()` hides that."""

    multi_label = False

    def __init__(self, *shown: str, labels: tuple[str, ...] = COLORS) -> None:
        self.shown, self.labels = shown, labels

    def __len__(self) -> int:
        return len(self.shown)

    def __iter__(self):
        for number, color in enumerate(self.shown):
            pixels = np.full((16, 16, 3), 20, dtype=np.uint8)
            pixels[..., ("red", "green", "blue").index(color)] = 200 - number % 50
            yield Item(name=f"{number}", source=pixels, target=(self.labels.index(color),) if self.labels else ())


def scaled(model: bytes, factor: float, *, turned: bool = False) -> bytes:
    """The graph with its answers times `factor`; `turned`: each colour taken for the next."""
    proto = onnx.load_from_string(model)
    for entry in proto.graph.initializer:
        if entry.name in proto.graph.node[-1].input:
            values = onnx.numpy_helper.to_array(entry) * np.float32(factor)
            entry.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1, axis=0) if turned else values, entry.name))
    return proto.SerializeToString()


class Counting:
    """The network, with its calls counted."""

    def __init__(self, model: bytes) -> None:
        self.session, self.calls = open_session(model, SPEC), 0

    def logits(self, x):
        self.calls += 1
        return self.session.logits(x)


@pytest.fixture(scope="module")
def model() -> bytes:
    return color_net()


def calibration():
    rng = np.random.default_rng(0)
    for _ in range(3):
        yield rng.random((5, 3, 16, 16), dtype=np.float32)


def test_sqnr_is_that_of_all_logits_together(model):
    found = sqnr(model, [scaled(model, 1.1), scaled(model, 1.01), model], SPEC, calibration)
    assert found[:2] == (pytest.approx(20, abs=0.01), pytest.approx(40, abs=0.01))
    assert found[2] == pytest.approx(144.5, abs=0.1)  # not infinite: float32 has no finer steps


def test_an_answer_that_is_no_number_is_the_worst(model):
    assert sqnr(model, [scaled(model, float("nan"))], SPEC, calibration) == (-np.inf,)


def test_several_are_judged_in_one_pass_and_the_source_answers_once(model):
    network = Counting(model)
    jury = Jury(network, Pictures(*COLORS * 8), SPEC)
    same, turned = jury.judge([scaled(model, 0.5), scaled(model, 1, turned=True)])
    assert (same.correct, same.agreeing, same.difference.points) == (24, 24, 0)
    assert (turned.correct, turned.agreeing, turned.difference.points) == (0, 0, -100)
    calls = network.calls
    (again,) = jury.judge([model])
    assert again.correct == 24
    assert network.calls == calls
    assert (jury.measure, jury.notes) == ("top-1", ())


def test_without_labels_the_sources_decisions_stand_for_right_ones(model):
    jury = Jury(Counting(model), Pictures(*COLORS * 8, labels=()), SPEC)
    same, turned = jury.judge([model, scaled(model, 1, turned=True)])
    assert (same.correct, turned.correct) == (24, 0)
    assert jury.measure == "agreement"
    assert jury.notes[0].startswith("the validation images have no labels, so the drop is the share of decisions that changed")


def test_a_label_that_no_image_shows_is_named(model):
    jury = Jury(Counting(model), Pictures(*("red", "green") * 8), SPEC)
    jury.judge([model])
    assert jury.notes == ("no validation image shows blue, so what quantization does to that wasn't measured; add some to --validation",)


def test_several_labels_at_once_are_right_only_all_together(model):
    spec = make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16)), task="multi-label")
    pictures = Pictures(*COLORS * 8)
    pictures.multi_label = True
    jury = Jury(replace(open_session(model, spec)), pictures, spec)
    (all_shown,) = jury.judge([scaled(model, -1)])  # what was under its threshold is over it
    assert jury.measure == "exact match"
    assert all_shown.correct == 0

"""The stages that a person follows, and what is said of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.report.explain.subject import Subject
from edgecnn.report.explain.words import describe, say
from tests.fixtures.onnx_nets import Net
from tests.report.explain.conftest import Artifacts, Make, Open, picture_of, sample

TEXTBOOK = ["conv", "relu", "maxpool", "conv", "relu", "maxpool", "flatten", "linear", "relu", "linear"]


def roles(subject: Subject) -> list[str]:
    return [stage.role for stage in subject.stages]


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def told(subject: Subject, source: Any, role: str, nth: int = 0) -> str:
    """Title, shapes and sentences of the n-th stage of a role."""
    values = subject.network.trace(picture_of(subject, source).input(subject.spec))
    stage = [stage for stage in subject.stages if stage.role == role][nth]
    words = describe(stage, values)
    return plain(" | ".join((words.title, words.shape, *words.lines)))


def spec(size: int = 16, labels: int = 5, **keywords: Any) -> ModelSpec:
    return make_spec(name="net", labels=tuple(f"label {n}" for n in range(labels)), preprocess=Preprocess(size=(size, size)), **keywords)


def test_the_textbook_network_is_told_as_in_a_textbook(artifacts: Artifacts, opened: Open) -> None:
    subject = opened(artifacts("simplecnn-fashion", "float32"))
    assert roles(subject) == ["input", *TEXTBOOK]
    image = sample("simplecnn-fashion")
    first = told(subject, image, "conv")
    assert first.startswith("Convolution 3 × 3, 32 filters | 1 × 28 × 28 → 32 × 26 × 26 | ")
    assert "without padding" in first
    assert "(28 − 3 + 1 = 26)" in first
    assert "320 learnt numbers" in first
    assert "26 × 26 halves to 13 × 13" in told(subject, image, "maxpool")
    assert "11 × 11 becomes 5 × 5. The last row and column fill no window" in told(subject, image, "maxpool", 1)
    assert "64 × 5 × 5 = 1,600 numbers" in told(subject, image, "flatten")
    assert "128 × 10 weights + 10 biases = 1,290 learnt numbers" in told(subject, image, "linear", 1)


def test_int8_rounds_where_float32_has_its_relu(artifacts: Artifacts, opened: Open) -> None:
    subject = opened(artifacts("simplecnn-fashion", "int8"))
    assert roles(subject) == ["input", "rounding", *("rounding" if role == "relu" else role for role in TEXTBOOK)]
    values = subject.network.trace(picture_of(subject, sample("simplecnn-fashion")).input(subject.spec))
    for stage in subject.stages[2:]:
        if stage.role == "rounding":
            assert stage.rounding is not None
            assert stage.rounding.range[0] == 0
            np.testing.assert_allclose(
                values[stage.shown], np.clip(values[stage.raw], 0, stage.rounding.range[1]), atol=stage.rounding.scale / 2 * 1.001
            )
    said = told(subject, sample("simplecnn-fashion"), "rounding", 1)
    assert said.startswith("Rounding to uint8, which does the ReLU | 32 × 26 × 26 → 32 × 26 × 26 | Its 256 steps of ")
    assert "what is negative becomes 0" in said


def test_residual_networks_pass_two_results_to_an_addition(artifacts: Artifacts, opened: Open) -> None:
    for form in ("float32", "int8"):
        subject = opened(artifacts("resnet8-cifar10", form))
        adds = [stage for stage in subject.stages if stage.role == "add"]
        assert len(adds) == 3
        makers = {stage.shown for stage in subject.stages}
        assert all(len(stage.sources) == 2 and set(stage.sources) <= makers for stage in adds)
        assert [stage.role for stage in subject.stages[-3:]] == ["gap", "flatten", "linear"]
    strided = told(subject, sample("resnet8-cifar10"), "conv", 3)
    assert "moves 2 pixels at a time: 32 × 32 becomes 16 × 16 (⌊(32 + 2 − 3) / 2⌋ + 1 = 16)" in strided


@pytest.mark.parametrize(
    ("attributes", "channels", "wanted"),
    [
        ({"pads": [1, 1, 1, 1]}, (4, 4, 1), ["Convolution 3 × 3", "a border of 1 zero", "16 × 16 stays 16 × 16 (16 + 2 − 3 + 1 = 16)"]),
        ({"dilations": [2, 2]}, (4, 4, 1), ["stand 2 × 2 pixels apart", "spans 5 × 5", "(16 − 5 + 1 = 12)"]),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (4, 4, 1), ["(0 above and left, 1 below and right)", "(16 + 1 − 3) / 2 + 1 = 8"]),
        ({"strides": [3, 2]}, (4, 4, 1), ["moves 3 × 2 pixels at a time", "⌊(16 − 3) / 3⌋ + 1 = 5", "becomes 5 × 7"]),
        ({}, (4, 4, 4), ["Depthwise convolution 3 × 3, 4 channels", "sum of 9 products within that channel"]),
        ({}, (4, 6, 2), ["in 2 groups, 6 filters", "sees 2 of the 4 channels", "sum of 18 products"]),
    ],
)
def test_what_a_window_does_to_the_shape(attributes: dict[str, Any], channels: tuple[int, int, int], wanted: list[str], made: Make) -> None:
    into, out, groups = channels
    make = Net()
    start = make.conv("input", (3, into))
    weight = make.constant(make.rng.normal(0, 1, (out, into // groups, 3, 3)))
    x = make.node("Conv", start, weight, make.constant(make.rng.normal(0, 1, out)), kernel_shape=[3, 3], group=groups, **attributes)
    make.linear(make.pooled(x), out, 5, output="logits")
    said = told(made(spec(), make.bytes()), np.full((16, 16, 3), 9, np.uint8), "conv", 1)
    for text in wanted:
        assert text in said


def test_maps_in_which_nothing_is_left_are_counted(made: Make) -> None:
    make = Net()
    weight, bias = np.ones((4, 3, 1, 1)), np.array([-9.0, 1.0, -9.0, 1.0])
    x = make.node("Relu", make.node("Conv", "input", make.constant(weight), make.constant(bias)))
    make.linear(make.pooled(x), 4, 5, output="logits")
    assert "Of 4 maps 2 are 0 everywhere for this image." in told(made(spec(), make.bytes()), np.zeros((16, 16, 3), np.uint8), "relu")


def test_a_tensor_that_others_read_too_is_not_swallowed_by_its_rounding(made: Make) -> None:
    make = Net()
    x = make.conv("input", (3, 4))
    scale, zero = make.constant(0.1), make.constant(10, np.uint8)
    back = make.node("DequantizeLinear", make.node("QuantizeLinear", x, scale, zero), scale, zero)
    make.linear(make.pooled(make.node("Add", x, back)), 4, 5, output="logits")
    subject = made(spec(), make.bytes())
    assert roles(subject) == ["input", "conv", "other", "dequantize", "add", "gap", "flatten", "linear"]


def test_numbers_are_written_as_people_write_them() -> None:
    assert [say(value) for value in (0.0, -0.5, 1234.5678, 1.9e-6, -2e-12, 256.0)] == ["0", "−0.5", "1.23 · 10³", "1.9 · 10⁻⁶", "−2 · 10⁻¹²", "256"]
    assert say(0.0235294, 2) == "0.024"

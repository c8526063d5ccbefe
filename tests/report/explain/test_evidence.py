"""What a decision rested on: it is found where it was planted, and the map's numbers are the logit's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.report.explain.evidence import Evidence, evidence, occlusion, pooled_end, spread
from edgecnn.report.explain.subject import Subject
from tests.fixtures.onnx_nets import Net
from tests.report.explain.conftest import FORMS, Artifacts, Make, Open, picture_of, sample

LABELS = ("red", "green", "blue")


def spec(**keywords: Any) -> ModelSpec:
    return make_spec(name="colors", labels=LABELS, preprocess=Preprocess(size=(16, 16)), **keywords)


def pooling_net(*, hidden: bool = False) -> bytes:
    """Logits: 64 times the mean of each colour; hidden: behind a flattening and a linear layer that does the same."""
    make = Net(size=16)
    x = make.node("Relu", make.node("Conv", "input", make.constant(np.eye(3).reshape(3, 3, 1, 1))))
    if hidden:
        weight = np.kron(np.eye(3), np.ones((1, 256))) * 0.25
        make.node("Gemm", make.node("Flatten", x), make.constant(weight), make.constant(np.zeros(3)), transB=1, output="logits")
    else:
        make.node("Gemm", make.pooled(x), make.constant(np.eye(3) * 64), make.constant([0.5, 0, -1]), transB=1, output="logits")
    return make.bytes(labels=3)


def patch(color: int = 0, rows: slice = slice(8, 12), columns: slice = slice(4, 8)) -> np.ndarray:
    """Black, with a square of one colour."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[rows, columns, color] = 255
    return pixels


def found(subject: Subject, pixels: Any, labels: tuple[int, ...] = (0, 1, 2)) -> Evidence:
    x = picture_of(subject, pixels).input(subject.spec)
    return evidence(subject.network, subject.stages, subject.network.trace(x), subject.session.logits, x, subject.spec, labels)


def test_a_class_activation_map_lies_on_what_speaks_for_the_label(made: Make) -> None:
    result = found(made(spec(), pooling_net()), patch())
    assert result.kind == "cam"
    red, green, blue = result.heats
    assert [heat.label for heat in result.heats] == [0, 1, 2]
    assert red.cells.shape == (16, 16)
    np.testing.assert_allclose(red.cells[8:12, 4:8], 64)
    assert red.cells.sum() == pytest.approx(64 * 16)
    assert not green.cells.any()
    assert red.pixels.shape == (16, 16)
    assert red.pixels[8:12, 4:8].min() == red.pixels.max()
    assert (red.cells.mean() + red.offset, blue.cells.mean() + blue.offset) == (pytest.approx(4.5), pytest.approx(-1))


@pytest.mark.parametrize("form", FORMS)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(form: str, artifacts: Artifacts, opened: Open) -> None:
    subject = opened(artifacts("resnet8-cifar10", form))
    x = picture_of(subject, sample("resnet8-cifar10")).input(subject.spec)
    result = found(subject, sample("resnet8-cifar10"), tuple(range(10)))
    assert result.kind == "cam"
    sums = [heat.cells.mean() + heat.offset for heat in result.heats]
    # int8 rounds the means before it weighs them
    np.testing.assert_allclose(sums, subject.session.logits(x)[0], atol=1e-4 if form == "float32" else 0.2)


def test_a_network_without_pooling_at_its_end_is_asked_with_parts_covered(made: Make, artifacts: Artifacts, opened: Open) -> None:
    assert pooled_end(opened(artifacts("simplecnn-fashion", "float32")).network, opened(artifacts("simplecnn-fashion", "float32")).stages) is None
    result = found(made(spec(), pooling_net(hidden=True)), patch())
    assert result.kind == "occlusion"
    assert (result.patch, result.fill) == ((4, 4), (0, 0, 0))
    red = result.heats[0]
    assert red.at == ((8, 12), (4, 8))
    assert red.lowest is not None
    assert red.lowest == pytest.approx(1 / 3)
    assert red.cells.max() == pytest.approx(red.score - 1 / 3)
    assert np.unravel_index(red.pixels.argmax(), red.pixels.shape) in [(9, 5), (9, 6), (10, 5), (10, 6)]
    assert red.pixels[:4].max() < 1e-6
    # covering red leaves more of the score to the others
    assert result.heats[1].cells.min() < -0.3


def test_covering_asks_no_more_of_the_model_than_its_batch(made: Make) -> None:
    sizes: list[int] = []

    def logits(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return np.concatenate([x.reshape(len(x), 3, -1).mean(axis=2)], axis=1).astype(np.float32)

    x = np.zeros((1, 3, 16, 16), np.float32)
    result = occlusion(logits, x, spec(), (1,))
    assert max(sizes) <= 16
    assert sum(sizes[1:-1]) + sizes[-1] + sizes[0] >= result.heats[0].cells.size == 225
    assert not x.any()  # the image itself stays as it was


def test_labels_of_a_multi_label_model_are_looked_at_each_by_itself(made: Make) -> None:
    subject = made(spec(task="multi-label"), pooling_net(hidden=True))
    pixels = np.maximum(patch(0), patch(2, slice(0, 4), slice(12, 16)))
    red, blue = found(subject, pixels, (0, 2)).heats
    assert (red.at, blue.at) == (((8, 12), (4, 8)), ((0, 4), (12, 16)))
    assert (red.lowest, blue.lowest) == (pytest.approx(0.5), pytest.approx(0.5))
    assert red.cells.min() > -1e-6


def test_values_between_cells_lie_between_them() -> None:
    cells = np.array([[0.0, 4.0], [8.0, 12.0]])
    whole = spread(cells, np.array([1.0, 3.0]), np.array([1.0, 3.0]), (4, 4))
    assert whole.tolist() == [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]

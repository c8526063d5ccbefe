"""Fine-tuning brings a quantized graph's answers nearer to the float graph's, and what was trained is what stands in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgecnn.build.onnx_io import parse
from edgecnn.build.quantize import Training, quantize
from edgecnn.build.quantize._qat import _Student, fine_tune
from edgecnn.errors import DataRejected, SourceRejected
from tests.fixtures.onnx_nets import Net
from tests.fixtures.plain_int8 import PLAIN

STEPS = 60


def on(images: np.ndarray, *, multi_label: bool = False, progress: Any = lambda done, total: None) -> Training:
    """Images that are normalized already."""
    return Training(count=len(images), sha256="0" * 64, pixels=lambda: images, normalize=lambda x: x, multi_label=multi_label, progress=progress)


@pytest.fixture
def coarse(graph: bytes, calibration: Any) -> bytes:
    """Quantized with one scale a tensor and 7 bits, so that there is something to win."""
    return quantize("int8", graph, calibration, per_channel=False, reduce_range=True, **PLAIN).model


def constants(model: bytes) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(model).graph.initializer}


def test_the_answers_come_nearer_to_the_float_graphs(graph: bytes, coarse: bytes, images: np.ndarray, answers: Any, sqnr: Any) -> None:
    tuned = fine_tune(graph, coarse, on(images), steps=STEPS, batch=8, learning_rate=1e-3, weight_limit=64)
    expected, before, after = (np.concatenate([answers(model, x[None]) for x in images]) for model in (graph, coarse, tuned))
    assert sqnr(expected, after) > sqnr(expected, before) + 2


def test_what_was_trained_stands_in_the_graph(graph: bytes, coarse: bytes, images: np.ndarray, answers: Any) -> None:
    """The graph answers as the fake-quantized module does, to within a step; zero points and names stay, integers keep their limits."""
    proto = parse(coarse)
    student = _Student(proto, parse(graph), 64)
    with torch.no_grad():
        for parameter in student.logarithms.values():
            parameter += 0.05
        module = student(torch.from_numpy(images)).numpy()
        scales = {name: torch.exp(value).numpy() for name, value in student.logarithms.items()}
    student.write(proto)
    found = constants(proto.SerializeToString())
    for name, scale in scales.items():
        np.testing.assert_array_equal(found[name], scale)
    for name, before in constants(coarse).items():
        assert found[name].dtype == before.dtype
        assert found[name].shape == before.shape
        if name.endswith("zero_point"):
            np.testing.assert_array_equal(found[name], before)
    assert max(np.abs(value.astype(int)).max() for name, value in found.items() if value.dtype == np.int8 and value.ndim > 1) <= 64
    graph_answers = np.concatenate([answers(proto.SerializeToString(), x[None]) for x in images])
    assert np.abs(graph_answers - module).max() <= 0.02 * np.abs(module).max()


def test_equal_arguments_give_equal_bytes(graph: bytes, coarse: bytes, images: np.ndarray) -> None:
    first, second, other = (fine_tune(graph, coarse, on(images), steps=3, batch=8, seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_several_labels_at_once_are_learnt_each_for_itself(graph: bytes, coarse: bytes, images: np.ndarray, answers: Any) -> None:
    tuned = fine_tune(graph, coarse, on(images, multi_label=True), steps=STEPS, batch=8, learning_rate=1e-3, weight_limit=64)
    expected, before, after = (np.concatenate([answers(model, x[None]) for x in images]) for model in (graph, coarse, tuned))
    assert np.abs(after - expected).mean() < np.abs(before - expected).mean()


def test_progress_is_told_and_no_images_are_refused(graph: bytes, coarse: bytes, images: np.ndarray) -> None:
    told: list[tuple[int, int]] = []
    fine_tune(graph, coarse, on(images, progress=lambda done, total: told.append((done, total))), steps=2, batch=4)
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(DataRejected, match="no images to fine-tune on"):
        fine_tune(graph, coarse, on(images[:0]))


def test_a_rate_that_explodes_is_told(graph: bytes, coarse: bytes, images: np.ndarray) -> None:
    with pytest.raises(SourceRejected, match=r"diverged in step \d+ .* lower learning rate"):
        fine_tune(graph, coarse, on(images * np.float32(1e30)), steps=20, learning_rate=1e30)


def test_an_operator_that_cannot_be_trained_through_is_named(calibration: Any, images: np.ndarray) -> None:
    net = Net()
    net.linear(net.pooled(net.node("Ceil", net.conv("input", (3, 3)))), 3, 5, output="logits")
    model = net.bytes()
    with pytest.raises(SourceRejected, match="Ceil"):
        fine_tune(model, quantize("int8", model, calibration).model, on(images))


def test_what_training_makes_no_better_stays_as_it_was(graph: bytes, coarse: bytes, images: np.ndarray) -> None:
    assert fine_tune(graph, coarse, on(images), steps=2, batch=8, learning_rate=1.0) == coarse

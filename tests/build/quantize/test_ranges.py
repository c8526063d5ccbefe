"""What is measured of tensors, held against numpy on the very values."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._ranges import BINS, Statistics, measure
from edgecnn.errors import DataRejected, SourceRejected


def through_identity(values: np.ndarray, *, batch: int | str = "n", parts: int = 1) -> Statistics:
    """Of a graph that does nothing: what is measured are the images themselves. values: (n, channels, height, width)."""
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *values.shape[1:]]) for name in ("input", "y")]
    proto = helper.make_model(
        helper.make_graph([helper.make_node("Identity", ["input"], ["y"])], "net", edges[:1], edges[1:]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    return measure(proto, ["y"], lambda: iter(np.array_split(values, parts)), histograms=True)


@pytest.fixture
def proto(graph: bytes) -> ModelProto:
    return load(graph, opset=13)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), st.sampled_from([1, 3, "n"]), st.integers(1, 3))
def test_every_value_counts_once_in_its_bin(values, batch, parts):
    array = np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)
    found = through_identity(array, batch=batch, parts=min(parts, len(array)))
    assert (found.low[0], found.high[0]) == (array.min(), array.max())
    assert found.counts is not None
    assert found.zeros is not None
    assert found.zeros[0] == np.count_nonzero(array == 0)
    counted = found.counts[0].sum()
    assert counted == (0 if array.max() - array.min() <= 1e-30 else np.count_nonzero(array))
    if counted and array.max() < 1e38 and array.min() > -1e38:
        others = array[array != 0].astype(np.float64)
        places = np.clip(((others - found.low[0]) / (found.high[0] - found.low[0]) * BINS).astype(int), 0, BINS - 1)
        near = np.bincount(places, minlength=BINS)
        assert np.abs(np.cumsum(near) - np.cumsum(found.counts[0])).max() <= len(others)
        centre = (np.arange(BINS) + 0.5) @ found.counts[0] / counted
        assert centre == pytest.approx((places + 0.5).mean(), abs=1.01)


def test_values_as_far_apart_as_float32_reaches_are_counted_at_their_ends():
    largest = np.finfo(np.float32).max
    found = through_identity(np.array([-largest, largest, largest], dtype=np.float32).reshape(3, 1, 1, 1))
    assert found.counts is not None
    assert (found.counts[0][0], found.counts[0][-1]) == (1, 2)


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_tensors_of_a_net_are_what_the_net_answers(make_residual, images, batch, answers):
    proto = load(make_residual(batch=batch), opset=13)
    found = measure(proto, ["input", "t1", "logits"], lambda: iter([images[:10], images[10:]]), histograms=True)
    wanted = answers(make_residual(batch=1), images)
    assert found.low[0] == images.min()
    assert found.high[0] == images.max()
    assert found.low[1] == 0
    assert (found.low[2], found.high[2]) == pytest.approx((wanted.min(), wanted.max()), abs=1e-5)
    assert found.counts is not None
    assert found.zeros is not None
    assert (found.counts.sum(axis=1) + found.zeros).tolist() == [images.size, 24 * 16 * 16 * 16, 24 * 5]


def test_batches_make_no_difference(proto, images):
    tensors = ["input", "t1", "t5", "logits"]
    first, second = (measure(proto, tensors, lambda n=n: (images[i : i + n] for i in range(0, len(images), n)), histograms=True) for n in (1, 7))
    for name in ("low", "high", "counts", "zeros"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_without_histograms_images_are_read_once(proto, images):
    rounds = []

    def calibration() -> Any:
        rounds.append(1)
        return iter([images])

    found = measure(proto, ["t1"], calibration, histograms=False)
    assert (len(rounds), found.counts, found.zeros) == (1, None, None)


def test_histograms_of_more_images_take_no_more_memory(proto, images):
    def peak(rounds: int) -> int:
        tracemalloc.start()
        measure(proto, ["t1", "t3", "t5"], lambda: (images for _ in range(rounds)), histograms=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(8) < peak(2) + 100_000


@pytest.mark.parametrize(
    ("pictures", "flat", "alike"),
    [
        (np.zeros((2, 3, 16, 16)), True, True),
        (np.arange(6).reshape(2, 3, 1, 1) * np.ones((2, 3, 16, 16)), True, False),
        (np.tile(np.arange(256.0).reshape(1, 1, 16, 16), (2, 3, 1, 1)), False, True),
        (np.arange(2 * 768.0).reshape(2, 3, 16, 16), False, False),
    ],
)
def test_pictures_that_are_flat_or_all_the_same_are_known(proto, pictures, flat, alike):
    found = measure(proto, ["input"], lambda: iter([pictures.astype(np.float32)]), histograms=False)
    assert (found.flat, found.alike) == (flat, alike)


def test_one_picture_is_not_all_the_same(proto, images):
    assert not measure(proto, ["input"], lambda: iter([images[:1]]), histograms=False).alike


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(proto, images, value):
    spoiled = images.copy()
    spoiled[5, 1, 2, 3] = value
    with pytest.raises(SourceRejected, match="input is NaN or infinite on a calibration image"):
        measure(proto, ["t1", "input"][::-1], lambda: iter([spoiled]), histograms=False)


@pytest.mark.parametrize("histograms", [True, False])
def test_no_images_are_refused(proto, histograms):
    with pytest.raises(DataRejected, match="holds no images"):
        measure(proto, ["input"], lambda: iter([np.zeros((0, 3, 16, 16), dtype=np.float32)]), histograms=histograms)

"""From what a tensor's values are to the range of its 256 levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgecnn.build.quantize._ranges import BINS, TINY, Statistics
from edgecnn.build.quantize._thresholds import ranges_of

METHODS = ("minmax", "percentile", "entropy", "mse")


def statistics(values: np.ndarray) -> Statistics:
    """Of one tensor that holds these values."""
    low, high = float(values.min()), float(values.max())
    counts = np.zeros(BINS, dtype=np.int64)
    if high - low > TINY:
        counts = np.histogram(values[values != 0], bins=BINS, range=(low, high))[0]
    zeros = np.array([np.count_nonzero(values == 0)])
    return Statistics(names=("t",), low=np.array([low]), high=np.array([high]), counts=counts[np.newaxis], zeros=zeros)


def found(values: np.ndarray, method: str, *, percentile: float = 99.99) -> tuple[float, float]:
    return ranges_of(statistics(values), method, percentile=percentile)["t"]


def squared_error(values: np.ndarray, limits: tuple[float, float]) -> float:
    """Of values on the levels that onnxruntime lays over a range."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    levels = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.square((levels - zero) * scale - values).mean())


def tails(seed: int, *, of: str) -> np.ndarray:
    """Values such as activations are: most of them small, a few far out."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, 20_000) if of == "both sides" else np.maximum(rng.standard_t(3, 20_000), 0)
    return values.astype(np.float32)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=60), st.sampled_from(METHODS))
def test_a_range_lies_within_the_extremes_and_is_one(values, method):
    array = np.array(values, dtype=np.float32)
    low, high = found(array, method)
    assert np.isfinite([low, high]).all()
    assert min(array.min(), 0) - 1e-6 <= low <= high <= max(array.max(), 0) * (1 + 1e-6) + 1e-6
    if method == "minmax":
        assert (low, high) == (array.min(), array.max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, -3.0, 7.0])
def test_a_constant_keeps_its_value(method, value):
    assert found(np.full(10, value, dtype=np.float32), method) == (value, value)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_hardly_differ_are_survived(method):
    low, high = found(np.array([0, 1e-38, 2e-38], dtype=np.float32), method)
    assert 0 <= low <= high <= 2.1e-38


@given(st.integers(0, 1000), st.sampled_from([95.0, 99.0, 99.9, 100.0]))
def test_a_percentile_leaves_half_of_the_rest_beyond_each_end(seed, percentile):
    values = tails(seed, of="both sides")
    low, high = found(values, "percentile", percentile=percentile)
    share, width = (100 - percentile) / 200, (float(values.max()) - float(values.min())) / BINS
    assert np.mean(values < low) <= share <= np.mean(values < low + 1.01 * width) + 1e-12
    assert np.mean(values > high) <= share <= np.mean(values > high - 1.01 * width) + 1e-12


def test_zeros_count_for_a_percentile():
    """Of a ReLU's output nine tenths may be zero."""
    values = np.concatenate([np.zeros(9_000), np.linspace(0.001, 1, 1_000)]).astype(np.float32)
    assert found(values, "percentile", percentile=98)[1] == pytest.approx(0.9, abs=0.002)


@pytest.mark.parametrize("of", ["both sides", "one side"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_least_squares_beat_every_range_that_is_shrunk_evenly(seed, of):
    values = tails(seed, of=of)
    low, high = float(values.min()), float(values.max())
    best = min(squared_error(values, (low * share, high * share)) for share in np.arange(4, 65) / 64)
    assert squared_error(values, found(values, "mse")) <= best * 1.02


def test_least_squares_keep_a_range_whose_ends_are_full():
    values = np.random.default_rng(0).uniform(-1, 3, 20_000).astype(np.float32)
    low, high = found(values, "mse")
    assert low == pytest.approx(-1, abs=0.04)
    assert high == pytest.approx(3, abs=0.1)


def test_entropy_gives_up_a_lonely_value_and_keeps_the_crowd():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 50_000), [400.0]]).astype(np.float32)
    low, high = found(values, "entropy")
    assert high < 100
    assert low <= -3


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_nothing_but_zeros_beside_one_value(method):
    low, high = found(np.array([0, 0, 0, 0, 5], dtype=np.float32), method)
    assert low <= 0
    assert high > 0


@settings(max_examples=8)
@given(st.integers(0, 1000), st.sampled_from(METHODS), st.floats(-3, 3))
def test_scaled_values_have_scaled_ranges(seed, method, exponent):
    values, factor = tails(seed, of="both sides"), np.float32(2.0 ** round(4 * exponent))
    assume(np.isfinite(values * factor).all())
    before, after = found(values, method), found(values * factor, method)
    assert after == pytest.approx((before[0] * factor, before[1] * factor), rel=0.05)

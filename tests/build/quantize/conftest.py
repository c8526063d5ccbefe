"""What the quantizers' tests share: graphs, images, and the answers that onnxruntime gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.fixtures.onnx_nets import Net, residual

Array = NDArray[np.float32]


@pytest.fixture
def net() -> Callable[..., Net]:
    return Net


@pytest.fixture
def graph() -> bytes:
    return residual()


@pytest.fixture
def make_residual() -> Callable[..., bytes]:
    return residual


@pytest.fixture
def images() -> Array:
    """float32 (24, 3, 16, 16): smooth patterns, so that channels differ as they do in pictures."""
    rng = np.random.default_rng(3)
    coarse = rng.normal(0, 1, (24, 3, 4, 4)) + rng.normal(0, 1, (24, 3, 1, 1))
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3), dtype=np.float32)


@pytest.fixture
def calibration(images: Array) -> Callable[[], Iterator[Array]]:
    return lambda: (images[start : start + 8] for start in range(0, len(images), 8))


@pytest.fixture
def answers() -> Callable[[bytes, Array], Array]:
    """A graph's answers, run exactly as it stands."""

    def run(model: bytes, x: Array) -> Array:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        fixed = isinstance(session.get_inputs()[0].shape[0], int)
        found = [session.run(None, {"input": part})[0] for part in (np.split(x, len(x)) if fixed else [x])]
        return np.concatenate(found)

    return run


@pytest.fixture
def operators(tmp_path: Any) -> Callable[[bytes], list[str]]:
    """The operators that onnxruntime really runs, after its own optimization."""

    def run(model: bytes) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]

    return run


def sqnr_db(expected: Array, actual: Array) -> float:
    return float(10 * np.log10(np.sum(np.square(expected)) / np.sum(np.square(actual - expected))))


@pytest.fixture
def sqnr() -> Callable[[Array, Array], float]:
    return sqnr_db

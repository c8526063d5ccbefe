"""Small ONNX graphs with seeded random weights, built without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


class Net:
    """Adds one node after the other; each method returns the name of its output."""

    def __init__(self, *, batch: int | str = 1, size: int = 16, opset: int = 18) -> None:
        self.rng = np.random.default_rng(7)
        self.batch, self.size, self.opset = batch, size, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        result = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], name=f"n{len(self.nodes)}", **attributes))
        return result

    def conv(self, x: str, channels: tuple[int, int], *, kernel: int = 3, groups: int = 1) -> str:
        into, out = channels
        spread = (2 / (into // groups * kernel * kernel)) ** 0.5
        weight = self.constant(self.rng.normal(0, spread, (out, into // groups, kernel, kernel)))
        bias = self.constant(self.rng.normal(0, 0.3, out))
        return self.node("Conv", x, weight, bias, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups)

    def linear(self, x: str, inputs: int, outputs: int, *, output: str | None = None) -> str:
        weight = self.constant(self.rng.normal(0, inputs**-0.5, (outputs, inputs)))
        return self.node("Gemm", x, weight, self.constant(self.rng.normal(0, 0.3, outputs)), transB=1, output=output)

    def pooled(self, x: str) -> str:
        mean = self.node("ReduceMean", x, self.constant([-2, -1], np.int64), keepdims=1)
        return self.node("Flatten", mean)

    def bytes(self, *, labels: int = 5) -> bytes:
        """The graph whose last node's output is "logits"."""
        shape = (self.batch, 3, self.size, self.size)
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (self.batch, labels))],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8, producer_name="tests")
        helper.set_model_props(proto, {"name": "net"})
        onnx.checker.check_model(proto, full_check=True)
        return bytes(proto.SerializeToString())


@pytest.fixture
def net() -> Callable[..., Net]:
    return Net


def residual(**options: Any) -> bytes:
    """Convolutions (one depthwise), ReLU, ReLU6, an addition, a pooled head."""
    make = Net(**options)
    first = make.node("Relu", make.conv("input", (3, 16)))
    second = make.node("Clip", make.conv(first, (16, 16), groups=16), make.constant(0), make.constant(6))
    third = make.node("Relu", make.node("Add", make.conv(second, (16, 16), kernel=1), first))
    make.linear(make.pooled(third), 16, 5, output="logits")
    return make.bytes()


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

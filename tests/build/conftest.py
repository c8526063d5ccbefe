"""Small networks and graphs that several tests of export share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.fixtures.modules import settle


class Small(nn.Module):
    """A convolution, a BatchNorm, dropout and a fully connected layer: (n, 3, 12, 10) -> (n, 4)."""

    def __init__(self, width: int = 6, labels: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(width, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.features(x).mean((2, 3))))


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return settle(Small())


@pytest.fixture
def images() -> Callable[..., NDArray[np.float32]]:
    """images(n, channels, height, width): float32 noise between 0 and 1, always the same."""

    def make(*shape: int) -> NDArray[np.float32]:
        return np.random.Generator(np.random.PCG64(7)).random(shape, dtype=np.float32)

    return make


@pytest.fixture
def unfolded() -> Callable[..., onnx.ModelProto]:
    """A graph with a BatchNormalization that folds away: input "x" (batch, 3, 8, 8), output "y" (batch, 5)."""

    def make(*, batch: int | str = "N", opset: int = 17, ir_version: int = 8) -> onnx.ModelProto:
        rng = np.random.default_rng(3)

        def constant(name: str, *shape: int) -> TensorProto:
            return numpy_helper.from_array(rng.uniform(0.2, 0.9, shape).astype(np.float32), name)

        nodes = [
            helper.make_node("Conv", ["x", "w"], ["conv"], kernel_shape=[3, 3], name="conv"),
            helper.make_node("BatchNormalization", ["conv", "scale", "bias", "mean", "var"], ["norm"], name="norm"),
            helper.make_node("Relu", ["norm"], ["relu"], name="relu"),
            helper.make_node("GlobalAveragePool", ["relu"], ["pool"], name="pool"),
            helper.make_node("Flatten", ["pool"], ["flat"], name="flat"),
            helper.make_node("Gemm", ["flat", "g", "h"], ["y"], name="head"),
        ]
        channels = [constant(name, 4) for name in ("scale", "bias", "mean", "var")]
        constants = [constant("w", 4, 3, 3, 3), *channels, constant("h", 5), constant("g", 4, 5)]
        graph = helper.make_graph(
            nodes,
            "unfolded",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
            constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)

    return make

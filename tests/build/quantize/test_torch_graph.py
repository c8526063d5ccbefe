"""A graph in torch gives onnxruntime's answers, operator by operator, quantized or not, for any batch; and gradients flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build.onnx_io import parse
from edgecnn.build.quantize._torch_graph import OPERATORS, TorchGraph
from edgecnn.device.golden import read_golden
from edgecnn.device.session import open_session
from edgecnn.errors import SourceRejected
from tests.fixtures.onnx_nets import Net, residual
from tests.models.test_shipped import FOLDERS, artifact_of


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(TorchGraph(parse(model))(torch.from_numpy(x)).numpy())


def picture(net: Net, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, (batch, 3, net.size, net.size)).astype(np.float32)


def ints(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


# what stands between the input (1, 3, 16, 16) and its mean over height and width
MIDDLES: dict[str, Any] = {
    "Conv, strided, dilated, uneven pads": lambda net, x: net.node(
        "Conv", x, net.constant(net.rng.normal(0, 1, (3, 3, 3, 2))), strides=[2, 1], dilations=[1, 2], pads=[0, 1, 2, 1]
    ),
    "Conv, depthwise": lambda net, x: net.conv(x, (3, 3), groups=3),
    "MaxPool": lambda net, x: net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1]),
    "MaxPool, ceil": lambda net, x: net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "AveragePool": lambda net, x: net.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool, pads counted": lambda net, x: net.node("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    "Add": lambda net, x: net.node("Add", x, net.constant(net.rng.normal(0, 1, (3, 1, 1)))),
    "Sub": lambda net, x: net.node("Sub", x, net.constant(0.5)),
    "Mul": lambda net, x: net.node("Mul", x, net.node("Sigmoid", x)),
    "Div": lambda net, x: net.node("Div", x, net.constant([[[2.0]]])),
    "Relu": lambda net, x: net.node("Relu", x),
    "Clip": lambda net, x: net.node("Clip", x, net.constant(-0.5), net.constant(0.7)),
    "Clip, above alone": lambda net, x: net.node("Clip", x, "", net.constant(0.7)),
    "LeakyRelu": lambda net, x: net.node("LeakyRelu", x, alpha=0.3),
    "Sigmoid": lambda net, x: net.node("Sigmoid", x),
    "HardSigmoid": lambda net, x: net.node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "HardSwish": lambda net, x: net.node("HardSwish", x),
    "Tanh": lambda net, x: net.node("Tanh", x),
    "Erf": lambda net, x: net.node("Erf", x),
    "Softmax": lambda net, x: net.node("Softmax", x, axis=1),
    "BatchNormalization": lambda net, x: net.node(
        "BatchNormalization", x, *(net.constant(values) for values in ([1.0, 2, 3], [0.1, 0.2, 0.3], [0.5, 0, -0.5], [1.0, 2, 0.5])), epsilon=1e-3
    ),
    "Identity": lambda net, x: net.node("Identity", x),
    "Transpose": lambda net, x: net.node("Transpose", x, perm=[0, 1, 3, 2]),
    "Reshape": lambda net, x: net.node("Reshape", x, ints(net, 1, 3, 8, 32)),
    "Reshape, open": lambda net, x: net.node("Reshape", x, ints(net, -1, 3, 8, 32)),
    "Unsqueeze and Squeeze": lambda net, x: net.node("Squeeze", net.node("Unsqueeze", x, ints(net, 2, -1)), ints(net, 2, 5)),
    "Concat": lambda net, x: net.node("Concat", x, net.node("Relu", x), axis=2),
    "Slice": lambda net, x: net.node("Slice", x, ints(net, 2, -9), ints(net, 10, 2**40), ints(net, 2, 3), ints(net, 3, 2)),
    "Split": lambda net, x: net.node("Add", *split(net, x)),
    "ReduceMean": lambda net, x: net.node("Mul", x, net.node("ReduceMean", x, ints(net, 1), keepdims=1)),
    "ReduceLogSumExp": lambda net, x: net.node("Add", x, net.node("ReduceLogSumExp", x, ints(net, 1), keepdims=1)),
    "GlobalAveragePool": lambda net, x: net.node("Add", x, net.node("GlobalAveragePool", x)),
    "MatMul": lambda net, x: net.node("MatMul", x, net.constant(net.rng.normal(0, 1, (16, 5)))),
}


def split(net: Net, x: str) -> tuple[str, str]:
    net.nodes.append(helper.make_node("Split", [x, ints(net, 7, 7, 2)], ["s0", "s1", "s2"], axis=3, name="split"))
    return "s0", "s1"


def middle(kind: str) -> tuple[Net, bytes]:
    net = Net()
    return net, finished(net, MIDDLES[kind](net, "input"))


def finished(net: Net, x: str) -> bytes:
    net.linear(net.pooled(x), 3, 5, output="logits")
    return net.bytes()


@pytest.mark.parametrize("kind", MIDDLES)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_operator_computes_what_onnxruntime_computes(kind: str, batch: int, answers: Any) -> None:
    net, model = middle(kind)
    x = picture(net, batch)
    expected = np.concatenate([answers(model, x[i : i + 1]) for i in range(batch)])
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-4, atol=1e-5)


def test_every_operator_is_tried() -> None:
    tried = {node.op_type for kind in MIDDLES for node in onnx.load_from_string(middle(kind)[1]).graph.node}
    assert tried | {"QuantizeLinear", "DequantizeLinear"} == OPERATORS.keys()


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_the_shipped_int8_graphs_answer_within_a_step_of_their_last_activations(folder: Any) -> None:
    with open_bundle(artifact_of(folder)) as bundle:
        model, spec, x = bundle.read("model.onnx"), bundle.manifest.spec, read_golden(bundle).inputs
    expected = open_session(model, spec, threads=1).logits(x)
    assert np.abs(run(model, x) - expected).max() <= 0.01 * np.abs(expected).max()


def test_gradients_reach_scales_and_inputs() -> None:
    net = Net()
    scale, zero = net.constant(0.05), net.constant(128, np.uint8)
    rounded = net.node("QuantizeLinear", "input", scale, zero)
    model = finished(net, net.node("DequantizeLinear", rounded, scale, zero))
    graph = TorchGraph(parse(model))
    graph.values[scale] = graph.values[scale].requires_grad_()
    x = torch.from_numpy(picture(net)).requires_grad_()
    graph(x)[0, 0].backward()
    assert x.grad is not None
    assert graph.values[scale].grad is not None
    assert x.grad.abs().sum() > 0
    assert graph.values[scale].grad != 0


def test_what_gradients_cannot_pass_is_named() -> None:
    net = Net()
    with pytest.raises(SourceRejected, match=r"Ceil \(n0\) can't be fine-tuned through"):
        TorchGraph(parse(finished(net, net.node("Ceil", "input"))))


def test_a_residual_net_takes_any_batch(answers: Any, images: np.ndarray) -> None:
    model = residual()
    expected = np.concatenate([answers(model, images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_allclose(run(model, images), expected, rtol=1e-4, atol=1e-5)

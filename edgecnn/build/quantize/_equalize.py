"""Cross-layer equalisation: channels between two layers are scaled so that the weights on both sides span alike, and the function stays.

After Nagel et al. 2019 (arXiv:1906.04721, section 4.1). It needs no images. ReLU passes a positive factor on, as poolings do; a Clip to 6 doesn't,
and an addition would tie the channels of all its terms, so what lies around one stays. (Scaled together with their terms, residual streams made
ResNet-8's and EfficientNet-Lite0's answers worse, and so did scales from the activations' ranges instead of the weights'.)

onnxsim 0.8.1 has it for convolutions of one group alone, so it passes over every depthwise one: see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edgecnn.build.quantize._graph import attribute, constant, consumers, reads
from edgecnn.build.quantize._heavy import outputs_of, replace_constant

_Array = NDArray[np.float64]
_Pair = tuple[NodeProto, tuple[NodeProto, ...]]

PASSING = frozenset({"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Identity"})
"""Operators for which f(s x) = s f(x) of each channel, s > 0."""

_SWEEPS, _SETTLED = 40, 1e-3
_MOST = 1e6
"""Of a factor at a time, so that nothing overflows."""

_BIASES = 8.0
"""A bias so many times as large as others are, beside their weights, counts as the channel's range: what is left of a dead channel is its bias,
and scaled like its weights it would outgrow all others."""


def equalize(proto: ModelProto) -> int:
    """Scale the layers of `proto`, in place, and return how many have one or several others right behind them.

    No two nodes may share weights or biases: see own_constants.
    """
    pairs = _pairs(proto)
    nodes = {node.name: node for maker, readers in pairs for node in (maker, *readers)}
    weights = {name: constant(proto, node.input[1]).astype(np.float64) for name, node in nodes.items()}
    biases = {maker.name: constant(proto, maker.input[2]).astype(np.float64) for maker, _ in pairs if any(maker.input[2:])}
    for _ in range(_SWEEPS):
        if max((_balance(maker, readers, weights, biases) for maker, readers in pairs), default=0.0) < _SETTLED:
            break
    for name, node in nodes.items():
        replace_constant(proto, node.input[1], weights[name])
    for maker, _ in pairs:
        if maker.name in biases:
            replace_constant(proto, maker.input[2], biases[maker.name])
    return len(pairs)


def _balance(maker: NodeProto, readers: Sequence[NodeProto], weights: Mapping[str, _Array], biases: Mapping[str, _Array]) -> float:
    """Give each channel's weights the same range on both sides, in place. Returns the largest change, as a logarithm."""
    made = _by_output(maker, weights[maker.name])
    before = _span(np.abs(made).reshape(len(made), -1).max(axis=1), biases.get(maker.name))
    views = [_by_input(reader, weights[reader.name], len(before)) for reader in readers]
    behind = np.max([np.abs(view).max(axis=(1, 3)).reshape(-1) for view in views], axis=0)
    alive = (before > 0) & (behind > 0)
    factors = np.ones(len(before))
    factors[alive] = np.clip(np.sqrt(before[alive] / behind[alive]), 1 / _MOST, _MOST)
    made /= factors.reshape(-1, *[1] * (made.ndim - 1))
    if maker.name in biases:
        biases[maker.name] /= factors
    for view in views:
        view *= factors.reshape(len(view), 1, -1, 1)
    return float(np.abs(np.log(factors)).max())


def _span(weights: _Array, biases: _Array | None) -> _Array:
    """Of each channel, from the largest of its weights and its bias."""
    alive = weights > 0
    if biases is None or not (alive & (biases != 0)).any():
        return weights
    usual = float(np.median(np.abs(biases)[alive & (biases != 0)] / weights[alive & (biases != 0)]))
    return np.where(alive, np.maximum(weights, np.abs(biases) / (_BIASES * usual)), 0.0)


def _by_output(node: NodeProto, weights: _Array) -> _Array:
    """A view whose first axis is the output's channels."""
    return weights if node.op_type == "Conv" or attribute(node, "transB", 0) else weights.T


def _by_input(node: NodeProto, weights: _Array, channels: int) -> _Array:
    """A view (groups, outputs of a group, channels of a group, values of each): a Gemm behind Flatten reads several of a channel."""
    if node.op_type == "Conv":
        groups = attribute(node, "group", 1)
        return weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
    if attribute(node, "transB", 0):
        return weights.reshape(1, len(weights), channels, -1)
    return weights.reshape(channels, -1, weights.shape[1]).transpose(2, 0, 1)[np.newaxis]


def _pairs(proto: ModelProto) -> list[_Pair]:
    """Each layer whose answers nothing reads but layers, through passing operators alone, with these."""
    graph = proto.graph
    values = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    able = {node.name for node in graph.node if _able(node, values)}
    direct, closed = consumers(graph.node), {value.name for value in graph.output}
    for node in graph.node:  # what a subgraph reads can't change
        closed.update(set(reads([node])) - set(node.input))
    found = []
    for maker in (node for node in graph.node if node.name in able):
        readers = _layers_behind(maker.output[0], direct, able, closed)
        channels = outputs_of(maker, values[maker.input[1]])
        if readers and all(_inputs_of(reader, values[reader.input[1]]) % channels == 0 for reader in readers):
            found.append((maker, tuple(readers)))
    return found


def _layers_behind(tensor: str, direct: Mapping[str, Sequence[NodeProto]], able: set[str], closed: set[str]) -> list[NodeProto] | None:
    """None where anything else reads it."""
    found, waiting = [], [tensor]
    while waiting:
        name = waiting.pop()
        for node in direct.get(name, []):
            if node.name in able and node.input[0] == name:
                found.append(node)
            elif _passes(node, name):
                waiting.append(node.output[0])
            else:
                return None
        if name in closed:
            return None
    return found


def _passes(node: NodeProto, tensor: str) -> bool:
    if node.domain or node.op_type not in PASSING or node.input[0] != tensor or len(node.output) != 1:
        return False
    return node.op_type != "Flatten" or attribute(node, "axis", 1) == 1


def _able(node: NodeProto, values: Mapping[str, tuple[int, ...]]) -> bool:
    """A Conv, or a plain Gemm, whose weights and bias are constant, the bias one value for each channel."""
    if node.domain or node.op_type not in ("Conv", "Gemm") or not all(name in values for name in node.input[1:] if name):
        return False
    plain = node.op_type == "Conv" or (not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0)
    biases = [values[name] for name in node.input[2:] if name]
    return plain and all(shape == (outputs_of(node, values[node.input[1]]),) for shape in biases)


def _inputs_of(node: NodeProto, shape: tuple[int, ...]) -> int:
    """How many channels, or values, a layer reads."""
    if node.op_type == "Conv":
        return shape[1] * int(attribute(node, "group", 1))
    return shape[1] if attribute(node, "transB", 0) else shape[0]

"""Quantization-aware fine-tuning: weights, biases and scales of a QDQ graph, trained until its answers are the float network's again.

The network itself is the teacher (Hinton et al., arXiv 1503.02531), so images need no labels. Weights and activations are rounded in every step as
the device rounds them, with straight-through gradients; scales are learnt (LSQ, Esser et al., arXiv 1902.08153), zero points stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.build.onnx_io import parse, serialize
from edgecnn.build.quantize import Training
from edgecnn.build.quantize._torch_graph import TorchGraph
from edgecnn.errors import DataRejected, SourceRejected

CHECKED = 256
"""Training images on which the loss before is held against the loss after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Constant:
    """A quantized constant: the names of its integers, scale and float original, and the axis of its channels; activation_scale and
    weight_scale: the two whose product a bias's scale is, "" for a weight."""

    integers: str
    scale: str
    original: str
    axis: int
    activation_scale: str = ""
    weight_scale: str = ""


def fine_tune(
    reference: bytes,
    quantized: bytes,
    training: Training,
    *,
    steps: int = 300,
    batch: int = 32,
    learning_rate: float = 1e-4,
    weight_limit: int = 127,
    seed: int = 0,
) -> bytes:
    """The QDQ graph `quantized` with integers and scales that answer more nearly as the float32 graph `reference` does; as it was, where that
    came to nothing on the first CHECKED images.

    training: some thousand images; weight_limit: the largest integer of a weight (64 with reduce_range). The loss is the Kullback-Leibler
    divergence between the two graphs' scores; Adam, its rate falling to 0 along a cosine. Equal arguments, versions and numbers of threads give
    equal bytes. Raises DataRejected without images, SourceRejected for an operator that can't be trained through, or where the loss isn't
    finite any more.
    """
    pixels = training.pixels() if training.count else np.empty(0, dtype=np.uint8)
    if not len(pixels):
        raise DataRejected("there are no images to fine-tune on; give some thousand training images with --qat.")
    proto = parse(quantized)
    student, teacher = _Student(proto, parse(reference), weight_limit), TorchGraph(parse(reference))
    optimizer = torch.optim.Adam(student.groups(learning_rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = np.random.Generator(np.random.PCG64(seed))

    def mean_loss() -> float:
        total = 0.0
        for start in range(0, min(CHECKED, len(pixels)), batch):
            x = torch.from_numpy(training.normalize(pixels[start : min(start + batch, CHECKED)]))
            total += len(x) * _divergence(teacher(x), student(x), training.multi_label).item()
        return total

    with torch.no_grad():
        before = mean_loss()
    for step in range(steps):
        chosen = random.choice(len(pixels), size=min(batch, len(pixels)), replace=False)
        x = torch.from_numpy(training.normalize(pixels[np.sort(chosen)]))
        with torch.no_grad():
            wanted = teacher(x)
        loss = _divergence(wanted, student(x), training.multi_label)
        if not torch.isfinite(loss):
            raise SourceRejected(f"fine-tuning diverged in step {step + 1} (its loss is {loss.item()}); take a lower learning rate.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        training.progress(step + 1, steps)
    with torch.no_grad():
        if not mean_loss() < before:
            return quantized
    student.write(proto)
    return serialize(proto)


def _divergence(wanted: Tensor, found: Tensor, multi_label: bool) -> Tensor:
    if multi_label:
        return functional.binary_cross_entropy_with_logits(found, torch.sigmoid(wanted)) * wanted.shape[1]
    return functional.kl_div(torch.log_softmax(found, 1), torch.log_softmax(wanted, 1), log_target=True, reduction="batchmean")


class _Student(nn.Module):
    """The QDQ graph with its weights, biases and scales as parameters; scales as logarithms, so that they stay positive."""

    def __init__(self, proto: ModelProto, reference: ModelProto, weight_limit: int) -> None:
        super().__init__()
        self.graph, self.limit = TorchGraph(proto), weight_limit
        self.weights, self.biases = _constants(proto)
        originals = {entry.name: numpy_helper.to_array(entry) for entry in reference.graph.initializer}
        scales = {node.input[1] for node in proto.graph.node if node.op_type == "QuantizeLinear"} | {weight.scale for weight in self.weights}
        self.logarithms = {name: nn.Parameter(torch.log(self.graph.values[name])) for name in sorted(scales)}
        self.floats = {c.integers: nn.Parameter(self._original(c, originals)) for c in (*self.weights, *self.biases)}

    def groups(self, learning_rate: float) -> list[dict[str, object]]:
        """Weights and biases learn alike; scales, as logarithms, ten times as fast."""
        return [
            {"params": list(self.floats.values()), "lr": learning_rate},
            {"params": list(self.logarithms.values()), "lr": 10 * learning_rate},
        ]

    def _original(self, constant: _Constant, originals: dict[str, NDArray[np.float32]]) -> Tensor:
        """The float weight, where it is what was quantized; else what its integers stand for."""
        integers, scale = self.graph.values[constant.integers], self.graph.values[constant.scale]
        restored = integers.to(torch.float32) * _along(scale, integers, constant.axis)
        original = originals.get(constant.original)
        if original is None or original.shape != tuple(restored.shape):
            return restored
        near = torch.from_numpy(np.array(original, dtype=np.float32))
        return near if bool(((near - restored).abs() <= 1.001 * _along(scale, integers, constant.axis)).all()) else restored

    def forward(self, x: Tensor) -> Tensor:
        for name, value in self.values().items():
            self.graph.values[name] = value
        return self.graph(x)

    def values(self) -> dict[str, Tensor]:
        """All trained constants as the graph has them: scales, and integers as float32."""
        made = {name: torch.exp(value) for name, value in self.logarithms.items()}
        for bias in self.biases:
            product = made[bias.activation_scale] * made[bias.weight_scale]
            made[bias.scale] = product.expand(self.graph.values[bias.scale].shape)
        for constant in (*self.weights, *self.biases):
            value = self.floats[constant.integers]
            exact = value / _along(made[constant.scale], value, constant.axis)
            rounded = exact + (exact.round() - exact).detach()
            made[constant.integers] = rounded if constant.weight_scale else torch.clamp(rounded, -self.limit, self.limit)
        return made

    def write(self, proto: ModelProto) -> None:
        """Put the trained constants into the graph, in place."""
        with torch.no_grad():
            made = self.values()
        for entry in proto.graph.initializer:
            if entry.name in made:
                kind = self.graph.constants[entry.name].dtype
                value = made[entry.name].numpy()
                entry.CopyFrom(numpy_helper.from_array(np.asarray(np.rint(value) if kind != np.float32 else value, dtype=kind), entry.name))


def _along(scale: Tensor, like: Tensor, axis: int) -> Tensor:
    return scale.reshape(()) if scale.numel() == 1 else scale.reshape([-1 if place == axis else 1 for place in range(like.ndim)])


def _constants(proto: ModelProto) -> tuple[tuple[_Constant, ...], tuple[_Constant, ...]]:
    """The graph's quantized weights and biases."""
    constants = {entry.name: entry for entry in proto.graph.initializer}
    restored = {node.output[0]: node for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    weights, biases = {}, {}
    for node in proto.graph.node:
        sources = [restored.get(name) for name in node.input]
        for place, source in enumerate(sources):
            if source is None or source.input[0] not in constants:
                continue
            if place == 2 and node.op_type in ("Conv", "Gemm") and sources[0] is not None and sources[1] is not None:
                biases[source.input[0]] = _constant(source, activation=sources[0].input[1], weight=sources[1].input[1])
            elif place < 2:
                weights[source.input[0]] = _constant(source)
    return tuple(weights.values()), tuple(biases.values())


def _constant(node: NodeProto, *, activation: str = "", weight: str = "") -> _Constant:
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    integers, scale = node.input[0], node.input[1]
    original = integers.removesuffix("_quantized")
    return _Constant(integers=integers, scale=scale, original=original, axis=0 if weight else axis, activation_scale=activation, weight_scale=weight)

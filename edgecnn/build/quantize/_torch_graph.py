"""An ONNX graph as a torch function, so that gradients flow through it: what quantization-aware fine-tuning trains.

The operators are those that convolutional classifiers export to. QuantizeLinear rounds with a straight-through gradient (Bengio et al.,
arXiv 1308.3432); a scale gets the gradient of LSQ (Esser et al., arXiv 1902.08153), which follows from that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor
from torch.nn import functional

from edgecnn.errors import SourceRejected

Attributes = Mapping[str, Any]
Operator = Callable[[Attributes, Sequence[Any]], Any]

_LIMITS = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-128, 127)}


class TorchGraph:
    """A graph with one input and one output. values: its constants by name as tensors; trainable ones are replaced from outside."""

    def __init__(self, proto: ModelProto) -> None:
        """Raises SourceRejected, naming it, for an operator that gradients can't be taken through here."""
        self.nodes = list(proto.graph.node)
        unknown = next((node for node in self.nodes if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx")), None)
        if unknown is not None:
            raise SourceRejected(f"{unknown.op_type} ({unknown.name}) can't be fine-tuned through; leave --qat out.")
        self.attributes = [_attributes(node) for node in self.nodes]
        self.constants = {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
        self.values: dict[str, Tensor] = {name: torch.from_numpy(np.array(value)) for name, value in self.constants.items()}
        self.input, self.output = proto.graph.input[0].name, proto.graph.output[0].name
        first = proto.graph.input[0].type.tensor_type.shape.dim[0]
        self.batch = first.dim_value if first.HasField("dim_value") else None

    def __call__(self, x: Tensor) -> Tensor:
        """float32 (n, channels, height, width) -> float32 (n, labels); n need not be the graph's fixed batch."""
        found: dict[str, Any] = {self.input: x}
        for node, attributes in zip(self.nodes, self.attributes, strict=True):
            inputs: list[Any] = [found[name] if name in found else self.values.get(name) if name else None for name in node.input]
            if node.op_type == "Reshape":
                inputs[1] = self._shape(inputs[1], len(x))
            made = OPERATORS[node.op_type](attributes, inputs)
            found.update(zip(node.output, made if isinstance(made, tuple) else (made,), strict=True))
        answer: Tensor = found[self.output]
        return answer

    def _shape(self, wanted: Tensor, batch: int) -> list[int]:
        """A Reshape's target for this batch: what the graph fixed for its own leads elsewhere."""
        sizes: list[int] = wanted.tolist()
        return [batch, *sizes[1:]] if self.batch is not None and sizes and sizes[0] == self.batch else sizes


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def _round(x: Tensor) -> Tensor:
    """Half to even, as ONNX does; the gradient passes."""
    return x + (x.round() - x).detach()


def _per_channel(values: Tensor, like: Tensor, axis: int) -> Tensor:
    if values.ndim == 0 or values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if place == axis % like.ndim else 1 for place in range(like.ndim)])


def _quantize(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """The integers, as float32."""
    x, scale, zero_point = inputs
    axis = attributes.get("axis", 1)
    low, high = _LIMITS[np.dtype(str(zero_point.dtype).removeprefix("torch."))]
    shift = _per_channel(zero_point, x, axis).to(x.dtype)
    return torch.clamp(_round(x / _per_channel(scale, x, axis)) + shift, low, high)


def _dequantize(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, scale, *rest = inputs
    axis = attributes.get("axis", 1)
    shift = _per_channel(rest[0], x, axis).to(scale.dtype) if rest and rest[0] is not None else 0.0
    made: Tensor = (x.to(scale.dtype) - shift) * _per_channel(scale, x, axis)
    return made


def _padded(x: Tensor, attributes: Attributes, value: float = 0.0) -> Tensor:
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise SourceRejected("auto_pad can't be fine-tuned through; export the graph again with pads.")
    pads = list(attributes.get("pads", ()))
    half = len(pads) // 2
    flat = [side for place in reversed(range(half)) for side in (pads[place], pads[place + half])]
    return functional.pad(x, flat, value=value) if any(flat) else x


def _conv(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, *bias = inputs
    options = {"stride": attributes.get("strides", 1), "dilation": attributes.get("dilations", 1), "groups": attributes.get("group", 1)}
    run: Any = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[weight.ndim]
    made: Tensor = run(_padded(x, attributes), weight, bias[0] if bias else None, **options)
    return made


def _gemm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    a, b, *c = inputs
    product = (a.T if attributes.get("transA") else a) @ (b.T if attributes.get("transB") else b)
    made: Tensor = attributes.get("alpha", 1.0) * product
    if c and c[0] is not None:
        made = made + attributes.get("beta", 1.0) * c[0]
    return made


def _max_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x = _padded(inputs[0], attributes, value=float("-inf"))
    options = {"stride": attributes.get("strides", 1), "dilation": attributes.get("dilations", 1), "ceil_mode": bool(attributes.get("ceil_mode", 0))}
    made: Tensor = functional.max_pool2d(x, list(attributes["kernel_shape"]), **options)
    return made


def _average_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    pads = list(attributes.get("pads", (0, 0, 0, 0)))
    if pads[:2] != pads[2:]:
        raise SourceRejected("an AveragePool with uneven pads can't be fine-tuned through; leave --qat out.")
    options = {"ceil_mode": bool(attributes.get("ceil_mode", 0)), "count_include_pad": bool(attributes.get("count_include_pad", 0))}
    return functional.avg_pool2d(inputs[0], list(attributes["kernel_shape"]), attributes.get("strides", 1), tuple(pads[:2]), **options)


def _axes(attributes: Attributes, inputs: Sequence[Any], place: int = 1) -> list[int] | None:
    if len(inputs) > place and inputs[place] is not None:
        axes: list[int] = inputs[place].tolist()
        return axes
    return list(attributes["axes"]) if "axes" in attributes else None


def _reduce_mean(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    made: Tensor = inputs[0].mean(_axes(attributes, inputs), keepdim=bool(attributes.get("keepdims", 1)))
    return made


def _log_sum_exp(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    axes = _axes(attributes, inputs)
    return torch.logsumexp(inputs[0], axes if axes is not None else list(range(inputs[0].ndim)), keepdim=bool(attributes.get("keepdims", 1)))


def _squeeze(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    axes = _axes(attributes, inputs)
    return torch.squeeze(inputs[0]) if axes is None else torch.squeeze(inputs[0], tuple(axes))


def _unsqueeze(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x: Tensor = inputs[0]
    axes = _axes(attributes, inputs) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _split(attributes: Attributes, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    x, axis = inputs[0], attributes.get("axis", 0)
    given = inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else attributes.get("split")
    if given is None:
        raise SourceRejected("a Split without sizes can't be fine-tuned through; leave --qat out.")
    return torch.split(x, list(given), dim=axis)


def _slice(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, starts, ends, *rest = inputs
    axes = rest[0].tolist() if rest and rest[0] is not None else list(range(len(starts)))
    steps = rest[1].tolist() if len(rest) > 1 and rest[1] is not None else [1] * len(axes)
    if min(steps) < 1:
        raise SourceRejected("a Slice with negative steps can't be fine-tuned through; leave --qat out.")
    index: list[slice] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    made: Tensor = x[tuple(index)]
    return made


def _flatten(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, axis = inputs[0], attributes.get("axis", 1)
    made: Tensor = x.reshape(int(np.prod(x.shape[:axis])), -1)
    return made


def _clip(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    bounds = [inputs[place] if len(inputs) > place else None for place in (1, 2)]
    low, high = (float(bound) if bound is not None else attributes.get(name) for bound, name in zip(bounds, ("min", "max"), strict=True))
    return torch.clamp(inputs[0], low, high)


def _batch_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, scale, bias, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=attributes.get("epsilon", 1e-5))


OPERATORS: dict[str, Operator] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda _, inputs: inputs[0] @ inputs[1],
    "Add": lambda _, inputs: inputs[0] + inputs[1],
    "Sub": lambda _, inputs: inputs[0] - inputs[1],
    "Mul": lambda _, inputs: inputs[0] * inputs[1],
    "Div": lambda _, inputs: inputs[0] / inputs[1],
    "Relu": lambda _, inputs: functional.relu(inputs[0]),
    "Clip": _clip,
    "LeakyRelu": lambda attributes, inputs: functional.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "Sigmoid": lambda _, inputs: torch.sigmoid(inputs[0]),
    "HardSigmoid": lambda attributes, inputs: torch.clamp(attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5), 0, 1),
    "HardSwish": lambda _, inputs: functional.hardswish(inputs[0]),
    "Tanh": lambda _, inputs: torch.tanh(inputs[0]),
    "Erf": lambda _, inputs: torch.erf(inputs[0]),
    "Softmax": lambda attributes, inputs: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _, inputs: inputs[0].mean(tuple(range(2, inputs[0].ndim)), keepdim=True),
    "ReduceMean": _reduce_mean,
    "ReduceLogSumExp": _log_sum_exp,
    "Reshape": lambda _, inputs: inputs[0].reshape(inputs[1]),
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda attributes, inputs: inputs[0].permute(*attributes["perm"]),
    "Concat": lambda attributes, inputs: torch.cat(list(inputs), attributes["axis"]),
    "Split": _split,
    "Slice": _slice,
    "Identity": lambda _, inputs: inputs[0],
}

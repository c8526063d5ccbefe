"""Bias correction: rounded weights shift the mean of what a layer answers, which its bias takes back.

Empirical, after Nagel et al. 2019 (arXiv:1906.04721, section 4.2 and appendix D): layer by layer, each behind those that are corrected already,
so that it also takes back what ranges cut off before it, and nothing twice. onnxsim 0.8.1 has it for all layers at once, as nodes of its own:
see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._graph import constant
from edgecnn.build.quantize._heavy import HeavyLayer, outputs_of, replace_constant
from edgecnn.build.quantize._runs import outputs, up_to

_INT32 = np.iinfo(np.int32)


def means(proto: ModelProto, nodes: Sequence[NodeProto], calibration: Calibration, *, optimize: bool) -> list[NDArray[np.float64]]:
    """What each Conv or Gemm answers on average, over all images and places: float64 (channels,) each.

    optimize: for a graph of integers, which then runs as on a device.
    """
    if not nodes:
        return []
    part = up_to(proto, [node.output[0] for node in nodes])
    for node, value in zip(nodes, part.graph.output, strict=True):
        if node.op_type == "Conv":
            value.name = f"{node.output[0]}/mean"
            part.graph.node.append(helper.make_node("GlobalAveragePool", [node.output[0]], [value.name], name=value.name))
    totals, counts = [np.zeros(())] * len(nodes), np.zeros(len(nodes))
    for found in outputs(part, calibration, optimize=optimize):
        rows = [answers.reshape(*answers.shape[:2]) for answers in found]
        totals = [total + row.sum(axis=0, dtype=np.float64) for total, row in zip(totals, rows, strict=True)]
        counts += [len(row) for row in rows]
    return [total / count for total, count in zip(totals, counts, strict=True)]


def correctable(proto: ModelProto, layer: HeavyLayer) -> bool:
    """Whether the layer has a bias with a value for each channel, not too small to tell."""
    scale = layer.bias_scale
    if scale is None or not (scale > 0).all():
        return False
    channels = outputs_of(layer.node, constant(proto, layer.weights).shape)
    return bool(constant(proto, layer.bias).shape == (channels,) and scale.size in (1, channels))


def correct_bias(proto: ModelProto, layer: HeavyLayer, wanted: NDArray[np.float64], calibration: Calibration) -> None:
    """Change the bias of a layer of the QDQ graph `proto`, in place, so that its answers' means are those `wanted`, (channels,), to within a
    bias step."""
    assert layer.bias_scale is not None
    (found,) = means(proto, [layer.node], calibration, optimize=True)
    steps = constant(proto, layer.bias).astype(np.float64) + np.rint((wanted - found) / layer.bias_scale)
    replace_constant(proto, layer.bias, np.clip(steps, _INT32.min, _INT32.max))

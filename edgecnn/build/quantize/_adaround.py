"""Adaptive rounding: each weight up or down as keeps the layer's answers best, not as is nearest.

The loss is that of AdaRound (Nagel et al. 2020, arXiv:2004.10568, equation 13): the squared error of a layer's answers over calibration images,
which for a row w of weights, rounded to q, is (q - w) H (q - w) with H the second moments of the layer's inputs. The inputs are those of the
quantized graph, whose layers before are rounded already. It is minimised in two steps that need no gradients: value by value, each error made
up for by the values that are left (OBQ in the order of GPTQ, Frantar et al., arXiv:2210.17323), then by moving single values while that helps.
AdaRound's own relaxation with Adam ends in a greater loss, after many times as long: see CONTRIBUTING.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._graph import attribute
from edgecnn.build.quantize._heavy import HeavyLayer, outputs_of, replace_constant
from edgecnn.build.quantize._patches import moments

_Array = NDArray[np.float64]

DAMPING = 0.01
"""Of the mean second moment, added to each: what images don't tell stays near what is nearest."""

_BLOCK, _SWEEPS = 64, 20


def round_weights(proto: ModelProto, layer: HeavyLayer, wanted: NDArray[np.float32], calibration: Calibration, *, limit: int, centred: bool) -> None:
    """Round the weights of a layer of the QDQ graph `proto` anew, in place. wanted: in float, as the graph of floats has them.

    limit: the largest integer; centred: whether the bias makes up for a shift of the mean, so that it doesn't count.
    """
    node = layer.node
    transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
    if wanted.ndim < 2 or (node.op_type != "Conv" and wanted.ndim != 2) or attribute(node, "transA", 0):
        return
    rows = (wanted.T if transposed else wanted).reshape(outputs_of(node, wanted.shape), -1).astype(np.float64)
    groups = attribute(node, "group", 1) if node.op_type == "Conv" else 1
    found = moments(proto, node, wanted.shape[2:], calibration)
    scale = np.broadcast_to(layer.scale.reshape(-1), len(rows)).reshape(groups, -1, 1)
    integers = solve(rows.reshape(groups, -1, rows.shape[1]), scale, found.covariance if centred else found.second, limit=limit)
    shaped = integers.reshape(rows.shape)
    replace_constant(proto, layer.weights, shaped.T if transposed else shaped.reshape(wanted.shape))


def solve(weights: _Array, scale: _Array, second: _Array, *, limit: int) -> _Array:
    """Integers q within `limit` and one of the nearest, so that the loss of q * scale is small, and never greater than the nearest's.

    weights: (groups, rows, values); scale: (groups, rows, 1); second: (groups, values, values), symmetric, without negative eigenvalues.
    """
    nearest = np.clip(np.rint(weights / scale), -limit, limit)
    size = np.trace(second, axis1=1, axis2=2)[:, np.newaxis, np.newaxis] / second.shape[1]
    damped = second / np.where(size > 0, size, 1.0) + DAMPING * np.eye(second.shape[1])
    bounds = np.maximum(nearest - 1, -limit), np.minimum(nearest + 1, limit)
    found = _descend(_compensate(weights, scale, damped, bounds), weights, scale, damped, bounds)
    better = _loss(found, weights, scale, damped) < _loss(nearest, weights, scale, damped)
    return np.where(better[..., np.newaxis], found, nearest)


def _loss(integers: _Array, weights: _Array, scale: _Array, second: _Array) -> _Array:
    """Of each row."""
    error = integers * scale - weights
    loss: _Array = ((error @ second) * error).sum(axis=2)
    return loss


def _compensate(weights: _Array, scale: _Array, second: _Array, bounds: tuple[_Array, _Array]) -> _Array:
    """Value by value, the strongest inputs first: what one is rounded off by, those behind it are told to make up for."""
    order = np.argsort(-np.diagonal(second, axis1=1, axis2=2), axis=1, kind="stable")
    by_row, inverse = order[:, np.newaxis, :], np.argsort(order, axis=1)[:, np.newaxis, :]
    rest = np.take_along_axis(weights, by_row, axis=2)
    low, high = (np.take_along_axis(bound, by_row, axis=2) for bound in bounds)
    moved = np.take_along_axis(np.take_along_axis(second, order[:, :, np.newaxis], axis=1), by_row, axis=2)
    upper = np.linalg.cholesky(np.linalg.inv(moved)).transpose(0, 2, 1)
    integers = np.empty_like(rest)
    for start in range(0, rest.shape[2], _BLOCK):
        block = range(start, min(start + _BLOCK, rest.shape[2]))
        errors = np.empty((*rest.shape[:2], len(block)))
        for place, k in enumerate(block):
            integers[..., k] = np.clip(np.rint(rest[..., k] / scale[..., 0]), low[..., k], high[..., k])
            errors[..., place] = (rest[..., k] - integers[..., k] * scale[..., 0]) / upper[:, k, k, np.newaxis]
            rest[..., k : block.stop] -= errors[..., place, np.newaxis] * upper[:, np.newaxis, k, k : block.stop]
        rest[..., block.stop :] -= errors @ upper[:, start : block.stop, block.stop :]
    return np.take_along_axis(integers, inverse, axis=2)


def _descend(integers: _Array, weights: _Array, scale: _Array, second: _Array, bounds: tuple[_Array, _Array]) -> _Array:
    """Move one value of each row at a time to where the loss is least, until none moves."""
    found = integers.copy()
    gradient = (found * scale - weights) @ second
    curvature = np.diagonal(second, axis1=1, axis2=2)[:, np.newaxis, :]
    for _ in range(_SWEEPS):
        moved = False
        for start in range(0, found.shape[2], _BLOCK):
            block = slice(start, start + _BLOCK)
            local, inner = gradient[..., block].copy(), second[:, block, block]
            before = found[..., block].copy()
            for k in range(start, start + local.shape[2]):
                slope, bend = local[..., k - start], curvature[..., k] * scale[..., 0]
                target = np.clip(found[..., k] - np.rint(slope / bend), bounds[0][..., k], bounds[1][..., k])
                step = (target - found[..., k]) * scale[..., 0]
                target = np.where(step * (2 * slope + step * curvature[..., k]) < 0, target, found[..., k])
                local += ((target - found[..., k]) * scale[..., 0])[..., np.newaxis] * inner[:, np.newaxis, k - start, :]
                found[..., k] = target
            change = (found[..., block] - before) * scale
            if change.any():
                moved = True
                gradient += change @ second[:, block, :]
        if not moved:
            break
    return found

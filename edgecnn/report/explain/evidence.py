"""What a decision rested on: class-activation maps where the network's end allows them, else what covering parts of the image does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.classify import scores
from edgecnn.device.image import normalize
from edgecnn.report.explain.network import Network
from edgecnn.report.explain.stages import Stage
from edgecnn.report.formulas import Array

Logits = Callable[[NDArray[Any]], NDArray[np.float32]]

_STEPS = 14
"""Places of the patch along each side, but for the first: 15 x 15 runs of the network."""
_SHARE = 4
"""The patch has a quarter of each side."""
_TOGETHER = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Heat:
    """For one label, over the input's pixels: float32 (height, width), positive where it speaks for the label.

    score, logit: the label's, of the whole image; cells: the map as it was computed, coarser; offset: the bias, which with the mean of a
    class-activation map is the logit; lowest, at: of an occlusion, the score with the patch where it hurts most, and the patch's rows and columns,
    ends not included.
    """

    label: int
    score: float
    logit: float
    pixels: NDArray[np.float32]
    cells: NDArray[np.float64]
    offset: float = 0.0
    lowest: float | None = None
    at: tuple[tuple[int, int], tuple[int, int]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """patch: an occlusion's (height, width); fill: the grey that it covers with, a pixel value for each channel, None where the input was ready."""

    kind: Literal["cam", "occlusion"]
    heats: tuple[Heat, ...]
    patch: tuple[int, int] | None = None
    fill: tuple[int, ...] | None = None


def evidence(
    network: Network, stages: Sequence[Stage], values: Mapping[str, Array], logits: Logits, x: NDArray[Any], spec: ModelSpec, labels: Sequence[int]
) -> Evidence:
    """For these labels of the input x (1, channels, height, width), whose trace is `values`. logits: the artifact's answers."""
    end = pooled_end(network, stages)
    if end is not None:
        answers = logits(x)
        score = scores(answers, spec)[0]
        size = (x.shape[2], x.shape[3])
        heats = [_cam(*end, values, size, label, score=float(score[label]), logit=float(answers[0, label])) for label in labels]
        return Evidence(kind="cam", heats=tuple(heats))
    return occlusion(logits, x, spec, labels)


def pooled_end(network: Network, stages: Sequence[Stage]) -> tuple[Stage, Stage] | None:
    """(global average pooling, the linear layer behind it) where the network ends in these two and nothing else counts between or after them."""
    makers = {stage.shown: stage for stage in stages}
    last = stages[-1]
    if last.role != "linear" or last.shown != network.output or last.weight is None:
        return None
    stage = makers.get(last.sources[0])
    while stage is not None and (stage.role in ("flatten", "rounding") or stage.operator in ("Identity", "Dropout")):
        stage = makers.get(stage.sources[0])
    return (stage, last) if stage is not None and stage.role == "gap" else None


def _cam(pool: Stage, linear: Stage, values: Mapping[str, Array], size: tuple[int, int], label: int, *, score: float, logit: float) -> Heat:
    """M(x, y) = sum over the maps k of w[label, k] f_k(x, y); the logit is the mean of M and the bias.

    Zhou et al. (2016), "Learning Deep Features for Discriminative Localization", CVPR, arXiv:1512.04150.
    """
    assert linear.weight is not None
    assert linear.node is not None
    features = values[pool.sources[0]][0].astype(np.float64)
    weight = values[linear.weight].astype(np.float64) * float(linear.node.attributes.get("alpha", 1.0))
    row = weight[label] if linear.node.attributes.get("transB", 0) else weight[:, label]
    cells = np.tensordot(row, features, axes=1)
    bias = values[linear.bias].reshape(-1) if linear.bias else np.zeros(1)
    offset = float(linear.node.attributes.get("beta", 1.0)) * float(bias[label if bias.size > 1 else 0])
    middles = [(np.arange(count) + 0.5) * side / count for count, side in zip(cells.shape, size, strict=True)]
    return Heat(label=label, score=score, logit=logit, pixels=spread(cells, middles[0], middles[1], size), cells=cells, offset=offset)


def occlusion(logits: Logits, x: NDArray[Any], spec: ModelSpec, labels: Sequence[int]) -> Evidence:
    """How far each label's score falls when a grey patch covers the image there.

    Zeiler and Fergus (2014), "Visualizing and Understanding Convolutional Networks", ECCV, arXiv:1311.2901, section 4.2. The patch has a quarter
    of each side, is cut off at the borders, and is as grey as the images' mean (0 after normalization).
    """
    pre = spec.preprocess
    size = (x.shape[2], x.shape[3])
    patch = tuple(max(1, -(-side // _SHARE)) for side in size)
    grey = np.clip(np.rint(np.array(pre.image_mean) / pre.rescale_factor), 0, 255).astype(np.uint8)
    fill = normalize(grey.reshape(1, 1, -1), pre)[:, 0, 0].astype(x.dtype)
    centres = [np.unique(np.rint(np.linspace(0, side, min(side, _STEPS) + 1)).astype(int)) for side in size]
    places = [(_span(row, patch[0], size[0]), _span(column, patch[1], size[1])) for row in centres[0] for column in centres[1]]
    answers = logits(x)
    whole = scores(answers, spec)[0]
    covered = np.empty((len(places), len(whole)))
    for start in range(0, len(places), _TOGETHER):
        some = places[start : start + _TOGETHER]
        batch = np.repeat(x, len(some), axis=0)
        for image, (rows, columns) in zip(batch, some, strict=True):
            image[:, slice(*rows), slice(*columns)] = fill[:, None, None]
        covered[start : start + len(some)] = scores(logits(batch), spec)
    heats = []
    for label in labels:
        fallen = (whole[label] - covered[:, label]).reshape(len(centres[0]), len(centres[1]))
        worst = int(np.argmin(covered[:, label]))
        heats.append(
            Heat(
                label=label,
                score=float(whole[label]),
                logit=float(answers[0, label]),
                pixels=spread(fallen, centres[0].astype(float), centres[1].astype(float), size),
                cells=fallen,
                lowest=float(covered[worst, label]),
                at=places[worst],
            )
        )
    return Evidence(kind="occlusion", heats=tuple(heats), patch=(patch[0], patch[1]), fill=tuple(map(int, grey)))


def _span(centre: int, side: int, size: int) -> tuple[int, int]:
    start = int(centre) - side // 2
    return max(0, start), max(1, min(size, start + side)) if start < size else size


def spread(cells: Array, rows: Array, columns: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Values known at some rows and columns (pixels' middles count half a pixel more) for every pixel: bilinear, level beyond the outermost."""
    ys, xs = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    across = np.stack([np.interp(xs, columns, row) for row in cells])
    return np.stack([np.interp(ys, rows, column) for column in across.T], axis=1).astype(np.float32)

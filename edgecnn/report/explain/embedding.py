"""Which of a trace's numbers a page carries for its script, stage by stage, and what the script computes from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import Preprocess
from edgecnn.report.explain.network import Network, Node
from edgecnn.report.explain.numbers import Json, Numbers, cube, packed
from edgecnn.report.explain.stages import Rounding, Stage, slides
from edgecnn.report.explain.words import clip_ends
from edgecnn.report.formulas import Array
from edgecnn.report.formulas.windows import windows

_EXACT = frozenset({"relu", "clip", "maxpool", "add", "mul", "flatten", "rounding"})
"""Roles that a script computes again to the bit."""

Named = tuple[str, Json]


class Embedder:
    """Embeds one model's trace of one image.

    image, model: what tells its tensors from those of other images, and its constants from another model's.
    """

    def __init__(self, network: Network, values: Mapping[str, Array], numbers: Numbers, *, image: str, model: str) -> None:
        self.network, self.values, self.numbers = network, values, numbers
        self.image, self.model = image, model
        self.makers = {name: node for node in network.nodes for name in node.outputs}
        self.there: dict[str, str] = {}
        """Tensors that the script can read, and what they are called there."""
        self.heavy: set[str] = set()
        """Those of them of which each number is a sum that the script has to compute."""

    def input(self, stage: Stage, pixels: NDArray[np.uint8] | None, pre: Preprocess) -> Json:
        """The graph's input: as pixels, uint8 (height, width, channels), where there are any, which the script normalizes; else as it is."""
        name, x = self._name(stage.shown), self.values[stage.shown]
        found: Json = {"kind": "input", "y": name, "shape": list(x.shape[1:])}
        if pixels is None or x.dtype not in (np.float32, np.uint8):
            tensor = packed(x[0])
        else:
            tensor = packed(np.moveaxis(pixels, -1, 0))
            if pre.normalized_by is None:
                tensor["pixel"] = {"factor": pre.rescale_factor, "mean": list(pre.image_mean), "std": list(pre.image_std)}
        if not self.numbers.fits((name, tensor)):
            return {**found, "kind": "none"}
        self.there[stage.shown] = name
        return found

    def stage(self, index: int, stage: Stage, channels: tuple[int, ...]) -> Json:
        """What the script needs to show where each number of the stage comes from: all numbers, or where they don't fit those of a few places.

        index: the stage's, which derived tensors name; channels: those that a reader sees, the strongest first.
        """
        y = cube(self.values[stage.shown])
        if y is None:
            return {"kind": "none", "shape": []}
        name = self._name(stage.shown)
        found: Json = {"kind": stage.role, "shape": list(y.shape), "y": name, **self._facts(stage)}
        parts = self._parts(stage)
        if parts is not None and self._fits(index, stage, name, list(parts.values())):
            self.there[stage.shown] = name
            named = {part: tensor for part, (tensor, _) in parts.items()}
            return {**found, **named, "x": [self.there.get(source) or named[source] for source in stage.sources]}
        points = self._points(stage, channels)
        if points:
            return {**found, "points": points}
        if self.numbers.fits((name, self._activation(stage.shown))):
            self.there[stage.shown] = name
            return {**found, "kind": "value"}
        return {**found, "kind": "none"}

    def _fits(self, index: int, stage: Stage, name: str, parts: list[Named]) -> bool:
        """Embed what the stage needs and, unless the script gets them itself, its numbers."""
        derived, heavy = self._derived(stage), bool(self.heavy.intersection(stage.sources))
        own = (name, self._activation(stage.shown))
        if (not derived or heavy) and self.numbers.fits(own, *parts):
            return True
        # sums of products whose result has no room can be computed, one by one, from the numbers before them
        if not (derived or (stage.role == "conv" and stage.rounding is None and not heavy)) or not self.numbers.fits(*parts):
            return False
        self.numbers.tensors[name] = {"shape": own[1]["shape"], "stage": index}
        if heavy or not derived:
            self.heavy.add(stage.shown)
        return True

    def _name(self, tensor: str) -> str:
        return f"{self.image}/{tensor}"

    def _facts(self, stage: Stage) -> Json:
        """Attributes that formulas need."""
        found: Json = {}
        slide = slides(stage, self.values)
        if slide is not None:
            found.update(kernel=slide.kernel, strides=slide.strides, dilations=slide.dilations, heads=slide.heads, tails=slide.tails)
            found["image"] = list(self.values[stage.sources[0]].shape[1:])
        if stage.rounding is not None:
            found["rounding"] = _json(stage.rounding)
        if stage.node is None:
            return found
        attributes = stage.node.attributes
        if stage.role == "conv":
            found.update(groups=int(attributes.get("group", 1)), integers=self._integers(stage))
        elif stage.role == "linear":
            gemm = stage.operator == "Gemm"
            found.update(alpha=float(attributes.get("alpha", 1.0)), beta=float(attributes.get("beta", 1.0)))
            found.update(across=bool(gemm and attributes.get("transB", 0)), integers=self._integers(stage))
        elif stage.role == "avgpool":
            found["padded"] = bool(attributes.get("count_include_pad", 0))
        elif stage.role == "clip":
            found["ends"] = [end if math.isfinite(end) else None for end in clip_ends(stage, self.values)]
        elif stage.role == "batchnorm":
            found["epsilon"] = float(attributes.get("epsilon", 1e-5))
        elif stage.role == "dequantize":
            scale, zero = self._scale(stage.node)
            found.update(scales=scale, zeros=zero)
        return found

    def _integers(self, stage: Stage) -> Json | None:
        """The scale by which a quantized layer's inputs are integers, and their zero point; the weights' scales are with the weights."""
        source, weight = self.makers.get(stage.sources[0]), self.makers.get(stage.weight or "")
        if source is None or weight is None or not source.operator == weight.operator == "DequantizeLinear":
            return None
        scales, zeros = self._scale(source)
        return {"x": scales[0], "zero": zeros[0]} if len(scales) == 1 else None

    def _scale(self, node: Node) -> tuple[list[float], list[int]]:
        zero = self.values[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, dtype=np.int64)
        return [float(value) for value in self.values[node.inputs[1]].reshape(-1)], [int(value) for value in zero.reshape(-1)]

    def _computable(self, stage: Stage) -> bool:
        """Whether the script has a formula for the stage, with as many axes as it has."""
        rank = self.values[stage.raw].ndim
        if stage.role in ("conv", "linear"):
            return stage.weight is not None and rank == (4 if stage.role == "conv" else 2)
        if stage.role in ("maxpool", "avgpool"):
            return slides(stage, self.values) is not None
        return stage.role != "other" and (stage.role != "softmax" or rank == 2)

    def _parts(self, stage: Stage) -> dict[str, Named] | None:
        """Constants that the stage's formula needs, by what the script calls them; None where it can't be computed from what is there."""
        if not self._computable(stage):
            return None
        parts: dict[str, Named] = {}
        rank = self.values[stage.raw].ndim
        if stage.role in ("conv", "linear", "gap") and self.heavy.intersection(stage.sources):
            return None
        for source in stage.sources:
            if source in self.there:
                continue
            array = cube(self.values[source], rank) if source in self.network.constants and stage.role in ("add", "mul") else None
            if array is None:
                return None
            parts[source] = (f"{self.model}/{source}/{rank}", packed(array))
        learnt = {"w": stage.weight, "b": stage.bias}
        if stage.role == "batchnorm" and stage.node is not None:
            learnt.update(zip(("scale", "bias", "mean", "variance"), stage.node.inputs[1:], strict=False))
        parts.update((part, (f"{self.model}/{name}", self._constant(name))) for part, name in learnt.items() if name)
        return parts

    def _derived(self, stage: Stage) -> bool:
        """Whether the script needn't have the stage's numbers: it gets them right to the bit, or they are seen nowhere but in the rounding behind."""
        values = self.values
        if stage.role == "rounding":  # of a sum whose last bit may be another in the script a rounding may be another, too
            source = self.there.get(stage.raw)
            return source is not None and "stage" not in self.numbers.tensors[source]
        if stage.role == "dequantize":
            return values[stage.raw] is values[stage.shown]
        if stage.role in _EXACT:
            floats = all(values[name].dtype == np.float32 for name in (*stage.sources, stage.shown))
            return floats and np.array_equal(values[stage.raw], values[stage.shown])
        readers = [node.operator for node in self.network.nodes if stage.raw in node.inputs]
        return stage.role in ("conv", "linear") and stage.shown == stage.raw and readers == ["QuantizeLinear"]

    def _activation(self, name: str) -> Json:
        """One input's numbers, as integers where one scale makes them real."""
        node = self.makers.get(name)
        if node is not None and node.operator == "DequantizeLinear" and self.values[node.inputs[1]].size == 1:
            scale, zero = self._scale(node)
            return _packed_cube(self.values[node.inputs[0]], scale=scale, zero=zero)
        return _packed_cube(self.values[name])

    def _constant(self, name: str) -> Json:
        node = self.makers.get(name)
        if node is None or node.operator != "DequantizeLinear":
            return packed(self.values[name])
        scale, zero = self._scale(node)
        array = self.values[node.inputs[0]]
        return packed(array, scale=scale, zero=zero, axis=int(node.attributes.get("axis", 1)) % max(1, array.ndim))

    def _points(self, stage: Stage, channels: tuple[int, ...]) -> list[Json]:
        """The numbers behind the strongest pixel of as many channels as there is room for; the first may take four times as much."""
        found: list[Json] = []
        spent = 0
        for channel in channels:
            point = self._point(stage, channel)
            if point is None:
                break
            cost = sum(len(point[part]["data"]) * 3 // 4 for part in ("x", "w"))
            if spent + cost > (self.numbers.points if found else 4 * self.numbers.points):
                break
            spent += cost
            found.append(point)
        return found

    def _point(self, stage: Stage, channel: int) -> Json | None:
        """What the sum of a channel's strongest pixel is made of; None for what is no sum of products."""
        raw, shown = cube(self.values[stage.raw]), cube(self.values[stage.shown])
        if stage.weight is None or stage.node is None or raw is None or shown is None:
            return None
        row, column = (int(place) for place in np.unravel_index(int(np.argmax(np.nan_to_num(raw[channel]))), raw[channel].shape))
        x, weight = self.values[stage.sources[0]], self.values[stage.weight]
        if stage.role == "linear" and x.ndim == 2:
            across = stage.operator == "Gemm" and bool(stage.node.attributes.get("transB", 0))
            window, kernel = x[0], weight[channel] if across else weight[:, channel]
            window, kernel = window[:, None, None], kernel[:, None, None]
        else:
            slide = slides(stage, self.values)
            if slide is None:
                return None
            inner = weight.shape[1]
            first = channel // (len(weight) // int(stage.node.attributes.get("group", 1))) * inner
            window, kernel = windows(x[:1, first : first + inner], slide, 0)[0, :, row, column], weight[channel]
        bias = self.values[stage.bias].reshape(-1) if stage.bias else np.zeros(1)
        maker = self.makers.get(stage.weight)
        steps = self._scale(maker)[0] if maker is not None and maker.operator == "DequantizeLinear" else [1.0]
        return {
            "at": [channel, row, column],
            "x": packed(window),
            "w": packed(kernel),
            "step": steps[channel if len(steps) > 1 else 0],
            "b": float(bias[channel if bias.size > 1 else 0]),
            "y": float(shown[channel, row, column]),
        }


def _packed_cube(array: Array, *, scale: list[float] | None = None, zero: list[int] | None = None) -> Json:
    found = cube(array)
    assert found is not None
    return packed(found, scale=scale, zero=zero)


def _json(rounding: Rounding) -> Json:
    return {"scale": rounding.scale, "zero": rounding.zero_point, "low": rounding.low, "high": rounding.high, "dtype": rounding.dtype}

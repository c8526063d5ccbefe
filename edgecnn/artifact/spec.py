"""What a model is: its task, labels, tensors and the exact way from an image to its input, in frozen records."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal["single-label", "multi-label"]
ResizeMode = Literal["stretch", "shortest-edge", "letterbox"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Channels = Literal["RGB", "BGR", "L"]
Activation = Literal["softmax", "sigmoid"]
DType = Literal["float32", "float16", "uint8", "int8"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,3}([a-z0-9.+-]{0,32})")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """A tensor at the model's edge.

    `shape` holds a whole number for each axis, or a name for an axis that the caller chooses: only "batch", only first.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        _require(bool(self.name), "a tensor needs a name")
        for axis, size in enumerate(self.shape):
            if isinstance(size, str):
                _require(axis == 0 and size == "batch", f"axis {axis} of {self.name} is {size!r}: only the first may be open, as 'batch'")
            else:
                _require(size > 0, f"axis {axis} of {self.name} is {size}: sizes are positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """From a decoded image to the network's input; the names are those of the field's image processors.

    1. convert to `channels` (EXIF rotation applied; transparency laid over black);
    2. resize to `size` = (height, width) by `resize_mode`: "stretch" ignores the aspect ratio, "shortest-edge" covers
       `size` and keeps the ratio, "letterbox" fits inside it and pads with zeros;
    3. take the central `crop_size` = (height, width), where given ("shortest-edge" without it crops to `size`);
    4. x = (pixel * rescale_factor - image_mean) / image_std, per channel, in float32; layout channels first.

    With normalized_by = "graph" the model's input is what step 3 gives, uint8 with channels first, and the graph itself does step 4.
    `interpolation` is Pillow's filter; `antialias` widens it when shrinking, as Pillow does and many devices don't.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode = "stretch"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_size: tuple[int, int] | None = None
    channels: Channels = "RGB"
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    image_std: tuple[float, ...] = (1.0, 1.0, 1.0)
    normalized_by: Literal["graph"] | None = None

    def __post_init__(self) -> None:
        _require(all(0 < side <= 8192 for side in self.size), f"size {self.size} must be between 1 and 8192 pixels")
        if self.crop_size is not None:
            fits = all(0 < crop <= side for crop, side in zip(self.crop_size, self.size, strict=True))
            _require(fits, f"crop_size {self.crop_size} doesn't fit into size {self.size}")
        for name, values in (("image_mean", self.image_mean), ("image_std", self.image_std)):
            _require(len(values) == self.depth, f"{name} has {len(values)} values, {self.channels} has {self.depth} channels")
            _require(all(math.isfinite(value) for value in values), f"{name} must be finite")
        _require(all(value > 0 for value in self.image_std), "image_std must be positive")
        _require(
            self.antialias or self.interpolation in ("nearest", "bilinear", "bicubic"),
            f"{self.interpolation} always antialiases; take nearest, bilinear or bicubic where antialias is false",
        )
        _require(math.isfinite(self.rescale_factor) and self.rescale_factor > 0, "rescale_factor must be positive")

    @property
    def depth(self) -> int:
        """Channels of the network's input."""
        return 1 if self.channels == "L" else 3

    @property
    def dtype(self) -> Literal["float32", "uint8"]:
        """What `device.image.normalize` makes, before a float16 model's input is rounded."""
        return "uint8" if self.normalized_by == "graph" else "float32"

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) that the network sees."""
        return self.crop_size or self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Postprocess:
    """From logits to scores. softmax makes labels compete for one winner; sigmoid scores each on its own.

    `thresholds`, one for each label, say from which score on a label of a multi-label model holds.
    """

    activation: Activation
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.thresholds is not None:
            _require(all(0 < t < 1 for t in self.thresholds), "thresholds must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A classifier, seen from outside. `sequence` orders releases: a device takes only a higher one."""

    name: str
    version: str = "1.0.0"
    sequence: int = 0
    task: Task
    labels: tuple[str, ...]
    input: TensorSpec
    output: TensorSpec
    preprocess: Preprocess
    postprocess: Postprocess

    def __post_init__(self) -> None:
        _require(bool(NAME.fullmatch(self.name)), f"name {self.name!r} must be lower-case letters, digits, '.', '_' or '-', 64 at most")
        _require(bool(VERSION.fullmatch(self.version)), f"version {self.version!r} must be like 1.2.0")
        _require(self.sequence >= 0, "sequence must not be negative")
        self._check_labels()
        self._check_shapes()
        self._check_postprocess()

    def _check_labels(self) -> None:
        _require(len(self.labels) > 0, "there must be at least one label")
        _require(len(set(self.labels)) == len(self.labels), "labels must differ from each other")
        bad = next((label for label in self.labels if not label.strip() or not label.isprintable() or len(label) > 200), None)
        _require(bad is None, f"label {bad!r} must be printable, not empty and at most 200 characters")

    def _check_shapes(self) -> None:
        outputs = self.output.shape[-1] if len(self.output.shape) == 2 else None
        _require(outputs == len(self.labels), f"{len(self.labels)} labels don't match an output of shape {list(self.output.shape)}")
        wanted = (self.preprocess.depth, *self.preprocess.input_size)
        _require(self.input.shape[1:] == wanted, f"an input of shape {list(self.input.shape)} doesn't match preprocess, which makes {list(wanted)}")
        _require(self.input.shape[0] == self.output.shape[0], "input and output must have the same batch")
        pixels = self.preprocess.normalized_by == "graph"
        _require(
            (self.input.dtype == "uint8") == pixels, f"an input of {self.input.dtype} doesn't match preprocess, which makes {self.preprocess.dtype}"
        )

    def _check_postprocess(self) -> None:
        wanted = "softmax" if self.task == "single-label" else "sigmoid"
        _require(self.postprocess.activation == wanted, f"a {self.task} model needs {wanted}, not {self.postprocess.activation}")
        thresholds = self.postprocess.thresholds
        if self.task == "single-label":
            _require(thresholds is None, "thresholds belong to multi-label models")
        else:
            found = len(thresholds or ())
            _require(found == len(self.labels), f"{found} thresholds don't match {len(self.labels)} labels")

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where the caller chooses."""
        first = self.input.shape[0]
        return first if isinstance(first, int) else None


def make_spec(
    *,
    name: str,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    task: Task = "single-label",
    version: str = "1.0.0",
    sequence: int = 0,
    batch: int | str = 1,
    thresholds: tuple[float, ...] | None = None,
) -> ModelSpec:
    """The usual ModelSpec: input "input" (batch, channels, height, width), output "logits" (batch, labels), both float32.

    The input is uint8 where the graph normalizes.
    """
    if task == "multi-label" and thresholds is None:
        thresholds = (0.5,) * len(labels)
    return ModelSpec(
        name=name,
        version=version,
        sequence=sequence,
        task=task,
        labels=labels,
        input=TensorSpec(name="input", dtype=preprocess.dtype, shape=(batch, preprocess.depth, *preprocess.input_size)),
        output=TensorSpec(name="logits", dtype="float32", shape=(batch, len(labels))),
        preprocess=preprocess,
        postprocess=Postprocess(activation="softmax" if task == "single-label" else "sigmoid", thresholds=thresholds),
    )


INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
RESIZE_MODES: tuple[str, ...] = get_args(ResizeMode)
CHANNELS: tuple[str, ...] = get_args(Channels)

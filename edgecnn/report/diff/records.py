"""What was found to differ between two models, in plain values that JSON, text and pages are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgecnn.device.bench.report import BenchReport
from edgecnn.device.statistics import PairedDifference, mcnemar

COUNTED = ("preprocess", "labels", "task", "graph", "weights", "scales", "answers")
"""The sections by which two models differ in what matters, in the order in which they do. What the others say changes no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something that has one value in a and another in b; None where it has none. The values are those that JSON knows."""

    what: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A label and its place, counted from 0; None where it isn't there."""

    label: str
    a: int | None
    b: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelChanges:
    """renamed: (place, in a, in b) of labels that stand where another one stood; moved: the fewest whose moving makes the order that of b."""

    count_a: int
    count_b: int
    added: tuple[Placed, ...] = ()
    removed: tuple[Placed, ...] = ()
    renamed: tuple[tuple[int, str, str], ...] = ()
    moved: tuple[Placed, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.moved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer that only one side has. absorbed: a clamp (ReLU, Clip) whose work the other side's quantized range does."""

    name: str
    operator: str
    absorbed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerChange:
    """A layer of both sides. changes: of its attributes, settings and operator, and "input N" where it reads something else."""

    a: str
    b: str
    operator: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphChanges:
    """stated: opset, IR version, inputs, outputs, and what can't be compared; replaced: layers that stand where one of another operator stood.

    matched: layers of both sides, renamed: how many of them have another name; layers_a, layers_b: how many there are. same_bytes: it is one file.
    """

    stated: tuple[Change, ...] = ()
    removed: tuple[Layer, ...] = ()
    added: tuple[Layer, ...] = ()
    changed: tuple[LayerChange, ...] = ()
    matched: int
    renamed: int
    layers_a: int
    layers_b: int
    same_bytes: bool

    def __bool__(self) -> bool:
        return bool(self.stated or self.removed or self.added or self.changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightChange:
    """A learnt tensor of a layer that both sides have. tensor: "weight", "bias", ...; stored_a, stored_b: dtype and scales, in words.

    relative: ||a - b|| / ||a|| of the values that the layer computes with (dequantized), None where the shapes differ, a is nothing but zeros, or
    it is no number; largest: of |a - b|; changed: elements that differ, of `elements`, None where they can't be compared.
    """

    layer: str
    tensor: str
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    stored_a: str
    stored_b: str
    relative: float | None = None
    largest: float | None = None
    changed: int | None = None
    elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightChanges:
    """rows: tensors that differ, the most first; compared: of how many that both sides have; equalized: of a and b, whether export multiplied its
    channels by factors that cancel out from one layer to the next."""

    rows: tuple[WeightChange, ...]
    compared: int
    equalized: tuple[bool, bool] = (False, False)

    def __bool__(self) -> bool:
        return bool(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleChange:
    """What a tensor between layers is rounded to: dtype, scale and zero point, dtype None where it stays in floats; scale None where it is
    measured anew for each input, or there are several. relative: |b's scale - a's| / a's, None where one has none."""

    tensor: str
    dtype_a: str | None
    dtype_b: str | None
    scale_a: float | None = None
    scale_b: float | None = None
    zero_a: int | None = None
    zero_b: int | None = None
    relative: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleChanges:
    """rows: tensors that differ, those rounded on one side only first, then the most; rounded_a, rounded_b: tensors that are rounded at all."""

    rows: tuple[ScaleChange, ...]
    rounded_a: int
    rounded_b: int

    def __bool__(self) -> bool:
        return bool(self.rows)


Verdict = Literal["lost", "won", "both wrong", "unlabelled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """An image that the sides decide otherwise: the labels that hold for each, best first, and the score of the first (none: the highest of all).

    verdict: "lost": a was right, "won": b is; truth: its labels, None where unknown; picture: a data URI, where pictures were asked for.
    """

    name: str
    verdict: Verdict
    truth: tuple[str, ...] | None
    a: tuple[str, ...]
    b: tuple[str, ...]
    score_a: float
    score_b: float
    picture: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Both sides' answers to the same images. agreeing: images decided alike; accuracy_a, accuracy_b: the shares decided right, with 95 %
    intervals, and `difference`, b less a in points: None where the images have no labels. largest: difference of logits, None where the labels
    aren't the same in the same order. kinds: of the images decided otherwise, how many; shown: some of them, "lost" first, then the surest.
    """

    data: str
    images: int
    agreeing: int
    right_a: int | None
    right_b: int | None
    interval_a: tuple[float, float] | None
    interval_b: tuple[float, float] | None
    difference: PairedDifference | None
    largest: float | None
    kinds: tuple[tuple[Verdict, int], ...]
    shown: tuple[Disagreement, ...]
    notes: tuple[str, ...] = ()

    @property
    def p_value(self) -> float | None:
        """McNemar's, exact."""
        return None if self.difference is None else mcnemar(self.difference)

    def __bool__(self) -> bool:
        return self.agreeing < self.images


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """One of the two files. name: as it was given; kind: "artifact" or "onnx"; bytes: the file's; model: name and version, where it states them."""

    file: str
    kind: Literal["artifact", "onnx"]
    bytes: int
    graph_sha256: str
    model: str | None
    quantization: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """All that was looked at. identical: the files are the same, byte for byte; preprocess, labels, task: None where a side doesn't state them.

    release: name, version and sequence; proof: limits and whether it was validated; size; latency: a's and b's, measured in turn.
    """

    a: Named
    b: Named
    identical: bool
    preprocess: tuple[Change, ...] | None
    labels: LabelChanges | None
    task: tuple[Change, ...] | None
    graph: GraphChanges
    weights: WeightChanges
    scales: ScaleChanges
    answers: Answers | None = None
    size: tuple[Change, ...]
    latency: tuple[BenchReport, BenchReport] | None = None
    release: tuple[Change, ...]
    proof: tuple[Change, ...]
    provenance: tuple[Change, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """The sections that count and in which something differs, the one that matters most first."""
        return tuple(name for name in COUNTED if getattr(self, name))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The sections that count and that weren't compared: a bare .onnx doesn't state them, or no images were given."""
        return tuple(name for name in COUNTED if getattr(self, name) is None)

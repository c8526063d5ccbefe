"""What blame found: a row a stage, a row a layer, and what may be done instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.device.differences import Differences

Made = Literal["rebuilt alike", "rebuilt otherwise", "rebuilt, nothing recorded", "taken from the file", "not rebuilt"]
"""How a stage's graph was come by: alike is byte for byte what the artifact's record says it was."""

FOREIGN_DB = 3.0
"""Of weights: noise as large as the signal isn't rounding."""

SATURATED = 0.01
FAR = 2.0
"""Values that reach so many times as far as the range are cut to half and less."""

UNUSED = 4.0
"""A range so many times as wide as the values: two bits are lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """One stage. what: what was run; limit: what it is held against, in words; made: None for a stage that makes no graph.

    against_previous: its answers and those of the stage before; against_source: and the source network's. For preprocessing both networks are
    the source, on images prepared as the artifact says and as the reference does. None where there is nothing to compare.
    failures: why it falls short, empty where it doesn't; advice: what to do, None where that is the fault of a stage before; judged: False where
    it couldn't be told, and `note` says why.
    """

    stage: str
    what: str
    limit: str
    made: Made | None = None
    graph_sha256: str | None = None
    recorded_sha256: str | None = None
    against_previous: Differences | None = None
    against_source: Differences | None = None
    failures: tuple[str, ...] = ()
    advice: str | None = None
    judged: bool = True
    note: str | None = None

    @property
    def passed(self) -> bool:
        return self.judged and not self.failures


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRow:
    """A quantized tensor. kind: weight, bias or activation; matched: whether the float graph has its like; without it only the file's facts
    are known.

    sqnr_db: of rounding and saturating this tensor alone, None where nothing changed; arriving_sqnr_db: of an activation as it comes in the
    quantized graph, with all errors before it; low, high: the float values on the images; range_low, range_high: what its integers can hold
    (of weights the widest channel's, of those that aren't all zero), None where nothing is rounded to integers; channels: how many scales it has;
    scale, zero_point: the least and the greatest; saturated: the share of the values beyond the range; channel_high: of an activation the largest
    absolute value of the middle one, by that, of its channels that aren't all zero, and of the loudest.
    """

    tensor: str
    kind: Literal["weight", "bias", "activation"]
    matched: bool
    sqnr_db: float | None = None
    arriving_sqnr_db: float | None = None
    low: float | None = None
    high: float | None = None
    range_low: float | None = None
    range_high: float | None = None
    channels: int = 0
    scale: tuple[float, float] | None = None
    zero_point: tuple[int, int] | None = None
    saturated: float | None = None
    channel_high: tuple[float, float] | None = None

    @property
    def foreign(self) -> bool:
        """Whether these are weights that no rounding of the reference's could give."""
        return self.kind == "weight" and self.sqnr_db is not None and self.sqnr_db < FOREIGN_DB

    @property
    def saturates(self) -> bool:
        """Whether a good part of an activation lies beyond its range, or a little of it far beyond."""
        if self.kind != "activation" or self.low is None or self.high is None or self.range_low is None or self.range_high is None:
            return False
        far = max(self.high, 0.0) > FAR * self.range_high or min(self.low, 0.0) < FAR * self.range_low
        return far or (self.saturated or 0.0) > SATURATED

    @property
    def unused(self) -> bool:
        """Whether an activation takes a small part of its range."""
        if self.kind != "activation" or self.low is None or self.high is None or self.range_low is None or self.range_high is None:
            return False
        return self.range_high - self.range_low > UNUSED * max(max(self.high, 0.0) - min(self.low, 0.0), 1e-30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """cause: what is wrong with a layer; cure: what to do about it; sure: whether finer rounding wouldn't cure it."""

    cause: str
    cure: str
    sure: bool = False

    def __str__(self) -> str:
        return f"{self.cause}: {self.cure}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """A quantized layer. sqnr_db: of the logits where it alone is quantized (weights: its weights alone, activations: its output alone), None
    where nothing changes or there is no such part; readers: the layers that take its output; advice: where it stands out."""

    layer: str
    operator: str
    sqnr_db: float | None
    weights_sqnr_db: float | None
    activations_sqnr_db: float | None
    tensors: tuple[TensorRow, ...]
    readers: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cure:
    """What the artifact may be exported with instead. config: as --config takes it, "" for the artifact as it is; found: its answers against the
    source network's, on the images of the layers, None where it wasn't tried; costs: whether it is bought with speed; enough: whether these
    answers are within the limits."""

    config: str
    found: Differences | None = None
    costs: bool = False
    enough: bool = False


def decibels_text(value: float | None) -> str:
    """An SQNR for people; None is that of no noise at all."""
    return "no noise" if value is None else f"{value:.1f} dB"


def number_text(value: float) -> str:
    """Three digits for people, without an exponent where it isn't needed."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"

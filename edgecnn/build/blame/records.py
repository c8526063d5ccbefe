"""What blame found: a row a stage, a row a layer, and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.device.differences import Differences

Made = Literal["rebuilt alike", "rebuilt otherwise", "rebuilt, nothing recorded", "taken from the file", "not rebuilt"]
"""How a stage's graph was come by: alike is byte for byte what the artifact's record says it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """One stage. what: what was run; limit: what it is held against, in words; made: None for a stage that makes no graph.

    against_previous: its answers and those of the stage before; against_source: and the source network's. For preprocessing both networks are
    the source, on images prepared as the artifact says and as the reference does. None where there is nothing to compare.
    failures: why it falls short, empty where it doesn't; judged: False where it couldn't be told, and `note` says why.
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
    (of weights the widest channel's), None where nothing is rounded to integers; channels: how many scales it has; scale, zero_point: the least
    and the greatest; saturated: the share of the values beyond the range.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """A quantized layer. sqnr_db: of the logits where it alone is quantized (weights: its weights alone, activations: its output alone), None
    where nothing changes or there is no such part; advice: what to do about it."""

    layer: str
    operator: str
    sqnr_db: float | None
    weights_sqnr_db: float | None
    activations_sqnr_db: float | None
    tensors: tuple[TensorRow, ...]
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """Where an artifact's answers leave its reference's. images: how many were compared, from `origin`; stages: in the order of the way from image
    to answer; layers: of a quantized graph, the worst first, measured on `layer_images`; changed: what of the packaged graph is otherwise than
    in the rebuilt one, or where the culprit's answers leave those before it; notes: what to know, a sentence each."""

    file: str
    reference: str
    images: int
    origin: Literal["data", "golden"]
    stages: tuple[StageRow, ...]
    layers: tuple[LayerRow, ...] = ()
    layer_images: int = 0
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def culprit(self) -> StageRow | None:
        """The first stage that falls short."""
        return next((row for row in self.stages if row.failures), None)

    @property
    def entered(self) -> StageRow | None:
        """Where all that was rebuilt is right and the packaged graph isn't: the first stage whose rebuild is otherwise than its record,
        because the fault came in there, or after it, when the artifact was made."""
        culprit = self.culprit
        if culprit is None or (culprit.stage != "packaged" and culprit.made != "taken from the file"):
            return None
        return next((row for row in self.stages if row.made == "rebuilt otherwise"), None)

    @property
    def passed(self) -> bool:
        return bool(self.stages) and self.culprit is None

    @property
    def verdict(self) -> str:
        """One sentence or two: which stage falls short first, why, in which layer, and what to do."""
        culprit = self.culprit
        if culprit is None:
            unknown = [row.stage for row in self.stages if not row.judged]
            untold = f" ({', '.join(unknown)} couldn't be told)" if unknown else ""
            return f"no stage of {self.file} falls short of its limits{untold}."
        said = [f"{self.file} falls short first at {culprit.stage}: {'; '.join(culprit.failures)}"]
        if self.entered is not None:
            said.append(f"its {self.entered.stage} stage isn't what is rebuilt today, so the fault came in there or after it")
        if self.changed:
            said.append(f"{self.changed[0]}")
        elif culprit.stage == "quantize" and self.layers:
            worst = self.layers[0]
            said.append(f"the worst layer is {worst.layer}, which alone brings the logits down to {decibels_text(worst.sqnr_db)}")
        advice = culprit.advice
        if culprit.stage == "quantize" and self.layers and self.layers[0].advice:
            advice = self.layers[0].advice[0]
        return "; ".join(said) + (f". To do: {advice}." if advice else ".")


def decibels_text(value: float | None) -> str:
    """An SQNR for people; None is that of no noise at all."""
    return "no noise" if value is None else f"{value:.1f} dB"

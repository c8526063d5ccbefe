"""All that blame found of an artifact, and the verdict that follows from it, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgecnn.build.blame.records import Cure, LayerRow, StageRow, decibels_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """Where an artifact's answers leave its reference's. images: how many were compared, from `origin`; stages: in the order of the way from image
    to answer; layers: of a quantized graph, the worst first, measured on `layer_images`; cures: the artifact as it is, then what it may be
    exported with instead, the best first, on the same images; changed: what of the packaged graph is otherwise than in the rebuilt one, or where
    the culprit's answers leave those before it; notes: what to know, a sentence each."""

    file: str
    reference: str
    images: int
    origin: Literal["data", "golden"]
    stages: tuple[StageRow, ...]
    layers: tuple[LayerRow, ...] = ()
    layer_images: int = 0
    cures: tuple[Cure, ...] = ()
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
    def foreign(self) -> tuple[str, ...]:
        """The weights that aren't the reference's, where these are most of all: then the file was made from another network."""
        weights = [tensor for row in self.layers for tensor in row.tensors if tensor.kind == "weight" and tensor.matched]
        found = tuple(tensor.tensor for tensor in weights if tensor.foreign)
        return found if 2 * len(found) > len(weights) else ()

    @property
    def passed(self) -> bool:
        return bool(self.stages) and self.culprit is None

    @property
    def verdict(self) -> str:
        """One sentence or two: which stage falls short first, why, in which layer, and what to do."""
        return _verdict(self)

    @property
    def short(self) -> str:
        """The verdict without what lies behind it."""
        culprit = self.culprit
        return _verdict(self) if culprit is None else f"{_falls_short(self, culprit)}."


def _verdict(found: Blame) -> str:
    """Which stage falls short first, why, in which layer, and what to do; or that none does."""
    culprit = found.culprit
    if culprit is None:
        unknown = [row.stage for row in found.stages if not row.judged]
        untold = f" ({', '.join(unknown)} couldn't be told)" if unknown else ""
        return f"no stage of {found.file} falls short of its limits{untold}{_answers(found)}."
    advice = culprit.advice
    if found.foreign:
        advice = "give the network that it was made from as --reference"
    elif culprit.stage == "quantize":
        advice = _for_quantize(found) or advice
    elif found.cures[1:] and found.cures[1].enough:
        advice = f"{advice}: {_tried(found.cures[0], found.cures[1])}"
    return "; ".join(_said(found, culprit)) + (f". To do: {advice}." if advice else ".")


def _answers(found: Blame) -> str:
    """How near the packaged graph's answers are."""
    apart = found.stages[-1].against_source
    if apart is None:
        return ""
    noise = f", {apart.sqnr_db:.1f} dB" if apart.sqnr_db is not None else ""
    return f": it decides {apart.agreeing} of {apart.samples} images as its network does{noise}"


def _falls_short(found: Blame, culprit: StageRow) -> str:
    return f"{found.file} falls short first at {culprit.stage}: {'; '.join(culprit.failures)}"


def _said(found: Blame, culprit: StageRow) -> Iterator[str]:
    yield _falls_short(found, culprit)
    if found.foreign:
        weights = f"{', '.join(found.foreign[:3])}{' and others' if len(found.foreign) > 3 else ''}"
        yield f"its weights {weights} are none of {found.reference}'s, so that isn't the network that it was made from"
        return
    if found.entered is not None:
        how = (found.entered.note or "it comes out otherwise than recorded").removeprefix("it ")
        yield (
            f"its {found.entered.stage} stage {how}, so the fault came in there or after it, "
            f"or {found.reference} isn't the network that it was made from"
        )
    if found.changed:
        yield found.changed[0]
    elif culprit.stage == "quantize" and found.layers:
        apart = [row for row in found.layers if row.advice]
        if apart:
            more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
            alone = f"which alone bring{'s' if len(apart) == 1 else ''} the logits down to {decibels_text(apart[0].sqnr_db)}"
            yield f"most of the noise comes from {', '.join(row.layer for row in apart[:3])}{more}, {alone}{' and less' if len(apart) > 1 else ''}"
        else:
            yield "no layer stands out, the noise comes from many"


def _for_quantize(found: Blame) -> str | None:
    """What to do about the quantizer's noise: the cause where that is sure, then what was tried."""
    sure = [f"{said.cure} ({row.layer}: {said.cause})" for row in found.layers for said in row.advice if said.sure]
    tried = [cure for cure in found.cures[1:] if cure.found is not None]
    best = next((cure for cure in tried[:1] if _gains(cure, found.cures[0])), None)
    said = sure[:1]
    if best is not None and (best.enough or not sure):
        said.append(_tried(found.cures[0], best))
    elif tried and not sure:
        said.append("no other option of the quantizer helps, so fine-tune it (edgecnn export --qat), or keep float32")
    elif found.cures[1:] and not tried:
        said.append(f"give --calibration, and these are tried: {', '.join(f'--config {cure.config}' for cure in found.cures[1:])}")
    return "; or ".join(said) or None


def _tried(now: Cure, best: Cure) -> str:
    assert now.found is not None
    assert best.found is not None
    change = f"{decibels_text(now.found.sqnr_db)} to {decibels_text(best.found.sqnr_db)}"
    more = "" if best.enough else ", which isn't enough yet, so fine-tune it too (edgecnn export --qat), or let --quantize auto search"
    return f"export it with --config {best.config}, which brings the logits from {change}{more}"


def _gains(cure: Cure, now: Cure) -> bool:
    before, after = now.found, cure.found
    if before is None or after is None or before.sqnr_db is None:
        return False
    return after.sqnr_db is None or after.sqnr_db > before.sqnr_db

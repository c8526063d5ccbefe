"""One sheet that a team passes around: all that is known of an artifact, gathered once, then written as a page, as Markdown or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgecnn.artifact.liveness import Liveness, liveness
from edgecnn.artifact.records import EpochMetrics, Layer
from edgecnn.report.about import About
from edgecnn.report.card import Parts, card_parts
from edgecnn.report.study import Study
from edgecnn.report.subject import Artifact
from edgecnn.report.timing import Timing

_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """float32: the same model, not quantized; study: on a collection with labels; timing: of a benchmark; history: of the training; card: its
    Markdown, part by part."""

    artifact: Artifact
    float32: Artifact | None
    study: Study | None
    timing: Timing | None
    history: tuple[EpochMetrics, ...]
    memory: Liveness
    card: Parts

    @property
    def title(self) -> str:
        spec = self.artifact.manifest.spec
        return f"{spec.name} {spec.version}"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those that compute: quantizing and dequantizing would be two of three, and cost nothing by themselves but where a benchmark says so."""
        times = self.layer_times
        return tuple(layer for layer in self.artifact.report.layers if layer.operator not in _QUANTIZATION or times.get(layer.name))

    @property
    def layer_times(self) -> Mapping[str, float]:
        """Milliseconds by layer, where a benchmark told."""
        return self.timing.layers if self.timing is not None else {}


def gather(
    artifact: Artifact,
    *,
    float32: Artifact | None = None,
    study: Study | None = None,
    timing: Timing | None = None,
    history: tuple[EpochMetrics, ...] = (),
    about: About | None = None,
    recipe: tuple[str, bytes] | None = None,
) -> Sheet:
    """Raises UsageError where `float32` is another model, GraphRejected where the graph computes nothing."""
    measured = study.measured if study is not None else None
    return Sheet(
        artifact=artifact,
        float32=float32,
        study=study,
        timing=timing,
        history=history,
        memory=liveness(artifact.graph),
        card=card_parts(artifact, float32=float32, measured=measured, about=about, recipe=recipe),
    )


def write(sheet: Sheet, form: str) -> str:
    """The sheet as "html", "md" or "json". Equal sheets give equal texts. Raises ModuleNotFoundError where a page's libraries aren't installed."""
    import importlib

    module = {"html": "page", "md": "markdown", "json": "facts"}[form]
    written: Callable[[Sheet], str] = importlib.import_module(f"edgecnn.report.sheet.{module}").written
    return written(sheet)

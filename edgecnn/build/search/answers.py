"""How near graphs' answers are: their noise on the calibration images, and how many validation images they decide right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.chain import Network
from edgecnn.build.quantize import Calibration
from edgecnn.build.search.records import Judged, Measure
from edgecnn.data.collection import Collection
from edgecnn.device.differences import decibels
from edgecnn.device.host import available_cores
from edgecnn.device.session import open_session
from edgecnn.device.statistics import paired_difference
from edgecnn.device.validate import Evaluation, evaluate_all

FLOAT_NOISE = 2.0**-48
"""The power of float32's own rounding, as a share of the signal's: noise under it is none, so no SQNR is above 144.5 dB."""

Progress = Callable[[int, int], None]


def sqnr(reference: bytes, models: Sequence[bytes], spec: ModelSpec, calibration: Calibration) -> tuple[float, ...]:
    """Of each graph, 10 log10(sum of reference^2 / sum of (answer - reference)^2) over all logits of the calibration images, in dB.

    One pass over the images for all graphs; nothing of an image is kept. An answer that is NaN or infinite makes it -inf.
    """
    expected, found = open_session(reference, spec), [open_session(model, spec) for model in models]
    signal, noise = 0.0, np.zeros(len(models))
    for x in calibration():
        wanted = expected.logits(x).astype(np.float64)
        signal += float(np.sum(wanted * wanted))
        for i, session in enumerate(found):
            apart = session.logits(x) - wanted
            noise[i] += np.sum(apart * apart)
    return tuple(_decibels(signal, float(power)) for power in noise)


def _decibels(signal: float, noise: float) -> float:
    if not math.isfinite(noise):
        return -math.inf
    signal = max(signal, float(np.finfo(np.float32).tiny))
    return decibels(signal, max(noise, signal * FLOAT_NOISE))


class Jury:
    """Judges graphs on the validation images, several in one pass; the source network answers in the first one only.

    What it keeps of an image are the network's decision and whether that was right.
    """

    def __init__(self, network: Network, validation: Collection, spec: ModelSpec) -> None:
        self._network, self._validation, self._spec = network, validation, spec
        self._decisions: NDArray[np.int64] | NDArray[np.bool_] | None = None
        self._right: NDArray[np.bool_] | None = None
        self._labelled = True
        self.notes: tuple[str, ...] = ()

    @property
    def measure(self) -> Measure:
        """What accuracy means on these images; known after the first pass."""
        if not self._labelled:
            return "agreement"
        return "exact match" if self._spec.task == "multi-label" else "top-1"

    def judge(self, models: Sequence[bytes], progress: Progress | None = None) -> tuple[Judged, ...]:
        """Raises what `evaluate_all` raises, and AccuracyFailed where a graph answers NaN."""
        sessions = [open_session(model, self._spec) for model in models]
        first = self._decisions is None
        functions = [self._network, *sessions] if first else sessions
        found = list(evaluate_all(functions, self._validation, self._spec, progress, threads=available_cores()))
        if first:
            self._swear_in(found.pop(0))
        return tuple(self._judged(evaluation) for evaluation in found)

    def _swear_in(self, source: Evaluation) -> None:
        self._decisions, self._labelled = source.decisions, source.targets is not None
        self._right = source.correct if self._labelled else np.ones(len(source.names), dtype=np.bool_)
        self.notes = tuple(_notes(source, self._spec))

    def _judged(self, evaluation: Evaluation) -> Judged:
        assert self._decisions is not None
        assert self._right is not None
        same = evaluation.decisions == self._decisions
        agreeing: NDArray[np.bool_] = np.all(same, axis=tuple(range(1, same.ndim)))
        right = evaluation.correct if self._labelled else agreeing
        return Judged(correct=int(right.sum()), agreeing=int(agreeing.sum()), difference=paired_difference(self._right, right))


def _notes(source: Evaluation, spec: ModelSpec) -> Sequence[str]:
    """What the validation images can't show."""
    if source.targets is None:
        return ("the validation images have no labels, so the drop is the share of decisions that changed, and the accuracy lost can't be more",)
    counts = source.targets.sum(axis=0) if source.targets.ndim == 2 else np.bincount(source.targets, minlength=len(spec.labels))
    missing = [label for label, count in zip(spec.labels, counts.tolist(), strict=True) if not count]
    if not missing:
        return ()
    listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return (f"no validation image shows {listed}, so what quantization does to that wasn't measured; add some to --validation",)

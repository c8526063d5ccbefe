"""A model's answers on a collection, looked at from all sides: accuracy, its mistakes, and how far its scores can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.data.collection import Collection
from edgecnn.device.classify import scores
from edgecnn.report.mistakes import Mistake, mistakes
from edgecnn.report.reliability import Reliability, reliability
from edgecnn.report.subject import Artifact, Measured, evaluate_twins, measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """reliability: of the decided labels together; for multi-label models one for each label, in the spec's order, of how often it holds."""

    measured: Measured
    mistakes: tuple[Mistake, ...]
    reliability: tuple[Reliability, ...]


def study(
    path: Path,
    artifact: Artifact,
    collection: Collection,
    *,
    name: str,
    float32: Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Study:
    """One pass over the images, of which one number each is kept (for multi-label models one a label).

    Raises what `edgecnn.report.subject.measure` raises.
    """
    spec = artifact.manifest.spec
    several = spec.task == "multi-label"
    kept: list[NDArray[np.float32]] = []

    def observe(logits: NDArray[np.float32]) -> None:
        table = scores(logits, spec)
        kept.append((table if several else table.max(axis=1)).astype(np.float32))

    spec, evaluations = evaluate_twins(path, collection, float32=float32, threads=threads, progress=progress, observe=observe)
    found, sure = evaluations[0], np.concatenate(kept)
    whole = measured(evaluations, collection, spec, name=name)  # refuses images without labels
    if several:
        wanted = np.asarray(found.targets)
        calibration = tuple(reliability(sure[:, column], wanted[:, column]) for column in range(len(spec.labels)))
    else:
        calibration = (reliability(sure, found.correct),)
    return Study(measured=whole, mistakes=mistakes(found, sure, spec), reliability=calibration)

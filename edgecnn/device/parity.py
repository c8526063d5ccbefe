"""Two sets of answers compared: how far apart the numbers are, and how often the decision is the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.records import ParityLimits, ParityReport
from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.differences import decibels, same_decisions
from edgecnn.errors import ParityFailed


def compare(
    expected: NDArray[np.floating[Any]],
    actual: NDArray[np.floating[Any]],
    limits: ParityLimits,
    *,
    graph_sha256: str,
    reference: str,
    spec: ModelSpec,
) -> ParityReport:
    """The logits `actual` of the graph `graph_sha256` against the `expected` ones of `reference`, both float32 (samples, labels).

    Differences are taken in float64 over the elements that are finite in both; the others are counted in `nonfinite`, which fails the
    report, and their samples never agree. A report of no samples fails too. Decisions are those of `classify.decide`: the first of the
    highest logits, or for multi-label models the set of labels over their thresholds. sqnr_db takes an expected signal of nothing but
    zeros as the smallest positive float64, so that it stays a number. Raises ParityFailed for shapes that differ or don't fit the spec.
    """
    if expected.shape != actual.shape or expected.ndim != 2 or expected.shape[1] != len(spec.labels):
        raise ParityFailed(
            f"answers of shape {list(actual.shape)} can't be compared with {reference}'s of shape {list(expected.shape)}; "
            f"one row a sample of {len(spec.labels)} logits was wanted from both."
        )
    finite = _finite(expected) & _finite(actual)
    wanted = np.where(finite, expected, 0).astype(np.float64)
    found = np.where(finite, actual, 0).astype(np.float64)
    apart = np.abs(found - wanted)[finite]
    noise = decibels(float(np.sum(wanted * wanted)), float(np.sum(apart * apart)))
    return ParityReport(
        graph_sha256=graph_sha256,
        reference=reference,
        samples=expected.shape[0],
        elements=expected.size,
        nonfinite=int(finite.size - finite.sum()),
        max_abs=float(apart.max(initial=0.0)),
        mean_abs=float(apart.mean()) if apart.size else 0.0,
        excess=_excess(apart, np.abs(wanted)[finite], limits),
        sqnr_db=noise if math.isfinite(noise) else None,
        agreeing=int(np.sum(same_decisions(wanted, found, spec) & finite.all(axis=1))) if expected.size else 0,
        limits=limits,
    )


def _finite(values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Finite as float32, which is all that a network's answers can be."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(np.float32))


def _excess(apart: NDArray[np.float64], size: NDArray[np.float64], limits: ParityLimits) -> float | None:
    if (limits.atol is None and limits.rtol is None) or not apart.size:
        return None
    return float(np.max(apart - ((limits.atol or 0.0) + (limits.rtol or 0.0) * size)))

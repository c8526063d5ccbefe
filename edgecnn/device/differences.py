"""How far apart two sets of numbers are, each measure a function of its own: noise, direction, distributions, decisions.

Nothing is compared vacuously: shapes that differ, empty arrays, NaN and infinities raise ValueError.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import Activation, ModelSpec
from edgecnn.device.classify import decide

Floats = NDArray[np.floating[Any]]

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """Logits compared with others, by all measures of this module. sqnr_db is None where nothing differs; agreeing: samples decided alike."""

    samples: int
    max_abs: float
    mean_abs: float
    sqnr_db: float | None
    cosine: float
    agreeing: int
    kl_divergence: float

    @property
    def agreement(self) -> float:
        """The share of the samples that are decided alike, 0 to 1."""
        return self.agreeing / self.samples


def differences(expected: Floats, actual: Floats, spec: ModelSpec) -> Differences:
    """Of the logits `actual` from those `expected`, both (samples, labels)."""
    wanted, found = _pair(expected, actual)
    apart, ratio = np.abs(found - wanted), sqnr_db(wanted, found)
    return Differences(
        samples=len(wanted),
        max_abs=float(apart.max()),
        mean_abs=float(apart.mean()),
        sqnr_db=ratio if math.isfinite(ratio) else None,
        cosine=cosine(wanted, found),
        agreeing=int(same_decisions(wanted, found, spec).sum()),
        kl_divergence=kl_divergence(wanted, found, activation=spec.postprocess.activation),
    )


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers; inf where there is no noise. No signal counts as the smallest positive float64."""
    if not (math.isfinite(signal) and math.isfinite(noise) and signal >= 0 and noise >= 0):
        raise ValueError(f"a signal of {signal} and a noise of {noise} have no ratio; powers that are finite and not negative were wanted")
    if noise == 0:
        return math.inf
    return 10 * (math.log10(max(signal, _TINY)) - math.log10(noise))


def sqnr_db(expected: Floats, actual: Floats) -> float:
    """Signal to quantization noise ratio in dB: 10 log10(sum expected^2 / sum (actual - expected)^2); inf where nothing differs.

    Widrow and Kollár, "Quantization Noise", Cambridge University Press 2008. A bit more of resolution is worth 6 dB.
    """
    wanted, found = _pair(expected, actual)
    # one exponent for both, so that no square overflows
    scale = max(float(np.abs(wanted).max()), float(np.abs(found).max())) or 1.0
    wanted, found = wanted / scale, found / scale
    apart = found - wanted
    return decibels(float(np.sum(wanted * wanted)), float(np.sum(apart * apart)))


def cosine(expected: Floats, actual: Floats) -> float:
    """The cosine of the angle between the two as vectors, -1 to 1. Two of nothing but zeros point alike (1), one of them nowhere (0)."""
    wanted, found = _pair(expected, actual)
    (a, b) = (values / (float(np.abs(values).max()) or 1.0) for values in (wanted, found))
    lengths = math.sqrt(float(np.sum(a * a))) * math.sqrt(float(np.sum(b * b)))
    if lengths == 0:
        return 1.0 if not wanted.any() and not found.any() else 0.0
    return min(1.0, max(-1.0, float(np.sum(a * b)) / lengths))


def kl_divergence(expected: Floats, actual: Floats, *, activation: Activation) -> float:
    """How many nats a sample of the distributions `expected` are told worse by `actual`: the mean of KL(expected || actual), 0 or more.

    Both are logits (samples, labels). softmax: of one distribution over the labels; sigmoid: summed over the labels, each a Bernoulli one.
    Kullback and Leibler (1951), "On information and sufficiency", Annals of Mathematical Statistics 22:79-86.
    """
    wanted, found = _pair(expected, actual)
    if wanted.ndim != 2:
        raise ValueError(f"logits of shape {list(wanted.shape)} were found, (samples, labels) was wanted")
    if activation == "softmax":
        p, q = _log_softmax(wanted), _log_softmax(found)
        each = np.sum(np.exp(p) * (p - q), axis=1)
    else:
        each = np.zeros(len(wanted))
        for sign in (1.0, -1.0):
            p, q = (-np.logaddexp(0.0, -sign * values) for values in (wanted, found))
            each = each + np.sum(np.exp(p) * (p - q), axis=1)
    return max(0.0, float(np.mean(each)))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return result


def same_decisions(expected: Floats, actual: Floats, spec: ModelSpec) -> NDArray[np.bool_]:
    """bool (samples,): which of the logits (samples, labels) are decided alike: the same first label, or for multi-label models the same set.

    Decisions are those of `classify.decide`.
    """
    wanted, found = _pair(expected, actual)
    same = decide(wanted.astype(np.float32), spec) == decide(found.astype(np.float32), spec)
    in_all: NDArray[np.bool_] = np.all(same, axis=tuple(range(1, same.ndim)))
    return in_all


def agreement(expected: Floats, actual: Floats, spec: ModelSpec) -> float:
    """The share of the samples with `same_decisions`, 0 to 1."""
    return float(np.mean(same_decisions(expected, actual, spec)))


def _pair(expected: Floats, actual: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if expected.shape != actual.shape:
        raise ValueError(f"arrays of shape {list(expected.shape)} and {list(actual.shape)} can't be compared")
    if not expected.size:
        raise ValueError("there is nothing to compare")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        raise ValueError("NaN or infinity can't be compared")
    return expected.astype(np.float64), actual.astype(np.float64)

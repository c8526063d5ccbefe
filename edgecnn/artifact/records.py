"""What was done to a model and what was found: plain numbers that travel in the artifact. Verdicts are derived, never stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityLimits:
    """What a graph's answers may differ by; None is not asked for.

    atol, rtol: every element holds |actual - expected| <= atol + rtol * |expected|.
    min_agreement: least share (0 to 1) of samples whose decision is the same: the top-1 label, or for multi-label
    models the whole set of labels over their thresholds.
    """

    atol: float | None = None
    rtol: float | None = None
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        for name in ("atol", "rtol"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise ValueError("min_agreement must lie between 0 and 1")
        if self.atol is None and self.rtol is None and self.min_agreement is None:
            raise ValueError("limits that ask for nothing prove nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """One comparison of a graph's logits with its reference's.

    graph_sha256: of the ONNX bytes that were run; reference: what they were compared with ("source network", "simplified", ...).
    samples: compared inputs; elements: compared numbers; nonfinite: elements that are NaN or infinite on either side;
    max_abs, mean_abs: of |actual - expected|; excess: the largest |actual - expected| - (atol + rtol * |expected|), at most 0 when within limits
    (None where the limits don't ask); sqnr_db: 10 log10(sum expected^2 / sum (actual - expected)^2), None where nothing differs;
    agreeing: samples with the same decision.
    """

    graph_sha256: str
    reference: str
    samples: int
    elements: int
    nonfinite: int
    max_abs: float
    mean_abs: float
    excess: float | None = None
    sqnr_db: float | None = None
    agreeing: int
    limits: ParityLimits

    @property
    def agreement(self) -> float:
        """Share of samples with the same decision; 0 where there were none."""
        return self.agreeing / self.samples if self.samples else 0.0

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it falls short, a sentence each; empty when it passed. Comparing nothing, or a NaN, falls short."""
        limits, found = self.limits, []
        if self.samples <= 0 or self.elements <= 0:
            found.append("nothing was compared")
        if self.nonfinite:
            found.append(f"{self.nonfinite} values are NaN or infinite")
        if (limits.atol is not None or limits.rtol is not None) and (self.excess is None or self.excess > 0):
            found.append(f"the largest difference is {self.max_abs:.3g}, allowed are atol {limits.atol or 0:g} + rtol {limits.rtol or 0:g}")
        if limits.min_agreement is not None and self.agreement < limits.min_agreement:
            found.append(f"{self.agreeing} of {self.samples} decisions agree ({self.agreement:.2%}), wanted {limits.min_agreement:.2%}")
        return tuple(found)

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What one step (export, simplify, quantize) did to the graph. It holds no time, host name or absolute path.

    tools: versions of the libraries that took part; against_previous, against_source: the answers compared;
    note: why a result was rejected or a choice made, where there is something to say.
    """

    name: str
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    nodes: int
    bytes: int
    sha256: str
    against_previous: ParityReport | None = None
    against_source: ParityReport | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One node of the graph: its output's shape, its constants and its cost for one image.

    macs: multiply-accumulates (Conv: output elements x kernel height x kernel width x input channels / groups; Gemm: inputs x outputs x rows);
    parameters and bytes: of the initializers that only it reads first. None where shapes are unknown.
    """

    name: str
    operator: str
    output_shape: tuple[int | str, ...] | None = None
    parameters: int = 0
    macs: int | None = None
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """One epoch's figures: mean loss; accuracies from 0 to 1 (of all labels at once for multi-label); learning rate at its end."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None

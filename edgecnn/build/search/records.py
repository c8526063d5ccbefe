"""What `--quantize auto` tries, what was found of each, and what follows from that. Verdicts and the Pareto front are derived, never stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgecnn.artifact.records import Scalar
from edgecnn.device.statistics import Finding, PairedDifference, judge_drop, mcnemar, wilson
from edgecnn.errors import UsageError

Value = Scalar | tuple[str, ...]
Objective = Literal["latency", "bytes"]
Measure = Literal["top-1", "exact match", "agreement"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "bytes")

ALIKE = 1.03
"""Graphs whose times differ by less count as equally fast: the next process, with its memory laid out otherwise, may turn them round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """max_drop: the most points of accuracy that may be lost, absolute; min_agreement: the least share of the network's decisions to be kept,
    which the export asks for in any case; objective: what is to be least then; threads: of the device, for latency. Raises UsageError for a goal
    that can't be met or missed."""

    max_drop: float
    min_agreement: float = 0.0
    objective: Objective = "latency"
    threads: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_drop) and 0 < self.max_drop < 100):
            raise UsageError(
                f"--max-drop {self.max_drop:g} is no goal: points of accuracy above 0 and under 100 were wanted, such as 0.5 "
                "(no number of images can show a drop of 0)."
            )
        if self.objective not in OBJECTIVES:
            raise UsageError(f"there is no objective {self.objective}; give {' or '.join(OBJECTIVES)}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A quantizer ("none" is float32) and the options that differ from its defaults."""

    quantizer: str
    config: Mapping[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In the words of the command line: "int8 ranges=mse equalize=true"; layers in float are counted."""
        if self.quantizer == "none":
            return "float32"
        return " ".join([self.quantizer, *(_option(key, value) for key, value in self.config.items())])

    def with_option(self, key: str, value: Value) -> Candidate:
        return Candidate(quantizer=self.quantizer, config={**self.config, key: value})


FLOAT32 = Candidate(quantizer="none")


def _option(key: str, value: Value) -> str:
    if isinstance(value, tuple):
        return f"{key}={len(value)}"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """ms: of one inference, the median of rounds; ratio: to float32's in the same round, the median with its 95 % interval from low to high."""

    ms: float
    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def faster(self) -> bool:
        """Than float32, as far as can be told, and by more than ALIKE."""
        return self.high * ALIKE < 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A graph's decisions on the validation images. correct: how many were right; agreeing: how many were the source network's;
    difference: from the source network, paired. Without labels the source network's decisions stand for the right ones."""

    correct: int
    agreeing: int
    difference: PairedDifference

    @property
    def count(self) -> int:
        return self.difference.count

    @property
    def accuracy(self) -> float:
        return self.correct / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson(self.correct, self.count)

    @property
    def p(self) -> float:
        """McNemar's exact p."""
        return mcnemar(self.difference)

    def finding(self, goal: Goal) -> Finding:
        """Whether the goal holds; a graph that keeps too few of the network's decisions fails, whatever its accuracy."""
        if self.count and self.agreeing < goal.min_agreement * self.count:
            return "fails"
        return judge_drop(self.difference, goal.max_drop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What was found of a candidate, as far as it was tried. bytes: of the graph; sqnr_db: of its logits on the calibration images against
    the float32 graph's; latency_of: the candidate whose latency it is, where that has the same operators and was measured in its place."""

    candidate: Candidate
    bytes: int
    latency: Latency | None = None
    latency_of: str | None = None
    sqnr_db: float | None = None
    judged: Judged | None = None

    @property
    def name(self) -> str:
        return self.candidate.name

    def cost(self, objective: Objective) -> float:
        """What the objective wants least of: time as a share of float32's (infinite where it wasn't measured), or bytes."""
        if objective == "bytes":
            return float(self.bytes)
        return self.latency.ratio if self.latency else math.inf


def pareto_front(trials: Sequence[Trial], objective: Objective) -> frozenset[str]:
    """The names of the judged trials that no other beats: none is at least as accurate and as cheap, and better in one of the two."""
    known = [(trial.name, trial.judged.correct, trial.cost(objective)) for trial in trials if trial.judged and trial.cost(objective) < math.inf]
    beaten = {name for name, correct, cost in known for _, c, o in known if c >= correct and o <= cost and (c > correct or o < cost)}
    return frozenset(name for name, _, _ in known if name not in beaten)


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What was tried for a goal, float32 first, which won, and why: one sentence. measure: what accuracy means here; notes: what else to know."""

    goal: Goal
    measure: Measure
    trials: tuple[Trial, ...]
    winner: Candidate
    why: str
    notes: tuple[str, ...] = ()

    @property
    def front(self) -> frozenset[str]:
        return pareto_front(self.trials, self.goal.objective)

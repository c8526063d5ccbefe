"""Where candidates are made, timed, ranked and judged, and where what was found of them is kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.chain import Network
from edgecnn.build.onnx_io import parse
from edgecnn.build.quantize import Calibration, needs_calibration, quantize
from edgecnn.build.search.answers import Jury, sqnr
from edgecnn.build.search.progress import Plan, Status, Tell
from edgecnn.build.search.records import FLOAT32, Candidate, Goal, Trial
from edgecnn.build.search.speed import Race, race
from edgecnn.data.collection import Collection
from edgecnn.device.statistics import Finding
from edgecnn.errors import SourceRejected


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """What a search works on: `model` is the float32 ONNX graph, `network` what it was made from; calibration_images: how many `calibration`
    gives; example: an input to time graphs on, (batch, channels, height, width); tell hears of each step."""

    network: Network
    model: bytes
    spec: ModelSpec
    calibration: Calibration
    calibration_images: int
    validation: Collection
    example: NDArray[Any]
    goal: Goal
    tell: Tell = lambda _: None


class Lab:
    """The graphs made so far and what was found of them, float32's first. plan: what is still to do; notes: what to know, a sentence each."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.plan = Plan(images=len(task.validation) / max(1, task.calibration_images))
        self.jury = Jury(task.network, task.validation, task.spec)
        self.notes: list[str] = []
        self._graphs = {FLOAT32.name: task.model}
        self._trials = {FLOAT32.name: Trial(candidate=FLOAT32, bytes=len(task.model))}
        self._doing = ("", 0, 1)
        self._seen = {hashlib.sha256(task.model).digest()}

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._trials.values())

    def trial(self, candidate: Candidate) -> Trial:
        """What was found of it so far."""
        return self._trials[candidate.name]

    def graph(self, candidate: Candidate) -> bytes:
        return self._graphs[candidate.name]

    def cost(self, candidate: Candidate) -> float:
        """What the goal wants least of."""
        return self.trial(candidate).cost(self.task.goal.objective)

    def cheaper(self, candidate: Candidate) -> bool:
        """Than float32, as far as can be told."""
        found = self.trial(candidate)
        if self.task.goal.objective == "bytes":
            return found.bytes < self.trial(FLOAT32).bytes
        return found.latency is not None and found.latency.faster

    def finding(self, candidate: Candidate) -> Finding | None:
        """None where it wasn't judged."""
        judged = self.trial(candidate).judged
        return judged.finding(self.task.goal) if judged else None

    def make(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Those that can be made and whose graph no other candidate has."""
        for number, candidate in enumerate(candidates):
            if candidate.name not in self._trials:
                self.tell(f"making {candidate.name}", number, len(candidates))
                self._make(candidate)
        return tuple(candidate for candidate in candidates if candidate.name in self._trials)

    def quantized(self, candidate: Candidate) -> bytes:
        """Its graph, made anew. Raises SourceRejected."""
        name = candidate.quantizer
        return quantize(name, self.task.model, self.task.calibration if needs_calibration(name) else None, **candidate.config).model

    def _make(self, candidate: Candidate) -> None:
        try:
            with self.plan.job("make"):
                model = self.quantized(candidate)
        except SourceRejected as error:
            self.notes.append(f"{candidate.name} was left out: {str(error).rstrip('.')}")
            return
        digest = hashlib.sha256(model).digest()
        if digest not in self._seen:
            self._seen.add(digest)
            self._graphs[candidate.name] = model
            self._trials[candidate.name] = Trial(candidate=candidate, bytes=len(model))

    def time(self, candidates: Iterable[Candidate]) -> Race:
        """Each against float32, whose own figures are of the first race."""
        named = {candidate.name: self.graph(candidate) for candidate in (FLOAT32, *candidates)}
        told = self._teller(f"timing {len(named)} graphs in turns" if len(named) > 2 else f"timing {list(named)[-1]}")
        with self.plan.job("time", len(named)):
            found = race(named, self.task.spec, self.task.example, threads=self.task.goal.threads, progress=told)
        for name in named:
            if name != FLOAT32.name or self._trials[name].latency is None:
                self._put(name, latency=found.latency(name, FLOAT32.name), latency_of=None)
        return found

    def lend_latency(self, lender: Candidate, borrowers: Iterable[Candidate]) -> None:
        """The lender's latency holds for those that run the same operators in the same order; others are timed."""
        same, others = self.trial(lender), []
        for candidate in borrowers:
            if _operators(self.graph(candidate)) == _operators(self.graph(lender)):
                self._put(candidate.name, latency=same.latency, latency_of=same.latency_of or same.name)
            else:
                others.append(candidate)
        if others:
            self.time(others)

    def rank(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """By their answers' noise on the calibration images, the least first; those that answer NaN are left out."""
        new = [candidate for candidate in candidates if self.trial(candidate).sqnr_db is None]
        if new:
            self.tell(f"measuring the noise of {len(new)} graphs on the calibration images", 0, 1)
            with self.plan.job("rank", len(new)):
                found = sqnr(self.task.model, [self.graph(candidate) for candidate in new], self.task.spec, self.task.calibration)
            for candidate, decibels in zip(new, found, strict=True):
                if math.isfinite(decibels):
                    self._put(candidate.name, sqnr_db=decibels)
                else:
                    self.notes.append(f"{candidate.name} was left out: it answers NaN or infinity to a calibration image")
        known = [(self.trial(candidate).sqnr_db, candidate) for candidate in candidates]
        return tuple(candidate for decibels, candidate in sorted(known, key=lambda pair: -(pair[0] or 0.0)) if decibels is not None)

    def judge(self, candidates: Sequence[Candidate]) -> None:
        """Those on the validation images, all in one pass; float32 among them the first time."""
        new = [candidate for candidate in (FLOAT32, *candidates) if self.trial(candidate).judged is None]
        if not new:
            return
        told = self._teller(f"judging {len(new)} graphs on the validation images" if len(new) > 1 else f"judging {new[0].name}")
        with self.plan.job("judge", len(new)):
            found = self.jury.judge([self.graph(candidate) for candidate in new], told)
        for candidate, judged in zip(new, found, strict=True):
            self._put(candidate.name, judged=judged)

    def _put(self, name: str, **found: Any) -> None:
        self._trials[name] = replace(self._trials[name], **found)
        self.tell(*self._doing)

    def _teller(self, doing: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tell(doing, done, total)

    def tell(self, doing: str, done: int, total: int) -> None:
        """What is being done, and how much of it is."""
        self._doing = (doing, done, total)
        self.task.tell(
            Status(goal=self.task.goal, doing=doing, done=done, total=total, seconds_left=self.plan.seconds_left, trials=self.trials),
        )


def _operators(model: bytes) -> list[str]:
    return [node.op_type for node in parse(model).graph.node]

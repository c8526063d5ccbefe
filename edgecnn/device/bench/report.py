"""The latencies of one file with all that is needed to judge them, the figures that follow, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edgecnn.device.bench.conditions import Conditions
from edgecnn.device.bench.profile import Profile
from edgecnn.device.bench.startup import Startup
from edgecnn.device.statistics import percentile, percentile_interval

Scenario = Literal["single-stream", "offline"]
SCENARIOS: tuple[Scenario, ...] = ("single-stream", "offline")

SCHEMA = 2
PERCENTS = (50, 90, 99)

LEAST_RUNS = 100
"""From here on ten samples lie beyond p90; with fewer runs no report is valid."""

MOST_DRIFT = 0.05
"""Largest relative difference between the median latencies of the first and the last quarter of a valid report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """The latencies of one subject, in the order in which they were taken; nothing is clipped.

    load_ns: reading the file and opening the graph; first_ns: the first inference, both in the measuring process; process_peak_mib: the most memory
    that this process had held when all subjects were warm, None where unknown; samples_ns: each timed run after the warm-up; interrupted: someone
    stopped it before it had enough; graph_sha256: of the ONNX bytes that were run; sessions: how many ran at the same time, on one thread each where
    there are several; batch: images of a run, of all sessions; idle_ms: slept before each run, which isn't counted; cpu_ns: CPU time of all timed
    runs; bursts: how many samples each burst has, in order; asked_provider: who should have run it, None for whoever does;
    quantization: as the manifest says, None where a bare graph says nothing.
    Figures and the verdict are derived.
    """

    name: str
    graph_sha256: str | None = None
    engine: str = "ort"
    batch: int
    provider: str
    asked_provider: str | None = None
    threads: int
    sessions: int = 1
    scenario: Scenario = "single-stream"
    idle_ms: float = 0.0
    load_ns: int | None
    first_ns: int | None
    process_peak_mib: float | None
    warmup: int
    min_seconds: float
    min_runs: int
    interrupted: bool
    samples_ns: tuple[int, ...]
    bursts: tuple[int, ...] = ()
    cpu_ns: int | None = None
    quantization: str | None = None
    conditions: Conditions | None = None
    startup: Startup | None = None
    profile: Profile | None = None

    @property
    def runs(self) -> int:
        return len(self.samples_ns)

    @property
    def mean_ns(self) -> float | None:
        return sum(self.samples_ns) / self.runs if self.runs else None

    @property
    def images_per_second(self) -> float | None:
        """Images over the time spent in runs."""
        total = sum(self.samples_ns)
        return 1e9 * self.batch * self.runs / total if total else None

    @property
    def cpu_ns_per_run(self) -> float | None:
        return None if self.cpu_ns is None or not self.runs else self.cpu_ns / self.runs

    @property
    def busy_threads(self) -> float | None:
        """CPU time over the time of the runs: how many threads really computed."""
        total = sum(self.samples_ns)
        return None if self.cpu_ns is None or not total else self.cpu_ns / total

    @property
    def drift(self) -> float | None:
        """Median latency of the last quarter of the runs over that of the first, less 1; None under four runs."""
        quarter = self.runs // 4
        if not quarter:
            return None
        first, last = np.median(self.samples_ns[:quarter]), np.median(self.samples_ns[-quarter:])
        return float(last / first - 1) if first else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the figures can't be trusted; empty when the report is valid."""
        found = []
        if self.interrupted:
            found.append(f"interrupted after {self.runs} runs")
        elif self.runs < LEAST_RUNS:
            found.append(f"{self.runs} runs are too few, at least {LEAST_RUNS} are needed")
        drift = self.drift
        if drift is not None and abs(drift) > MOST_DRIFT:
            found.append(f"latency drifted by {drift:+.1%} from the first to the last quarter, at most {MOST_DRIFT:.0%} is steady")
        if self.conditions is not None:
            found += self.conditions.problems(idle=self.idle_ms > 0)
        if self.asked_provider is not None and _short(self.asked_provider) != _short(self.provider):
            found.append(f"{self.asked_provider} was asked for, {self.provider} ran it")
        return tuple(found)

    @property
    def valid(self) -> bool:
        return not self.problems

    def percentiles(self) -> Mapping[str, tuple[float, float, float] | None]:
        """Milliseconds: (p50, low, high) and so on, low and high the ends of its 95 % interval; None where fewer than ten samples lie beyond it."""
        ordered = np.sort(np.asarray(self.samples_ns, dtype=np.int64))
        found: dict[str, tuple[float, float, float] | None] = {}
        for percent in PERCENTS:
            value = percentile(ordered, percent)
            if value is None:
                found[f"p{percent}"] = None
            else:
                low, high = percentile_interval(ordered, percent)
                found[f"p{percent}"] = (value / 1e6, low / 1e6, high / 1e6)
        return found

    def to_json_dict(self) -> dict[str, Any]:
        """Schema 2, times in milliseconds but for the samples; a percentile is null where fewer than ten samples lie beyond it."""
        percentiles = self.percentiles()
        return {
            "schema": SCHEMA,
            "file": self.name,
            "graph_sha256": self.graph_sha256,
            "scenario": self.scenario,
            "idle_ms": self.idle_ms,
            "engine": self.engine,
            "provider": self.provider,
            "asked_provider": self.asked_provider,
            "threads": self.threads,
            "sessions": self.sessions,
            "batch": self.batch,
            "quantization": self.quantization,
            "warmup": self.warmup,
            "min_seconds": self.min_seconds,
            "min_runs": self.min_runs,
            "load_ms": _milliseconds(self.load_ns),
            "first_ms": _milliseconds(self.first_ns),
            "process_peak_mib": self.process_peak_mib,
            "runs": self.runs,
            "ms": {
                "min": _milliseconds(min(self.samples_ns, default=None)),
                "mean": _milliseconds(self.mean_ns),
                **{name: None if found is None else found[0] for name, found in percentiles.items()},
            },
            "interval_ms": {name: None if found is None else list(found[1:]) for name, found in percentiles.items()},
            "images_per_second": self.images_per_second,
            "cpu_ms": _milliseconds(self.cpu_ns_per_run),
            "busy_threads": self.busy_threads,
            "drift": self.drift,
            "valid": self.valid,
            "problems": list(self.problems),
            "interrupted": self.interrupted,
            "conditions": None if self.conditions is None else asdict(self.conditions),
            "startup": None if self.startup is None else asdict(self.startup),
            **({} if self.profile is None else self.profile.to_json_dict()),
            "bursts": list(self.bursts),
            "samples_ns": list(self.samples_ns),
        }


def _short(provider: str) -> str:
    return provider.lower().removesuffix("executionprovider")


def _milliseconds(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6

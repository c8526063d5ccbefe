"""The verdict: each reason is provoked by itself, and what isn't known is no reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgecnn.device.bench.conditions import Conditions
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.statistics import percentile, percentile_interval
from tests.fixtures.bench_reports import bench_report

MS = 1_000_000
FINE = Conditions(seconds=10, cpus=2, others=0.01, clock_mhz=1500, rated_mhz=1500, capped_mhz=1500, throttled=0, flags=())


def report(samples: list[int] | None = None, **changes: Any) -> BenchReport:
    return bench_report([MS] * 200 if samples is None else samples, **{"warmup": 0, "min_seconds": 0.0, "min_runs": 1, "conditions": FINE, **changes})


def test_a_steady_run_on_a_quiet_machine_is_valid_known_or_not() -> None:
    assert report().valid
    assert report(conditions=None).valid
    assert report(conditions=Conditions(seconds=10, cpus=2)).valid


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"samples_ns": (MS,) * 99}, "99 runs are too few"),
        ({"samples_ns": (MS,) * 100 + (MS * 12 // 10,) * 100}, "latency drifted by +20.0%"),
        ({"conditions": replace(FINE, others=0.11)}, "others had 11% of the CPUs' time"),
        ({"conditions": replace(FINE, clock_mhz=1300)}, "the clock was lowered to 1300 of 1500 MHz"),
        ({"conditions": replace(FINE, capped_mhz=1000)}, "the clock was limited to 1000 of 1500 MHz"),
        ({"conditions": replace(FINE, throttled=1)}, "the CPU throttled itself"),
        ({"conditions": replace(FINE, flags=("under-voltage",))}, "the firmware reports under-voltage"),
        ({"asked_provider": "cuda"}, "cuda was asked for, CPUExecutionProvider ran it"),
        ({"interrupted": True}, "interrupted after 200 runs"),
    ],
)
def test_each_reason_makes_it_invalid_by_itself(changes: dict[str, Any], reason: str) -> None:
    found = report(**changes)
    assert not found.valid
    assert len(found.problems) == 1
    assert found.problems[0].startswith(reason)
    assert found.to_json_dict()["problems"] == list(found.problems)


@pytest.mark.parametrize("asked", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_short_name_of_the_provider_is_the_same(asked: str) -> None:
    assert report(asked_provider=asked).valid


def test_cpu_time_tells_how_many_threads_computed() -> None:
    found = report(cpu_ns=380 * MS)
    assert found.cpu_ns_per_run == pytest.approx(1.9 * MS)
    assert found.busy_threads == pytest.approx(1.9)
    assert found.to_json_dict()["cpu_ms"] == pytest.approx(1.9)
    assert report([]).busy_threads is None


def test_a_percentile_has_an_interval_around_it_where_it_is_stated() -> None:
    samples = [int(value) for value in np.random.Generator(np.random.PCG64(1)).gamma(4, MS / 4, 500)]
    found = json.loads(json.dumps(report(samples).to_json_dict(), allow_nan=False))
    for name in ("p50", "p90"):
        low, high = found["interval_ms"][name]
        assert low < found["ms"][name] < high
    assert (found["ms"]["p99"], found["interval_ms"]["p99"]) == (None, None)
    assert report(samples).percentiles() == report(samples).percentiles()


def test_intervals_hold_what_they_promise() -> None:
    """Of 400 experiments with 200 samples each, about 95 of 100 intervals hold the true percentile."""
    random = np.random.Generator(np.random.PCG64(7))
    held = 0
    for _ in range(400):
        low, high = percentile_interval(np.sort(random.integers(0, 1_000_000, 200)), 90)
        held += low <= 900_000 <= high
    assert 0.91 <= held / 400 <= 0.98


def test_the_interval_is_the_bootstrap_s() -> None:
    """Against resamples that are really drawn."""
    random = np.random.Generator(np.random.PCG64(3))
    ordered = np.sort(random.integers(0, 10_000, 300))
    drawn = [percentile(np.sort(random.choice(ordered, 300)), 90) for _ in range(4000)]
    low, high = percentile_interval(ordered, 90, draws=4000)
    places = {int(value): at for at, value in enumerate(ordered)}
    assert abs(places[low] - places[int(np.percentile(np.asarray(drawn, dtype=float), 2.5, method="nearest"))]) <= 2
    assert abs(places[high] - places[int(np.percentile(np.asarray(drawn, dtype=float), 97.5, method="nearest"))]) <= 2


@pytest.mark.parametrize(("samples", "percent"), [([], 90), ([1, 2], 10), ([1], 100)])
def test_impossible_intervals_are_refused(samples: list[int], percent: int) -> None:
    with pytest.raises(ValueError, match="has no interval"):
        percentile_interval(samples, percent)

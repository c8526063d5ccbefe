"""Timing with a clock of our own: what is counted, in which turn, when it is enough, and when it is not to be believed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.device.measure import BenchReport, Subject, measure_all, peak_memory_mib
from edgecnn.errors import UsageError

MS = 1_000_000


@dataclass
class World:
    """A clock that only runs move, and a log of who ran."""

    now: int = 0
    ran: list[str] = field(default_factory=list)

    def subject(self, name: str, latencies: Callable[[int], int]) -> Subject:
        count = 0

        def run() -> None:
            nonlocal count
            self.now += latencies(count)
            count += 1
            self.ran.append(name)

        return Subject(name=name, run=run, provider="CPUExecutionProvider", threads=1)

    def clock(self) -> int:
        return self.now


def _report(samples: list[int], **changes: object) -> BenchReport:
    report = BenchReport(
        name="net.edgecnn",
        batch=1,
        provider="CPUExecutionProvider",
        threads=1,
        load_ns=5 * MS,
        first_ns=2 * MS,
        warmup=0,
        min_seconds=0.0,
        min_runs=1,
        interrupted=False,
        samples_ns=tuple(samples),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def test_the_first_and_the_warm_up_runs_are_not_counted() -> None:
    world = World()
    slow_start = world.subject("net", lambda i: 900 * MS if i == 0 else 50 * MS if i <= 7 else MS)
    (report,) = measure_all([slow_start], warmup=7, min_seconds=0.0, min_runs=100, clock=world.clock)
    assert report.first_ns == 900 * MS
    assert set(report.samples_ns) == {MS}
    assert report.valid


@given(st.integers(1, 300), st.floats(0, 2), st.lists(st.integers(1, 200).map(lambda ms: ms * MS // 10), min_size=1, max_size=3), st.integers(0, 3))
def test_every_subject_gets_both_minima(min_runs: int, min_seconds: float, latencies: list[int], warmup: int) -> None:
    world = World()
    subjects = [world.subject(str(i), lambda _, ns=ns: ns) for i, ns in enumerate(latencies)]  # type: ignore[misc]
    reports = measure_all(subjects, warmup=warmup, min_seconds=min_seconds, min_runs=min_runs, clock=world.clock)
    for report, ns in zip(reports, latencies, strict=True):
        assert report.runs >= min_runs
        assert sum(report.samples_ns) >= min_seconds * 1e9 * (1 - 1e-12)
        assert set(report.samples_ns) == {ns}  # no sample is lost, clipped or another's
        assert not report.interrupted
    if len(reports) == 1:  # every run is a sample, but for the first and the warm-up
        assert len(world.ran) == reports[0].runs + 1 + warmup


def test_several_subjects_take_turns_in_bursts() -> None:
    world = World()
    subjects = [world.subject(name, lambda _: MS) for name in "abc"]
    measure_all(subjects, warmup=0, min_seconds=0.5, min_runs=1, clock=world.clock)
    bursts: list[list[object]] = []
    for name in world.ran[3:]:  # the first runs of each
        if not bursts or bursts[-1][0] != name:
            bursts.append([name, 0])
        bursts[-1][1] += 1  # type: ignore[operator]
    assert "".join(str(name) for name, _ in bursts[:8]) == "abcbcaca"  # c's last of round two and first of round three join: abc bca cab
    assert bursts[0] == ["a", 101]  # one to settle and 0.1 s of samples


def test_a_slow_network_still_gets_ten_runs_a_burst() -> None:
    world = World()
    subjects = [world.subject(name, lambda _: 100 * MS) for name in "ab"]
    reports = measure_all(subjects, warmup=0, min_seconds=0.0, min_runs=1, clock=world.clock)
    assert [report.runs for report in reports] == [10, 10]


def test_too_few_runs_are_invalid() -> None:
    assert _report([MS] * 100).valid
    report = _report([MS] * 99)
    assert report.problems == ("99 runs are too few, at least 100 are needed",)


def test_an_engine_that_slows_down_is_invalid() -> None:
    world = World()
    throttled = world.subject("net", lambda i: MS + i * MS // 4000)
    (report,) = measure_all([throttled], warmup=0, min_seconds=0.0, min_runs=1000, clock=world.clock)
    assert not report.valid
    assert "latency drifted by +" in report.problems[0]


@given(st.integers(100, 400), st.floats(0.5, 2))
def test_drift_is_judged_by_its_limit_in_both_directions(runs: int, factor: float) -> None:
    last = round(10 * MS * factor)
    report = _report([10 * MS] * (runs - runs // 4) + [last] * (runs // 4))
    assert report.drift == pytest.approx(last / (10 * MS) - 1)
    assert report.valid == (abs(last / (10 * MS) - 1) <= 0.05)


def test_outliers_stay_and_show() -> None:
    report = _report([MS] * 989 + [500 * MS] * 11)
    found = report.to_json_dict()
    assert found["ms"]["p99"] == 500
    assert found["ms"]["mean"] == pytest.approx(6.489)
    assert len(found["samples_ns"]) == 1000


def test_percentiles_appear_only_with_ten_samples_beyond_them() -> None:
    def stated(runs: int) -> set[str]:
        return {name for name, value in _report([MS] * runs).to_json_dict()["ms"].items() if value is not None}

    assert stated(0) == set()
    assert stated(19) == {"min", "mean"}
    assert stated(20) == {"min", "mean", "p50"}
    assert stated(100) == {"min", "mean", "p50", "p90"}
    assert stated(1000) == {"min", "mean", "p50", "p90", "p99"}


def test_throughput_counts_the_images_of_a_batch() -> None:
    assert _report([4 * MS] * 100, batch=8).images_per_second == pytest.approx(2000)


def test_the_json_form_keeps_what_was_asked_for_and_can_be_written() -> None:
    found = json.loads(json.dumps(_report([MS, 2 * MS]).to_json_dict(), allow_nan=False))
    assert found["schema"] == 1
    assert (found["load_ms"], found["first_ms"], found["min_runs"], found["valid"]) == (5, 2, 1, False)
    assert json.dumps(_report([]).to_json_dict(), allow_nan=False)


@pytest.mark.parametrize("at", [0, 3, 60, 700])
def test_an_interrupt_leaves_what_was_taken_marked_so(at: int) -> None:
    world = World()

    def latency(run: int) -> int:
        if run == at:
            raise KeyboardInterrupt
        return MS

    reports = measure_all([world.subject("net", latency), world.subject("other", lambda _: MS)], warmup=5, min_runs=10_000, clock=world.clock)
    assert [report.interrupted for report in reports] == [True, True]
    assert all("interrupted after" in report.problems[0] for report in reports)
    assert bool(reports[0].runs) == (at > 6)


def test_progress_goes_up_to_the_end() -> None:
    world = World()
    seen: list[float] = []
    measure_all([world.subject("net", lambda _: MS)], warmup=0, min_seconds=1.0, min_runs=1, clock=world.clock, progress=seen.append)
    assert seen == sorted(seen)
    assert 0.7 < seen[-1] <= 1


@pytest.mark.parametrize("limits", [{"warmup": -1}, {"min_seconds": -1.0}, {"min_seconds": math.nan}, {"min_seconds": math.inf}, {"min_runs": 0}])
def test_impossible_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="can't be measured"):
        measure_all([World().subject("net", lambda _: MS)], **limits)  # type: ignore[arg-type]


def test_peak_memory_is_this_process_own() -> None:
    ballast = np.ones(40 << 20, dtype=np.uint8)
    before = peak_memory_mib()
    assert before is not None
    assert before > ballast.nbytes / 2**20
    code = "from edgecnn.device.measure import peak_memory_mib; print(peak_memory_mib())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(child.stdout) < before  # a child is not charged for its parent


def test_peak_memory_without_proc_comes_from_getrusage(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", absent)
    peak = peak_memory_mib()
    assert peak is not None
    assert 5 < peak < 100_000

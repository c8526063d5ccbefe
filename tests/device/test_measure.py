"""Timing with a clock of our own: what is counted, in which turn, when it is enough, and when it is not to be believed."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgecnn.device import measure as module
from edgecnn.device.bench.conditions import Conditions, Watch
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.engines import open_graph
from edgecnn.device.measure import Subject, measure, measure_all, open_subject, peak_memory_mib
from edgecnn.errors import ArtifactRejected, GraphRejected, InputMissing, UsageError
from tests.fixtures.artifacts import color_artifact, manifest_of
from tests.fixtures.bench_reports import bench_report
from tests.fixtures.graphs import color_classifier, one_node

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
    return bench_report(samples, **{"warmup": 0, "min_seconds": 0.0, "min_runs": 1, **changes})


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


def test_memory_is_read_when_all_are_warm_and_no_sample_is_kept_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(module, "peak_memory_mib", lambda: float(len(world.ran)))
    reports = measure_all([world.subject(name, lambda _: MS) for name in "ab"], warmup=4, min_seconds=0.0, min_runs=1, clock=world.clock)
    assert [report.process_peak_mib for report in reports] == [10, 10]


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


def test_a_duty_cycle_sleeps_before_each_run_and_does_not_count_it() -> None:
    world = World()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.now += round(seconds * 1e9)

    subjects = [world.subject(name, lambda _: 2 * MS) for name in "ab"]
    reports = measure_all(subjects, warmup=0, min_seconds=5.0, min_runs=1, idle_ms=500, clock=world.clock, sleep=sleep)
    for report in reports:
        assert set(report.samples_ns) == {2 * MS}
        assert report.runs == 10  # 5 s of sleep and runs
        assert (report.idle_ms, report.to_json_dict()["idle_ms"]) == (500, 500)
    assert slept == [0.5] * 20


def test_bursts_and_cpu_time_are_kept() -> None:
    world = World()
    subjects = [world.subject(name, lambda _: MS) for name in "ab"]
    # a process with two busy threads
    reports = measure_all(subjects, warmup=0, min_seconds=0.25, min_runs=1, clock=world.clock, cpu_clock=lambda: 2 * world.now)
    for report in reports:
        assert report.bursts == (100, 100, 100)
        assert report.busy_threads == 2


class Seen(Watch):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def sample(self) -> None:
        self.calls.append("sample")

    def stop(self) -> Conditions:
        self.calls.append("stop")
        return Conditions(seconds=1, cpus=2, others=0.5)


@pytest.mark.parametrize("at", [None, 20])
def test_the_machine_is_watched_while_it_measures_and_counts_for_all(at: int | None) -> None:
    world, watch = World(), Seen()

    def latency(run: int) -> int:
        if run == at:
            raise KeyboardInterrupt
        return MS

    subjects = [world.subject("a", latency), world.subject("b", lambda _: MS)]
    reports = measure_all(subjects, warmup=0, min_seconds=0.15, min_runs=100, clock=world.clock, watch=watch)
    assert (watch.calls[0], watch.calls[-1]) == ("start", "stop")
    assert watch.calls.count("sample") == (4 if at is None else 0)
    assert all(any("others had 50%" in problem for problem in report.problems) for report in reports)


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
    assert found["schema"] == 2
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


@pytest.mark.parametrize(
    "limits",
    [
        {"warmup": -1},
        {"min_seconds": -1.0},
        {"min_seconds": math.nan},
        {"min_seconds": math.inf},
        {"min_runs": 0},
        {"idle_ms": -1.0},
        {"idle_ms": math.nan},
        {"idle_ms": 1e12},
    ],
)
def test_impossible_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"can't be (measured|slept)"):
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


@pytest.mark.parametrize(("batch", "images"), [(1, 1), (3, 3), ("batch", 1)])
def test_an_artifact_is_timed_on_its_golden_inputs(tmp_path: Path, batch: int | str, images: int) -> None:
    path = color_artifact(tmp_path / "colors.edgecnn", batch=batch)
    subject = open_subject(path, threads=1)
    answers = subject.run()
    assert isinstance(answers, np.ndarray)
    assert answers.shape == (images, 3)
    assert np.abs(answers).max() < 5  # of images: the mean of a channel lies between 0 and 1
    assert (subject.batch, subject.provider, subject.threads) == (images, "CPUExecutionProvider", 1)
    assert subject.load_ns is not None
    assert subject.load_ns > 0
    report = measure_all([subject], warmup=0, min_seconds=0.0, min_runs=1)[0]
    assert report.to_json_dict()["graph_sha256"] == manifest_of(path).member("model.onnx").sha256


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_a_bare_graph_is_timed_on_made_up_inputs(tmp_path: Path, batch: int | str) -> None:
    path = tmp_path / "colors.ONNX"
    path.write_bytes(color_classifier(batch=batch))
    subject = open_subject(path, threads=1)
    first, second = subject.run(), open_subject(path, threads=1).run()
    assert isinstance(first, np.ndarray)
    assert first.shape == (subject.batch, 3) == (4 if batch == 4 else 1, 3)
    assert np.array_equal(first, np.asarray(second))  # the same input every time
    assert subject.graph_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_graph_with_open_sizes_needs_them_fixed(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    path.write_bytes(one_node(shape=("batch", 3, "height", "width")))
    with pytest.raises(GraphRejected, match=r"\[batch, 3, height, width\]; beside the batch devices want fixed sizes"):
        open_subject(path)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    for name, error in (("gone.onnx", InputMissing), ("gone.edgecnn", InputMissing)):
        with pytest.raises(error, match="gone"):
            open_subject(tmp_path / name)
    for name, refusal in (("bad.onnx", GraphRejected), ("bad.edgecnn", ArtifactRejected)):
        (tmp_path / name).write_bytes(b"no network")
        with pytest.raises(refusal):
            open_subject(tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(GraphRejected, match="can't be read"):
        open_subject(tmp_path / "folder.onnx")


def test_an_open_graph_can_be_measured_by_itself() -> None:
    engine = open_graph(color_classifier(batch="batch"), threads=1)
    report = measure(engine, np.zeros((2, 3, 8, 8), dtype=np.float32), name="colors", min_seconds=0.0, min_runs=5)
    assert report.runs >= 10  # at least one burst
    assert min(report.samples_ns) > 0
    assert (report.name, report.batch, report.interrupted) == ("colors", 2, False)


def _two_by_two(kind: int) -> bytes:
    """a, b -> a + b and a * b."""
    edges = {name: helper.make_tensor_value_info(name, kind, (1, 4)) for name in ("a", "b", "sum", "product")}
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])]
    graph = helper.make_graph(nodes, "two", [edges["a"], edges["b"]], [edges["sum"], edges["product"]])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def test_a_graph_with_several_inputs_and_outputs_can_be_timed_too(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(_two_by_two(TensorProto.FLOAT))
    answers = open_subject(path, threads=1).run()
    assert isinstance(answers, tuple)
    assert [answer.shape for answer in answers] == [(1, 4), (1, 4)]


def test_an_input_of_an_unusual_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(_two_by_two(TensorProto.INT64))
    with pytest.raises(UsageError, match=r"input a of .*two\.onnx is int64"):
        open_subject(path, threads=1)

"""Timing that can be believed: warm-up, enough runs, bursts in rotation, every sample kept, and a reason where the figures can't be trusted."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgecnn.device.bench.conditions import Conditions, Watch
from edgecnn.device.bench.report import BenchReport, Scenario
from edgecnn.errors import UsageError

if TYPE_CHECKING:
    from edgecnn.device.bench.opening import Shapes
    from edgecnn.device.engines import Engine

BURST_SECONDS = 0.1
BURST_RUNS = 10

MOST_IDLE_MS = 3_600_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Something to time: `run()` is one inference on `batch` images, its input ready in memory. load_ns: from the file to there;
    graph_sha256: of the ONNX bytes that are run, where there are such; sessions: how many run at the same time in one `run()`; asked_provider: who
    should run it, where somebody asked; quantization: as a manifest says."""

    name: str
    run: Callable[[], object]
    batch: int = 1
    engine: str = "ort"
    provider: str
    asked_provider: str | None = None
    threads: int
    sessions: int = 1
    scenario: Scenario = "single-stream"
    load_ns: int | None = None
    graph_sha256: str | None = None
    quantization: str | None = None


def measure(engine: Engine, x: NDArray[Any], *, name: str = "", warmup: int = 20, min_seconds: float = 10.0, min_runs: int = 100) -> BenchReport:
    """The latency of an open graph with one input and one output on `x`, whose first axis is the batch."""
    subject = Subject(name=name, run=lambda: engine.run_one(x), batch=x.shape[0], provider=engine.provider, threads=engine.threads)
    return measure_all([subject], warmup=warmup, min_seconds=min_seconds, min_runs=min_runs)[0]


def measure_all(
    subjects: Sequence[Subject],
    *,
    warmup: int = 20,
    min_seconds: float = 10.0,
    min_runs: int = 100,
    idle_ms: float = 0.0,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu_clock: Callable[[], int] = time.process_time_ns,
    sleep: Callable[[float], object] = time.sleep,
    watch: Watch | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[BenchReport, ...]:
    """Time each subject until it has both `min_runs` runs and `min_seconds` seconds in runs, after `warmup` runs that are not counted.

    Runs come in bursts of at least 0.1 s and 10 runs. With several subjects the bursts take turns, each round starting with the next
    subject, so that drift hits all alike; the first run of a burst then finds another's data in the caches and is not counted.
    idle_ms: a duty cycle, so long is slept before each run, which then finds caches and clock as a device that just woke up does; the sleep isn't
    timed, but `min_seconds` are of sleep and runs together, and a burst's first run counts as any other.
    watch: looks at the machine meanwhile, for the verdict. progress is called after each burst with the share done. Ctrl-C ends the measurement:
    what was taken is reported as interrupted. clock, cpu_clock: nanoseconds; sleep: takes seconds. Raises UsageError for impossible limits.
    """
    if not (warmup >= 0 and 0 <= min_seconds < math.inf and min_runs >= 1):
        raise UsageError(f"{warmup} warm-up runs, {min_seconds:g} seconds and {min_runs} runs can't be measured; give at least 0, 0 and 1.")
    if not 0 <= idle_ms <= MOST_IDLE_MS:
        raise UsageError(f"{idle_ms:g} ms can't be slept before each run; give 0 to {MOST_IDLE_MS:g}.")
    pace = _Pace(clock, cpu_clock, sleep, idle_ms)
    states = [_State(subject, pace) for subject in subjects]
    interrupted, peak, conditions = False, None, None
    try:
        for state in states:
            state.warm_up(warmup)
        peak = peak_memory_mib()  # the samples to come are the measurement's own memory
        if watch is not None:
            watch.start()
        _take_turns(states, min_seconds, min_runs, watch, progress)
    except KeyboardInterrupt:
        interrupted = True
    if watch is not None:
        conditions = watch.stop()
    return tuple(
        state.report(peak, conditions, warmup=warmup, min_seconds=min_seconds, min_runs=min_runs, interrupted=interrupted) for state in states
    )


def _take_turns(states: Sequence[_State], min_seconds: float, min_runs: int, watch: Watch | None, progress: Callable[[float], None] | None) -> None:
    """Bursts in rotation until every subject has enough."""
    turn = 0
    while (done := min(state.done(min_seconds, min_runs) for state in states)) < 1:
        for offset in range(len(states)):
            states[(turn + offset) % len(states)].burst(settle=len(states) > 1)
            if watch is not None:
                watch.sample()
            if progress is not None:
                progress(done)
        turn += 1


@dataclass(frozen=True, slots=True)
class _Pace:
    """What tells time and lets it pass."""

    clock: Callable[[], int]
    cpu_clock: Callable[[], int]
    sleep: Callable[[float], object]
    idle_ms: float


class _State:
    """A subject while it is measured. slept: nanoseconds, the samples' own aside."""

    def __init__(self, subject: Subject, pace: _Pace) -> None:
        self.subject, self.pace = subject, pace
        self.samples = array("q")
        self.bursts: list[int] = []
        self.total = self.slept = self.cpu = 0
        self.first: int | None = None

    def warm_up(self, runs: int) -> None:
        start = self.pace.clock()
        self.subject.run()
        self.first = self.pace.clock() - start
        for _ in range(runs):
            self.subject.run()

    def burst(self, *, settle: bool) -> None:
        run, samples, clock, idle_ms = self.subject.run, self.samples, self.pace.clock, self.pace.idle_ms
        if settle and not idle_ms:
            run()
        before = len(samples)
        least, until = before + BURST_RUNS, clock() + int(BURST_SECONDS * 1e9)
        end, cpu = 0, self.pace.cpu_clock()
        try:
            while end < until or len(samples) < least:
                start = clock()
                if idle_ms:
                    self.pace.sleep(idle_ms / 1e3)
                    woken = clock()
                    self.slept += woken - start
                    start = woken
                run()
                end = clock()
                samples.append(end - start)
                self.total += end - start
        finally:  # Ctrl-C may come here
            self.cpu += self.pace.cpu_clock() - cpu
            if len(samples) > before:
                self.bursts.append(len(samples) - before)

    def done(self, min_seconds: float, min_runs: int) -> float:
        """Share of what was asked for, 1 or more when there is enough."""
        by_runs = len(self.samples) / min_runs
        return min(by_runs, (self.total + self.slept) / (min_seconds * 1e9)) if min_seconds else by_runs

    def report(
        self, peak: float | None, conditions: Conditions | None, *, warmup: int, min_seconds: float, min_runs: int, interrupted: bool
    ) -> BenchReport:
        subject = self.subject
        return BenchReport(
            name=subject.name,
            graph_sha256=subject.graph_sha256,
            engine=subject.engine,
            batch=subject.batch,
            provider=subject.provider,
            asked_provider=subject.asked_provider,
            threads=subject.threads,
            sessions=subject.sessions,
            scenario=subject.scenario,
            idle_ms=self.pace.idle_ms,
            quantization=subject.quantization,
            load_ns=subject.load_ns,
            first_ns=self.first,
            process_peak_mib=peak,
            warmup=warmup,
            min_seconds=min_seconds,
            min_runs=min_runs,
            interrupted=interrupted and self.done(min_seconds, min_runs) < 1,
            samples_ns=tuple(self.samples),
            bursts=tuple(self.bursts),
            cpu_ns=self.cpu if self.samples else None,
            conditions=conditions,
        )


def peak_memory_mib() -> float | None:
    """The most resident memory that this process has held, in MiB; None where the system doesn't tell."""
    try:
        # getrusage on Linux also counts the process that started this one, before exec
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def open_subject(
    path: Path | str,
    *,
    threads: int | None = None,
    trust_key: Path | str | None = None,
    engine: str = "ort",
    provider: str | None = None,
    shapes: Shapes | None = None,
    scenario: Scenario = "single-stream",
) -> Subject:
    """An artifact on its own golden inputs, or a bare .onnx (by its name's end) on seeded random ones, ready to be timed.

    Single stream: one image where the batch is open. Offline: see edgecnn.device.bench.offline. A graph with several inputs or outputs is run without
    bound buffers. trust_key: a PEM file with a public key, whose signature of the file is then required; checking it is part of loading.
    shapes: sizes of a bare graph's inputs that it leaves open. Raises what `edgecnn.device.bench.opening.open_file` does.
    """
    from edgecnn.device.bench.offline import OPEN_BATCH, together
    from edgecnn.device.bench.opening import open_file
    from edgecnn.device.bench.profile import provider_that_ran

    path = Path(path)
    images = OPEN_BATCH if scenario == "offline" else 1
    how: dict[str, Any] = {"trust_key": trust_key, "engine": engine, "provider": provider, "shapes": shapes, "images": images}
    opened = open_file(path, threads=threads, **how)
    run, batch, sessions, used = opened.run, opened.batch, 1, opened.engine.threads
    if scenario == "offline" and batch == 1 and used > 1:
        each = [open_file(path, threads=1, **how) for _ in range(used)]
        run, batch, sessions = together([one.run for one in each])
    return Subject(
        name=str(path),
        run=run,
        batch=batch,
        engine=engine,
        provider=provider_that_ran(opened) if provider and engine == "ort" else opened.engine.provider,
        asked_provider=provider,
        threads=used,
        sessions=sessions,
        scenario=scenario,
        load_ns=opened.load_ns,
        graph_sha256=opened.graph_sha256,
        quantization=opened.quantization,
    )

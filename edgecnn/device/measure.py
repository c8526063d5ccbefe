"""Timing that can be believed: warm-up, enough runs, bursts in rotation, every sample kept, and a reason where the figures can't be trusted."""

from __future__ import annotations

import hashlib
import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.device.statistics import percentile
from edgecnn.errors import UsageError

if TYPE_CHECKING:
    from edgecnn.device.engines import Engine

LEAST_RUNS = 100
"""From here on ten samples lie beyond p90; with fewer runs no report is valid."""

MOST_DRIFT = 0.05
"""Largest relative difference between the median latencies of the first and the last quarter of a valid report."""

BURST_SECONDS = 0.1
BURST_RUNS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Something to time: `run()` is one inference on `batch` images, its input ready in memory. load_ns: from the file to there;
    graph_sha256: of the ONNX bytes that are run, where there are such."""

    name: str
    run: Callable[[], object]
    batch: int = 1
    provider: str
    threads: int
    load_ns: int | None = None
    graph_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """The latencies of one subject, in the order in which they were taken; nothing is clipped.

    load_ns: reading the file and opening the graph; first_ns: the first inference; process_peak_mib: the most memory that this process had
    held when all subjects were warm, None where unknown; samples_ns: each timed run after the warm-up; interrupted: someone stopped it before
    it had enough; graph_sha256: of the ONNX bytes that were run. Figures and the verdict are derived.
    """

    name: str
    graph_sha256: str | None = None
    batch: int
    provider: str
    threads: int
    load_ns: int | None
    first_ns: int | None
    process_peak_mib: float | None
    warmup: int
    min_seconds: float
    min_runs: int
    interrupted: bool
    samples_ns: tuple[int, ...]

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
        return tuple(found)

    @property
    def valid(self) -> bool:
        return not self.problems

    def to_json_dict(self) -> dict[str, Any]:
        """Schema 1, times in milliseconds but for the samples; a percentile is null where fewer than ten samples lie beyond it."""
        ordered = sorted(self.samples_ns)
        return {
            "schema": 1,
            "file": self.name,
            "graph_sha256": self.graph_sha256,
            "provider": self.provider,
            "threads": self.threads,
            "batch": self.batch,
            "warmup": self.warmup,
            "min_seconds": self.min_seconds,
            "min_runs": self.min_runs,
            "load_ms": _milliseconds(self.load_ns),
            "first_ms": _milliseconds(self.first_ns),
            "process_peak_mib": self.process_peak_mib,
            "runs": self.runs,
            "ms": {
                "min": _milliseconds(ordered[0] if ordered else None),
                "mean": _milliseconds(self.mean_ns),
                **{f"p{percent}": _milliseconds(percentile(ordered, percent)) for percent in (50, 90, 99)},
            },
            "images_per_second": self.images_per_second,
            "drift": self.drift,
            "valid": self.valid,
            "problems": list(self.problems),
            "interrupted": self.interrupted,
            "samples_ns": list(self.samples_ns),
        }


def _milliseconds(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


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
    clock: Callable[[], int] = time.perf_counter_ns,
    progress: Callable[[float], None] | None = None,
) -> tuple[BenchReport, ...]:
    """Time each subject until it has both `min_runs` runs and `min_seconds` seconds in runs, after `warmup` runs that are not counted.

    Runs come in bursts of at least 0.1 s and 10 runs. With several subjects the bursts take turns, each round starting with the next
    subject, so that drift hits all alike; the first run of a burst then finds another's data in the caches and is not counted.
    progress is called after each burst with the share done. Ctrl-C ends the measurement: what was taken is reported as interrupted.
    clock: nanoseconds. Raises UsageError for impossible limits.
    """
    if not (warmup >= 0 and 0 <= min_seconds < math.inf and min_runs >= 1):
        raise UsageError(f"{warmup} warm-up runs, {min_seconds:g} seconds and {min_runs} runs can't be measured; give at least 0, 0 and 1.")
    states = [_State(subject) for subject in subjects]
    interrupted, peak = False, None
    try:
        for state in states:
            state.warm_up(warmup, clock)
        peak = peak_memory_mib()  # the samples to come are the measurement's own memory
        _take_turns(states, min_seconds, min_runs, clock, progress)
    except KeyboardInterrupt:
        interrupted = True
    return tuple(
        BenchReport(
            name=state.subject.name,
            graph_sha256=state.subject.graph_sha256,
            batch=state.subject.batch,
            provider=state.subject.provider,
            threads=state.subject.threads,
            load_ns=state.subject.load_ns,
            first_ns=state.first,
            process_peak_mib=peak,
            warmup=warmup,
            min_seconds=min_seconds,
            min_runs=min_runs,
            interrupted=interrupted and state.done(min_seconds, min_runs) < 1,
            samples_ns=tuple(state.samples),
        )
        for state in states
    )


def _take_turns(
    states: Sequence[_State], min_seconds: float, min_runs: int, clock: Callable[[], int], progress: Callable[[float], None] | None
) -> None:
    """Bursts in rotation until every subject has enough."""
    turn = 0
    while (done := min(state.done(min_seconds, min_runs) for state in states)) < 1:
        for offset in range(len(states)):
            states[(turn + offset) % len(states)].burst(clock, settle=len(states) > 1)
            if progress is not None:
                progress(done)
        turn += 1


class _State:
    """A subject while it is measured."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.samples = array("q")
        self.total = 0
        self.first: int | None = None

    def warm_up(self, runs: int, clock: Callable[[], int]) -> None:
        start = clock()
        self.subject.run()
        self.first = clock() - start
        for _ in range(runs):
            self.subject.run()

    def burst(self, clock: Callable[[], int], *, settle: bool) -> None:
        run, samples = self.subject.run, self.samples
        if settle:
            run()
        least, until = len(samples) + BURST_RUNS, clock() + int(BURST_SECONDS * 1e9)
        end = 0
        while end < until or len(samples) < least:
            start = clock()
            run()
            end = clock()
            samples.append(end - start)
            self.total += end - start

    def done(self, min_seconds: float, min_runs: int) -> float:
        """Share of what was asked for, 1 or more when there is enough."""
        by_runs = len(self.samples) / min_runs
        return min(by_runs, self.total / (min_seconds * 1e9)) if min_seconds else by_runs


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


def open_subject(path: Path | str, *, threads: int | None = None, trust_key: Path | str | None = None, engine: str = "ort") -> Subject:
    """An artifact on its own golden inputs, or a bare .onnx (by its name's end) on seeded random ones, ready to be timed.

    One image where the batch is open. A graph with several inputs or outputs is run without bound buffers. trust_key: a PEM file with a public
    key, whose signature of the file is then required; checking it is part of loading.
    Raises InputMissing, ArtifactRejected, GraphRejected, SignatureRejected or KeyRejected, what the engine raises, and UsageError for sizes that
    are open beside the batch.
    """
    from edgecnn.device.engines import engine_module, open_graph
    from edgecnn.device.golden import read_golden
    from edgecnn.device.saturation import precise_for
    from edgecnn.device.session import open_session
    from edgecnn.sign import open_trusted

    engine_module(engine).runtime()  # so that its import doesn't count as the first graph's loading
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        start = time.perf_counter_ns()
        data = _read_graph(path, trust_key)
        opened = open_graph(data, threads=threads, engine=engine)
        load_ns = time.perf_counter_ns() - start
        digest = hashlib.sha256(data).hexdigest()
        feeds = {info.name: _example(info.name, info.dtype, info.shape, path) for info in opened.inputs}
    else:
        start = time.perf_counter_ns()
        with open_trusted(path, trust_key) as bundle:
            spec = bundle.manifest.spec
            precise = precise_for(bundle) if engine == "ort" else None
            opened = open_session(bundle.graph_source(), spec, threads=threads, precise=precise, engine=engine).engine
            load_ns = time.perf_counter_ns() - start
            inputs = read_golden(bundle).inputs
            digest = bundle.manifest.member("model.onnx").sha256
        rows = np.arange(spec.batch or 1) % len(inputs)
        feeds = {spec.input.name: inputs[rows].astype(spec.input.dtype)}
    if not feeds:
        raise UsageError(f"{path} takes no input, so there is nothing to time; give a network that takes one.")
    x = next(iter(feeds.values()))
    simple = len(opened.inputs) == 1 and len(opened.outputs) == 1
    return Subject(
        name=str(path),
        run=(lambda: opened.run_one(x)) if simple else (lambda: opened.run(feeds)),
        batch=x.shape[0] if x.ndim > 1 else 1,
        provider=opened.provider,
        threads=opened.threads,
        load_ns=load_ns,
        graph_sha256=digest,
    )


def _read_graph(path: Path, trust_key: Path | str | None) -> bytes:
    """The bytes of a .onnx file that holds nothing but a graph of its own."""
    from edgecnn.artifact.graph import check_device_graph, read_graph, read_onnx

    data = read_onnx(path)
    if trust_key is not None:
        from edgecnn.sign.check import check_data

        check_data(data, path, trust_key)
    check_device_graph(read_graph(data))
    return data


def _example(name: str, dtype: str, shape: Sequence[int | str | None], path: Path) -> NDArray[Any]:
    """Seeded values of an input's dtype and shape; standard normal where it takes floats, any pixel where it takes bytes."""
    sizes = [1 if axis == 0 and not isinstance(size, int) else size for axis, size in enumerate(shape)]
    fixed = [size for size in sizes if isinstance(size, int) and size > 0]
    if len(fixed) != len(sizes):
        raise UsageError(f"input {name} of {path} has the shape {list(shape)}, which is open beside the batch; export it with fixed sizes.")
    random = np.random.Generator(np.random.PCG64(0))
    if dtype in ("float32", "float16", "float64"):
        return random.standard_normal(fixed).astype(dtype)
    if dtype in ("uint8", "int8"):
        return random.integers(0, 256, fixed, dtype=np.uint8).view(dtype)
    raise UsageError(f"input {name} of {path} is {dtype}; float32, float16, float64, uint8 or int8 was wanted.")

"""What `edgecnn bench --json` wrote of a model, read back with suspicion: only samples are believed, and every figure is derived from them again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact.codec import CodecError, brief, decode, strict_json
from edgecnn.artifact.files import read_whole
from edgecnn.device.bench.conditions import Conditions
from edgecnn.device.bench.report import BenchReport, Scenario
from edgecnn.device.bench.startup import Startup
from edgecnn.errors import InputMissing, RecordRejected
from edgecnn.report.subject import Artifact

SCHEMAS = (1, 2)
"""The first had neither scenarios nor what the machine did meanwhile, start-up or intervals; its samples mean the same.
"""
MAX_BYTES = 256 << 20
MAX_SAMPLES = 1 << 24
MAX_NS = 10**15
"""Eleven days: a sample, or a sum of a few, still is an exact float."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTime:
    """name: as in the artifact's table of layers, or of an operator that belongs to none; ms: of one inference."""

    name: str
    ms: float

    def __post_init__(self) -> None:
        if not self.ms >= 0:
            raise ValueError(f"{self.ms} ms is no time")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line of bench's JSON, but for the samples; what follows from them isn't read."""

    file: str
    graph_sha256: str | None = None
    provider: str
    threads: int
    batch: int
    warmup: int
    min_seconds: float
    min_runs: int
    load_ms: float | None
    first_ms: float | None
    process_peak_mib: float | None
    interrupted: bool
    host: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[LayerTime, ...] = ()
    others: tuple[LayerTime, ...] = ()
    engine: str = "ort"
    asked_provider: str | None = None
    sessions: int = 1
    scenario: Scenario = "single-stream"
    idle_ms: float = 0.0
    quantization: str | None = None
    cpu_ms: float | None = None
    conditions: Conditions | None = None
    startup: Startup | None = None
    bursts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.batch < 1 or self.threads < 1 or self.sessions < 1:
            raise ValueError(f"batch {self.batch}, threads {self.threads} and sessions {self.sessions} must be at least 1")
        if min(self.bursts, default=1) < 1:
            raise ValueError("a burst holds no runs")
        for name in ("load_ms", "first_ms", "process_peak_mib", "idle_ms", "cpu_ms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MAX_NS / 1e6:
                raise ValueError(f"{name} is {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """report: the latencies; machine: where they were taken, in a few words, empty where that isn't stated; layers: ms by layer, where the
    benchmark told, and others, by operator, what belongs to none of them."""

    report: BenchReport
    machine: str
    layers: Mapping[str, float]
    others: Mapping[str, float] = field(default_factory=dict)


def read_timing(path: Path, artifact: Artifact) -> Timing:
    """The artifact's line of `edgecnn bench --json`.

    It is known by the sha256 of its graph, or where a benchmark doesn't state that by its file's name. Raises InputMissing, and RecordRejected for
    what isn't bench's output, has another schema, no samples, an impossible one, or is of other models.
    """
    lines = [_read_line(path, number, text) for number, text in _lines(path)]
    own = [found for found in lines if _is_of(found[0], artifact)]
    if len(own) != 1:
        others = ", ".join(sorted({Path(line.file).name for line, _ in lines}))
        what = f"has {len(own)} measurements" if own else f"is of {others}, and has none"
        raise RecordRejected(f"{path} {what} of {artifact.name} with this graph; run: edgecnn bench {artifact.name} --json > {path.name}")
    line, samples = own[0]
    known = {layer.name for layer in artifact.report.layers}
    foreign = next((layer.name for layer in line.layers if layer.name not in known), None)
    if foreign is not None:
        raise RecordRejected(f"{path} times a layer {foreign[:80]!r}, which {artifact.name} hasn't; measure this artifact again.")
    return Timing(
        report=_report(line, samples),
        machine=_machine(line.host),
        layers={layer.name: layer.ms for layer in line.layers},
        others={other.name: other.ms for other in line.others},
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        data = read_whole(path, MAX_BYTES)
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; run: edgecnn bench FILE --json > {path.name}") from None
    except OSError as error:
        raise RecordRejected(f"{path} can't be read ({error.strerror}); what `edgecnn bench --json` prints was wanted.") from None
    found = [(number, text) for number, text in enumerate(data.splitlines(), 1) if text.strip()]
    if not found:
        raise RecordRejected(f"{path} is empty; what `edgecnn bench --json` prints was wanted.")
    yield from found


def _read_line(path: Path, number: int, text: bytes) -> tuple[_Line, tuple[int, ...]]:
    try:
        document = strict_json(text, max_values=MAX_SAMPLES)
        if not isinstance(document, dict) or "samples_ns" not in document:
            raise CodecError(f"line {number}", "it isn't what `edgecnn bench --json` prints")
        if document.get("schema") not in SCHEMAS or isinstance(document["schema"], bool):
            raise CodecError("schema", f"{str(document.get('schema'))[:40]} was found, this edgecnn reads {' and '.join(map(str, SCHEMAS))}")
        line, samples = decode(_Line, {**document, "samples_ns": None}, where="bench"), _samples(document)
        if line.bursts and sum(line.bursts) != len(samples):
            raise CodecError("bursts", f"they hold {sum(line.bursts)} runs, there are {len(samples)} samples; the file was edited")
        return line, samples
    except CodecError as error:
        raise RecordRejected(f"{path} can't be used: {brief(str(error))}.") from None


def _samples(document: Mapping[str, Any]) -> tuple[int, ...]:
    samples = document["samples_ns"]
    if not isinstance(samples, list) or not samples:
        raise CodecError("samples_ns", "it holds no samples, so nothing can be told")
    wrong = next((sample for sample in samples if type(sample) is not int or not 0 <= sample <= MAX_NS), None)
    if wrong is not None:
        raise CodecError("samples_ns", f"it holds {str(wrong)[:40]}, which is no time in nanoseconds")
    if document.get("runs") != len(samples):
        raise CodecError("runs", f"it says {str(document.get('runs'))[:40]}, there are {len(samples)} samples; the file was edited")
    return tuple(samples)


def _is_of(line: _Line, artifact: Artifact) -> bool:
    if line.graph_sha256 is not None:
        return line.graph_sha256 == artifact.graph_sha256
    return Path(line.file).name == artifact.name


def _report(line: _Line, samples: tuple[int, ...]) -> BenchReport:
    return BenchReport(
        name=line.file,
        graph_sha256=line.graph_sha256,
        batch=line.batch,
        provider=line.provider,
        threads=line.threads,
        load_ns=_nanoseconds(line.load_ms),
        first_ns=_nanoseconds(line.first_ms),
        process_peak_mib=line.process_peak_mib,
        warmup=line.warmup,
        min_seconds=line.min_seconds,
        min_runs=line.min_runs,
        interrupted=line.interrupted,
        samples_ns=samples,
        engine=line.engine,
        asked_provider=line.asked_provider,
        sessions=line.sessions,
        scenario=line.scenario,
        idle_ms=line.idle_ms,
        quantization=line.quantization,
        cpu_ns=None if line.cpu_ms is None else round(line.cpu_ms * 1e6 * len(samples)),
        conditions=line.conditions,
        startup=line.startup,
        bursts=line.bursts,
    )


def _nanoseconds(ms: float | None) -> int | None:
    return None if ms is None else round(ms * 1e6)


def _machine(host: Mapping[str, Any]) -> str:
    """As bench's own last line says it, of what is there and of the right kind."""
    name = next((host[key] for key in ("processor", "machine") if isinstance(host.get(key), str) and host[key]), "")
    cores = f"{host['cores']} of {host['cores_online']} cores" if all(type(host.get(key)) is int for key in ("cores", "cores_online")) else ""
    isa = host.get("isa")
    features = " ".join(isa) if isinstance(isa, list) and all(isinstance(item, str) for item in isa) else ""
    return ", ".join(filter(None, (name, cores, features)))


# For a picture of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """bins: (low, high, count) in milliseconds; the last one also holds the `beyond` samples that are slower than it is drawn, up to `slowest`."""

    bins: tuple[tuple[float, float, int], ...]
    beyond: int
    slowest: float


def histogram(samples_ns: Sequence[int], *, bins: int = 48) -> Histogram:
    """Every sample is in one of the bins. A long tail would press all others into one bar, so the axis ends at eight times the distance from the
    median to the 90th percentile above the median. Raises ValueError for no samples."""
    if not samples_ns:
        raise ValueError("no samples make no histogram")
    ms = np.sort(np.asarray(samples_ns, dtype=np.float64)) / 1e6
    low, slowest = float(ms[0]), float(ms[-1])
    median, high = float(ms[(len(ms) - 1) // 2]), float(ms[(len(ms) - 1) * 9 // 10])
    end = min(slowest, median + 8 * (high - median)) if high > median else slowest
    if not end > low:
        end = low + max(low, 1e-3) * 0.1
    edges = np.linspace(low, end, bins + 1)
    counts, _ = np.histogram(np.minimum(ms, end), edges)
    beyond = int(np.sum(ms > end))
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return Histogram(bins=tuple(pairs), beyond=beyond, slowest=slowest)


def course(samples_ns: Sequence[int], *, points: int = 60) -> tuple[tuple[float, float], ...]:
    """(seconds in runs so far, median milliseconds) of successive groups of runs, in the order in which they were taken."""
    ms = np.asarray(samples_ns, dtype=np.float64) / 1e6
    size = max(1, math.ceil(len(ms) / points))
    ends = np.cumsum(ms) / 1e3
    return tuple((float(ends[min(at + size, len(ms)) - 1]), float(np.median(ms[at : at + size]))) for at in range(0, len(ms), size))

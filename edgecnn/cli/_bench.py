"""What `edgecnn bench` measures, in which order, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from edgecnn.cli._bench_text import lines, named
from edgecnn.cli._model import located
from edgecnn.cli._options import note, put, put_json, require_extra
from edgecnn.cli._progress import Show, progress_line
from edgecnn.device import measure
from edgecnn.device.bench import profile, startup
from edgecnn.device.bench.compare import Comparison, compare, here
from edgecnn.device.bench.conditions import Watch
from edgecnn.device.bench.opening import parse_shape
from edgecnn.device.bench.report import BenchReport, Scenario
from edgecnn.device.host import describe
from edgecnn.errors import BenchmarkInvalid, EdgecnnError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The command line."""

    files: tuple[str, ...]
    scenario: Scenario
    idle_ms: float
    min_seconds: float
    min_runs: int
    warmup: int
    threads: tuple[int | None, ...]
    provider: str | None
    shapes: tuple[str, ...]
    compare: bool
    profile: bool
    plot: Path | None
    as_json: bool
    store: Path | None
    trust_key: Path | None
    engine: str = "ort"


def run_bench(asked: Request) -> None:
    """Raises BenchmarkInvalid where a verdict is so, KeyboardInterrupt once what was taken is shown, and what opening and measuring do."""
    _check(asked)
    paths = [located(file, asked.store) for file in asked.files]
    how: dict[str, Any] = {
        "trust_key": asked.trust_key,
        "provider": asked.provider,
        "shapes": dict(parse_shape(text) for text in asked.shapes),
    }
    places = [(path, threads, _engine(path, threads, asked)) for path, threads in product(paths, asked.threads)]
    subjects = [measure.open_subject(path, threads=threads, scenario=asked.scenario, engine=engine, **how) for path, threads, engine in places]
    used = [(path, subject.threads, engine) for (path, _, engine), subject in zip(places, subjects, strict=True)]
    with progress_line() as show:
        starts = list(_startups(used, how, show))
        reports = measure.measure_all(
            subjects,
            warmup=asked.warmup,
            min_seconds=asked.min_seconds,
            min_runs=asked.min_runs,
            idle_ms=asked.idle_ms,
            watch=Watch(),
            progress=lambda done: show(f"measuring, {min(done, 1):.0%} done"),
        )
        interrupted = any(report.interrupted for report in reports)
        reports = tuple(replace(report, startup=start) for report, start in zip(reports, starts, strict=True))
        failure: BaseException | None = None
        if asked.profile and not interrupted:
            show("profiling")
            del subjects
            try:
                reports = tuple(
                    replace(report, profile=profile.profile_file(path, threads=threads, engine=engine, **how))
                    for report, (path, threads, engine) in zip(reports, used, strict=True)
                )
            except (KeyboardInterrupt, EdgecnnError) as error:
                failure = error  # once the latencies are shown, which took longer
    _tell(asked, reports, list(_comparisons(asked, reports)) if not interrupted else [])
    if failure is not None:
        raise failure
    if interrupted:
        raise KeyboardInterrupt
    invalid: dict[tuple[str, ...], list[str]] = {}
    for report, name in zip(reports, named(reports), strict=True):
        if not report.valid:
            invalid.setdefault(report.problems, []).append(name if len(reports) > 1 else report.name)
    if invalid:
        told = (f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} INVALID: {', '.join(problems)}" for problems, names in invalid.items())
        raise BenchmarkInvalid("; ".join(told) + ".")


def _check(asked: Request) -> None:
    """Raises UsageError for what doesn't go together, ExtraMissing or OutputNotWritable where a page could not be written: before anything runs."""
    if asked.compare and len(asked.files) != 2:
        raise UsageError(f"--compare compares two files, {len(asked.files)} were given.")
    if asked.idle_ms and asked.scenario == "offline":
        raise UsageError("--idle-ms is a duty cycle, and offline there is always work; give one of them.")
    if asked.profile:
        profile.check_engine(asked.engine)
    if asked.plot is not None:
        from edgecnn.artifact.files import check_writable

        with require_extra("report"):
            from edgecnn.report.page import environment

            environment()
        check_writable(asked.plot)
        if any(asked.plot.exists() and Path(file).exists() and asked.plot.samefile(file) for file in asked.files):
            raise UsageError(f"{asked.plot} is measured and would be replaced; give the page another name, e.g. {asked.plot.stem}.html.")


def _engine(path: Path, threads: int | None, asked: Request) -> str:
    """The engine that a file is timed in; what was chosen for --engine auto is said."""
    if asked.engine != "auto":
        return asked.engine
    from edgecnn.device.choice import engine_for

    chosen = engine_for(path, asked.engine, threads=threads, trust_key=asked.trust_key)
    if chosen.told:
        note(f"{chosen.told}.")
    return chosen.engine


def _startups(used: Sequence[tuple[Path, int, str]], how: dict[str, Any], show: Show) -> Iterator[startup.Startup | None]:
    """Of each file on so many threads, in its engine."""
    bases: dict[tuple[int, str], startup.Startup | None] = {}
    for path, threads, engine in used:
        show(f"starting {path.name} in a process of its own")
        if (threads, engine) not in bases:
            base = startup.measure_startup(None, threads=threads, provider=how["provider"], engine=engine)
            bases[threads, engine] = base if isinstance(base, startup.Startup) else None
        found = startup.measure_startup(path, threads=threads, base=bases[threads, engine], engine=engine, **how)
        if isinstance(found, startup.Failure):
            note(f"note: the start-up of {path} can't be measured: {found.reason}.")
        yield None if isinstance(found, startup.Failure) else found


def _comparisons(asked: Request, reports: Sequence[BenchReport]) -> Iterator[Comparison]:
    """The second file against the first, on each number of threads."""
    if asked.compare:
        half = len(reports) // 2
        yield from (compare(a, b) for a, b in zip(reports[:half], reports[half:], strict=True))


def _tell(asked: Request, reports: Sequence[BenchReport], comparisons: Sequence[Comparison]) -> None:
    host, names = describe(), named(reports)
    half = len(reports) // 2
    said = [here(found, (names[at], names[half + at])) for at, found in enumerate(comparisons)]
    if asked.as_json:
        for at, report in enumerate(reports):
            facts = {**report.to_json_dict(), "host": asdict(host)}
            if comparisons and at >= half:
                found = comparisons[at - half]
                facts["against"] = {
                    "file": found.a.name,
                    "ratio": found.ratio,
                    "interval": [found.low, found.high] if found.high < float("inf") else None,
                    "rounds": found.rounds,
                    "said": list(said[at - half]),
                }
            put_json(facts)
    else:
        for line in lines(reports, host, said):
            put(line)
    if asked.plot is not None and any(report.runs for report in reports):
        from edgecnn.artifact.files import write_atomic
        from edgecnn.report.bench import page

        data = page(reports, host, names=names, said=said).encode()
        write_atomic(asked.plot, data)
        note(f"{asked.plot}, {len(data):,} bytes")

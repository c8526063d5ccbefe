"""Measure latency percentiles, throughput, start-up and memory; several files side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import located, store_option
from edgecnn.cli._on import on_option
from edgecnn.cli._options import json_option, threads_option
from edgecnn.cli._trust import trust_options

if TYPE_CHECKING:
    from edgecnn.device.host import HostFacts
    from edgecnn.device.measure import BenchReport


@click.command(epilog="Example: edgecnn bench resnet8.edgecnn resnet8-float.onnx --threads 1")
@on_option(files="model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=_complete.model)
@click.option("--min-seconds", type=float, default=10.0, show_default=True, metavar="S", help="Least time in timed runs, a file.")
@click.option("--min-runs", type=int, default=100, show_default=True, metavar="N", help="Least number of timed runs, a file.")
@click.option("--warmup", type=int, default=20, show_default=True, metavar="N", help="Runs before the timed ones, a file.")
@threads_option
@json_option
@store_option
@trust_options
def command(
    files: tuple[str, ...],
    min_seconds: float,
    min_runs: int,
    warmup: int,
    threads: int | None,
    as_json: bool,
    store: Path | None,
    trust_key: Path | None,
) -> None:
    """Time the inference of artifacts, installed models (NAME or NAME@VERSION) or bare .onnx FILEs, image after image.

    Input and output buffers are bound. Several files take turns in bursts. Every sample counts; a percentile is shown where at least ten samples
    lie beyond it. Figures that can't be trusted are INVALID, with the reason and exit code 1. --json prints one line a file, with all samples.
    Where a signature is required each FILE needs one, a bare .onnx too.
    """
    from edgecnn.cli._options import put, put_json
    from edgecnn.cli._progress import progress_line
    from edgecnn.device.host import describe
    from edgecnn.device.measure import measure_all, open_subject
    from edgecnn.errors import BenchmarkInvalid

    subjects = [open_subject(located(file, store), threads=threads, trust_key=trust_key) for file in files]
    with progress_line() as show:
        reports = measure_all(
            subjects, warmup=warmup, min_seconds=min_seconds, min_runs=min_runs, progress=lambda done: show(f"measuring, {min(done, 1):.0%} done")
        )
    host = describe()
    if as_json:
        from dataclasses import asdict

        for report in reports:
            put_json({**report.to_json_dict(), "host": asdict(host)})
    else:
        for line in _lines(reports, host):
            put(line)
    if any(report.interrupted for report in reports):
        raise KeyboardInterrupt
    invalid = [report for report in reports if not report.valid]
    if invalid:
        raise BenchmarkInvalid("; ".join(f"{report.name} is INVALID: {', '.join(report.problems)}" for report in invalid) + ".")


def _lines(reports: tuple[BenchReport, ...], host: HostFacts) -> list[str]:
    from edgecnn.cli._options import columns, shown

    names = [_short(Path(report.name)) for report in reports]
    if len(set(names)) < len(names):
        names = [report.name for report in reports]
    rows = [["", *map(shown, names)]]
    facts = [_facts(report) for report in reports]
    rows += [[title, *(column[title] for column in facts)] for title in facts[0]]
    return [
        *columns(rows, right=range(1, len(reports) + 1)),
        f"peak memory {_number(reports[0].process_peak_mib)} MiB, of this process{' with all files' if len(reports) > 1 else ''}",
        f"on {host.processor or host.machine}, {host.cores} of {host.cores_online} cores{', ' if host.isa else ''}{' '.join(host.isa)}",
        *(f"{name}: {problem}" for name, report in zip(names, reports, strict=True) for problem in report.problems),
    ]


def _short(path: Path) -> str:
    """The file's name; of an installed version's folder the model's, too."""
    return f"{path.parent.name}@{path.name}" if path.is_dir() else path.name


def _facts(report: BenchReport) -> dict[str, str]:
    """A report's column, top to bottom."""
    found = report.to_json_dict()
    times = {name: _number(value) + " ms" if value is not None else "too few runs" for name, value in found["ms"].items()}
    return {
        **{name: times[name] for name in ("p50", "p90", "p99", "min", "mean")},
        "throughput": _number(report.images_per_second) + " images/s",
        "runs": str(report.runs),
        "batch": str(report.batch),
        "threads": str(report.threads),
        "provider": report.provider,
        "load": _number(found["load_ms"]) + " ms",
        "first inference": _number(found["first_ms"]) + " ms",
        "verdict": "VALID" if report.valid else "INTERRUPTED" if report.interrupted else "INVALID",
    }


def _number(value: float | None) -> str:
    """Four significant digits, never in powers of ten; "-" for what isn't known."""
    if value is None:
        return "-"
    from math import floor, log10

    return f"{value:.{min(9, max(0, 3 - floor(log10(value))))}f}" if value > 0 else f"{value:g}"

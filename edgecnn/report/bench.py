"""A benchmark as one HTML page: latencies as a histogram and in time, layers, and how far each is from what the CPU could do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn import __version__
from edgecnn.device.bench.conditions import described
from edgecnn.device.bench.profile import LayerCost, Profile
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.host import HostFacts
from edgecnn.report.charts import axis
from edgecnn.report.page import render
from edgecnn.report.sheet.words import large, number, percent
from edgecnn.report.timing import course, histogram

_BARS, _NUMBERED = 16, 9


def page(reports: Sequence[BenchReport], host: HostFacts, *, names: Sequence[str], said: Sequence[Sequence[str]] = ()) -> str:
    """names: of the reports, no two equal; said: what comparisons of them say. Raises ModuleNotFoundError where Jinja2 isn't installed."""
    drawn = [(at, name, report) for at, (name, report) in enumerate(zip(names, reports, strict=True)) if report.runs]
    return render(
        "bench.html.j2",
        title="Benchmark" if len(reports) > 1 else f"Benchmark of {names[0]}",
        lead=f"On {_machine(host)}; {described(reports[0].conditions)}.",
        chips=[_chip(name, report) for name, report in zip(names, reports, strict=True)],
        said=said,
        rows=list(_table(reports)),
        names=names,
        problems=[(name, problem) for name, report in zip(names, reports, strict=True) for problem in report.problems],
        parts=[_part(at, name, report) for at, name, report in drawn],
        version=__version__,
    )


def _machine(host: HostFacts) -> str:
    isa = f", {' '.join(host.isa)}" if host.isa else ""
    return f"{host.processor or host.machine}, {host.cores} of {host.cores_online} cores{isa}"


def _chip(name: str, report: BenchReport) -> tuple[str, str]:
    """(class, text)."""
    verdict = "VALID" if report.valid else "interrupted, partial figures" if report.interrupted else "INVALID"
    return ("good" if report.valid else "bad"), f"{name}: {verdict}"


def _table(reports: Sequence[BenchReport]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(what, its value in each report)."""
    found = [report.percentiles() for report in reports]
    for name in ("p90", "p50", "p99"):
        yield name, tuple(_interval(percentiles[name]) for percentiles in found)
    yield "images, throughput", tuple(f"{number(report.images_per_second)} /s" for report in reports)
    yield "CPU time", tuple(_ms(report.cpu_ns_per_run) for report in reports)
    yield "threads, busy ones", tuple(f"{report.threads}, {number(report.busy_threads)}" for report in reports)
    yield "scenario", tuple(report.scenario + (f", {report.idle_ms:g} ms idle" if report.idle_ms else "") for report in reports)
    yield "batch", tuple(str(report.batch) for report in reports)
    yield "provider", tuple(report.provider for report in reports)
    starts = [report.startup for report in reports]
    if any(starts):
        yield "start to first answer", tuple("-" if start is None else f"{number(start.total_ms)} ms" for start in starts)
        yield "memory, loaded", tuple("-" if start is None or start.loaded_mib is None else f"{number(start.loaded_mib)} MiB" for start in starts)
        yield (
            "decode and preprocess an image",
            tuple(
                "-"
                if start is None or start.decode_ms is None or start.preprocess_ms is None
                else f"{number(start.decode_ms + start.preprocess_ms)} ms"
                for start in starts
            ),
        )


def _interval(found: tuple[float, float, float] | None) -> str:
    return "too few runs" if found is None else f"{number(found[0])} ms ({number(found[1])} to {number(found[2])})"


def _ms(ns: float | None) -> str:
    return "-" if ns is None else f"{number(ns / 1e6)} ms"


def _part(at: int, name: str, report: BenchReport) -> Mapping[str, Any]:
    drawn = histogram(report.samples_ns)
    tail = f" The last bar also holds the {drawn.beyond:,} slowest, up to {number(drawn.slowest)} ms." if drawn.beyond else ""
    last = drawn.bins[-1][1]
    shown = {percent_: found for percent_, found in report.percentiles().items() if found is not None and found[0] <= last}
    return {
        "id": f"file-{at + 1}",
        "name": name,
        "bins": drawn.bins,
        "caption": f"{'Latencies' if report.batch == 1 else f'Times of batches of {report.batch}'} of {report.runs:,} runs.{tail}",
        "marks": [{"value": found[0], "text": f"{percent_} {number(found[0])}"} for percent_, found in shown.items()],
        "course": course(report.samples_ns),
        "profile": None if report.profile is None else _layers(report.profile),
    }


def _layers(found: Profile) -> Mapping[str, Any]:
    total = found.run_ms or 1.0
    parts = [(layer.name, layer.ms, 1 if layer.kind == "float32" else 3) for layer in found.layers[:_BARS]]
    rest = found.layers[_BARS:]
    parts += [(f"{len(rest)} more layers", sum(layer.ms for layer in rest), 5)] if rest else []
    parts += [(f"other: {operator}", ms, 5) for operator, ms in found.others.items()]
    parts.append(("between operators", found.between_ms, 5))
    return {
        "bars": [{"name": name, "value": ms, "text": f"{_short(ms)}, {percent(ms / total, 0)}", "series": series} for name, ms, series in parts],
        "roofline": _roofline(found),
        "rows": [_row(at, found, layer) for at, layer in enumerate(found.layers, 1)],
        "how": f"Means of the faster half of the profiled runs, {found.runs}, of {number(found.run_ms)} ms each with onnxruntime's profiler on.",
    }


def _short(ms: float) -> str:
    return f"{ms:.3g} ms" if ms >= 0.1 else f"{1e3 * ms:.1f} us"


def _row(at: int, found: Profile, layer: LayerCost) -> tuple[str, ...]:
    share = found.share_of_peak(layer)
    return (
        str(at),
        layer.name,
        layer.operator,
        number(layer.ms),
        "?" if layer.macs is None else large(layer.macs),
        "-" if layer.gmacs is None else f"{layer.gmacs:.1f}",
        "-" if share is None else percent(share, 0),
        "-" if layer.intensity is None else f"{layer.intensity:.1f}",
    )


def _roofline(found: Profile) -> Mapping[str, Any] | None:
    """Points and roofs on logarithmic axes: multiply-accumulates for each byte, and 10^9 of them a second."""
    peak = found.peak
    points = [(at, layer) for at, layer in enumerate(found.layers, 1) if layer.gmacs and layer.intensity]
    if peak is None or not points:
        return None
    kinds = [(kind, most) for kind in ("float32", "int8") if (most := peak.float32_gmacs if kind == "float32" else peak.int8_gmacs)]
    across = [layer.intensity or 1.0 for _, layer in points] + [most / peak.gb_per_s for _, most in kinds]
    x = axis(across, log=True)
    y = axis([layer.gmacs or 1.0 for _, layer in points] + [most for _, most in kinds] + [x.low * peak.gb_per_s], log=True)
    roofs = []
    for kind, most in kinds:
        ridge = min(max(most / peak.gb_per_s, x.low), x.high)
        roofs.append({"series": 1 if kind == "float32" else 3, "points": [(x.low, min(most, x.low * peak.gb_per_s)), (ridge, most), (x.high, most)]})
    dots = [
        {
            "x": x.x(layer.intensity or 1.0),
            "y": y.y(layer.gmacs or 1.0),
            "series": 1 if layer.kind == "float32" else 3,
            "text": f"{layer.name}: {number(layer.gmacs)} GMAC/s",
            "number": str(at) if at <= _NUMBERED else "",
        }
        for at, layer in points
    ]
    on = "1 thread" if peak.threads == 1 else f"{peak.threads} threads"
    said = " and ".join(f"{most:.0f} GMAC/s in {kind}" for kind, most in kinds)
    return {
        "x": x,
        "y": y,
        "roofs": roofs,
        "dots": dots,
        "kinds": [(kind, 1 if kind == "float32" else 3) for kind, _ in kinds],
        "caption": f"Each layer under what this CPU can do on {on}: {said}, and {peak.gb_per_s:.0f} GB/s of main memory. "
        "Numbers are those of the table; a layer whose data stays in the caches may lie over the slope.",
    }

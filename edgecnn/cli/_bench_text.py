"""The text of `edgecnn bench`: a column for each file on each number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgecnn.cli._options import columns, shown
from edgecnn.device.bench.conditions import described
from edgecnn.device.bench.profile import Profile
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.host import HostFacts

MOST_LAYERS = 20


def named(reports: Sequence[BenchReport]) -> tuple[str, ...]:
    """A short name for each, of which no two are equal."""
    names = [_short(Path(report.name)) for report in reports]
    if len({report.name for report in reports}) > len(set(names)):
        names = [report.name for report in reports]
    if len(set(names)) < len(names):
        names = [f"{name} x{report.threads}" for name, report in zip(names, reports, strict=True)]
    return tuple(map(shown, names))


def _short(path: Path) -> str:
    """The file's name; of an installed version's folder the model's, too."""
    return f"{path.parent.name}@{path.name}" if path.is_dir() else path.name


def lines(reports: Sequence[BenchReport], host: HostFacts, said: Sequence[Sequence[str]] = ()) -> Iterator[str]:
    """said: what each comparison says."""
    names = named(reports)
    facts = [_facts(report) for report in reports]
    rows = [["", *names]]
    for title in dict.fromkeys(title for column in facts for title in column):
        cells = [column.get(title, "-") for column in facts]
        if any(cell != "-" for cell in cells):
            rows.append([title, *cells])
    yield from columns(rows, right=range(1, len(reports) + 1))
    yield f"machine  {described(reports[0].conditions)}"
    yield f"on {host.processor or host.machine}, {host.cores} of {host.cores_online} cores{', ' if host.isa else ''}{' '.join(host.isa)}"
    for name, report in zip(names, reports, strict=True):
        if report.profile is not None:
            yield ""
            yield from _profile(name, report.profile)
    for sentences in said:
        yield ""
        yield from (f"{sentence}." for sentence in sentences)
    found = {name: report.problems for name, report in zip(names, reports, strict=True)}
    yield from (f"{', '.join(of)}: {problem}" for problem, of in by_problem(found).items())


def by_problem(found: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """From the problems of each name to the names of each problem: what the machine did is every file's."""
    turned: dict[str, list[str]] = {}
    for name, problems in found.items():
        for problem in problems:
            turned.setdefault(problem, []).append(name)
    return turned


def _facts(report: BenchReport) -> dict[str, str]:
    """A report's column, top to bottom: what its scenario is judged by first."""
    percentiles = report.percentiles()
    throughput = {"throughput": number(report.images_per_second) + " images/s"}
    latency: dict[str, str] = {}
    for name in ("p90", "p50", "p99"):
        found = percentiles[name]
        latency[name] = "too few runs" if found is None else number(found[0]) + " ms"
        latency[f"  95 % of {name}"] = "-" if found is None else f"{number(found[1])} to {number(found[2])} ms"
    latency["min"] = _ms(min(report.samples_ns, default=None))
    latency["mean"] = _ms(report.mean_ns)
    offline = report.scenario == "offline"
    return {
        **(throughput | latency if offline else latency | throughput),
        "CPU time": _ms(report.cpu_ns_per_run),
        "threads busy": number(report.busy_threads),
        "runs": str(report.runs),
        "scenario": report.scenario + (f", {report.idle_ms:g} ms idle" if report.idle_ms else ""),
        "batch": str(report.batch) + (f" in {report.sessions} sessions" if report.sessions > 1 else ""),
        "threads": str(report.threads),
        "provider": report.provider,
        **_startup(report),
        "verdict": "VALID" if report.valid else "INTERRUPTED" if report.interrupted else "INVALID",
    }


def _startup(report: BenchReport) -> dict[str, str]:
    found = report.startup
    if found is None:
        return {"load": _ms(report.load_ns), "first inference": _ms(report.first_ns), "peak memory": _mib(report.process_peak_mib)}
    return {
        "start to answer": f"{number(found.total_ms)} ms",
        "  Python": f"{number(found.python_ms)} ms",
        "  import": f"{number(found.import_ms)} ms",
        "  load": f"{number(found.load_ms)} ms",
        "  first inference": f"{number(found.first_ms)} ms",
        "memory, loaded": _mib(found.loaded_mib),
        "  over one node": _over(found.loaded_mib, found.base_loaded_mib),
        "peak memory": _mib(found.peak_mib),
        "  over one node's": _over(found.peak_mib, found.base_peak_mib),
        "decode a PNG": "-" if found.decode_ms is None else f"{number(found.decode_ms)} ms",
        "  its pixels": found.original or "-",
        "preprocess it": "-" if found.preprocess_ms is None else f"{number(found.preprocess_ms)} ms",
    }


def _profile(name: str, found: Profile) -> Iterator[str]:
    peak = found.peak
    rows = [(f"layers of {name}", "operator", "ms", "MACs", "GMAC/s", "of the peak", "MAC/byte")]
    for layer in found.layers[:MOST_LAYERS]:
        share = found.share_of_peak(layer)
        rows.append(
            (
                shown(layer.name),
                shown(layer.operator),
                f"{layer.ms:.4f}",
                "?" if layer.macs is None else f"{layer.macs:,}",
                "-" if layer.gmacs is None else f"{layer.gmacs:.1f}",
                "-" if share is None else f"{share:.0%}",
                "-" if layer.intensity is None else f"{layer.intensity:.1f}",
            )
        )
    more = found.layers[MOST_LAYERS:]
    if more:
        rows.append((f"{len(more)} more layers", "", f"{sum(layer.ms for layer in more):.4f}", "", "", "", ""))
    rows += [(f"other: {shown(operator)}", "", f"{ms:.4f}", "", "", "", "") for operator, ms in found.others.items()]
    rows.append(("between operators", "", f"{found.between_ms:.4f}", "", "", "", ""))
    yield from columns(rows, right=range(2, 7))
    yield f"means of the faster half of the profiled runs, {found.runs}, {number(found.run_ms)} ms each with the profiler on"
    if peak is not None:
        products = [f"{value:.1f} GMAC/s in {kind}" for kind, value in (("float32", peak.float32_gmacs), ("int8", peak.int8_gmacs)) if value]
        threads = "1 thread" if peak.threads == 1 else f"{peak.threads} threads"
        yield f"the peak of this CPU on {threads}: {', '.join(products)}; memory {peak.gb_per_s:.1f} GB/s"


def _over(value: float | None, base: float | None) -> str:
    return "-" if value is None or base is None else f"{value - base:+.2f} MiB"


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{number(value)} MiB"


def _ms(ns: float | None) -> str:
    return "-" if ns is None else f"{number(ns / 1e6)} ms"


def number(value: float | None) -> str:
    """Four significant digits, never in powers of ten; "-" for what isn't known."""
    if value is None:
        return "-"
    from math import floor, log10

    return f"{value:.{min(9, max(0, 3 - floor(log10(value))))}f}" if value > 0 else f"{value:g}"

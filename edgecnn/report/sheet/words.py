"""Figures as people read them, and the sentences that a page and its Markdown share."""

from __future__ import annotations

from math import floor, log10

from edgecnn.report.reliability import Reliability
from edgecnn.report.sheet import Sheet


def number(value: float | None) -> str:
    """Four significant digits, never in powers of ten; "-" for what isn't known."""
    if value is None:
        return "-"
    return f"{value:,.{min(9, max(0, 3 - floor(log10(value))))}f}" if value > 0 else f"{value:g}"


def large(count: int) -> str:
    """A count in thousands or millions, three digits."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return str(count)


def size(count: int) -> str:
    """Bytes in KiB or MiB, three digits."""
    for unit, least in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= least:
            return f"{float(f'{count / least:.3g}'):g} {unit}"
    return f"{count} bytes"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def confidence_sentences(found: Reliability) -> tuple[str, ...]:
    """What a reliability diagram says."""
    apart = 100 * (found.confidence - found.accuracy)
    way = f"{abs(apart):.1f} points too {'sure' if apart > 0 else 'unsure'} of itself" if abs(apart) >= 0.05 else "as sure of itself as it may be"
    return (
        f"Of {found.count:,} decisions {percent(found.accuracy)} are right, and their mean score is {percent(found.confidence)}: on the whole {way}.",
        f"Expected calibration error (ECE) {percent(found.ece)} over {len(found.bins)} bins, the worst bin {percent(found.mce)}; perfectly "
        f"calibrated scores would show about {percent(found.ece_by_chance)} on so many images.",
    )


ECE_SOURCE = (
    "ECE = sum over the bins B of |B|/n * |acc(B) - conf(B)|; C. Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599."
)


def memory_sentence(sheet: Sheet) -> str:
    peak = sheet.memory.peak
    weights = sum(layer.bytes for layer in sheet.artifact.report.layers)
    return f"At most {size(peak.bytes)} of activations live at one time, at {peak.name}; constants take {size(weights)} besides."


MEMORY_NOTE = (
    "From the static shapes, for one image, in the order of the graph: a tensor lives from the layer that makes it to the last that reads it. "
    "Results in place and quantized layers are counted as runtimes run them; what kernels need for themselves isn't."
)


def machine_sentence(sheet: Sheet) -> str:
    """How and where the latencies were taken."""
    if sheet.timing is None:
        return ""
    report = sheet.timing.report
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    where = f", on {sheet.timing.machine}" if sheet.timing.machine else ""
    how = "" if report.scenario == "single-stream" else f", {report.scenario}"
    how += f", {report.idle_ms:g} ms asleep before each" if report.idle_ms else ""
    return f"{report.runs:,} runs with batch {report.batch}{how}, {threads}, {report.provider}{where}."

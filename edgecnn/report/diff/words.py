"""A Diff as people read it: sections of sentences and tables, the same on a terminal and in a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgecnn.device.bench.report import BenchReport
from edgecnn.device.statistics import median_interval
from edgecnn.report.diff.records import (
    COUNTED,
    Answers,
    Change,
    Diff,
    Disagreement,
    GraphChanges,
    LabelChanges,
    Layer,
    Named,
    ScaleChanges,
    WeightChange,
    WeightChanges,
)

TITLES = {
    "preprocess": "preprocessing",
    "labels": "labels",
    "task": "task",
    "graph": "graph",
    "weights": "weights",
    "scales": "scales",
    "answers": "answers",
    "size": "size",
    "latency": "latency",
    "release": "release",
    "proof": "proof",
    "provenance": "provenance",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """rows: cells, the first row the headings; right: columns that are numbers; more: what the table leaves out."""

    name: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: tuple[int, ...] = ()
    more: str | None = None

    @property
    def title(self) -> str:
        return TITLES[self.name]


def named(side: Named) -> str:
    """The file, and what it says it is."""
    form = {None: "", "none": ", float32"}.get(side.quantization, f", {side.quantization}")
    what = " of ".join(filter(None, ("a bare .onnx" if side.kind == "onnx" else "", side.model)))
    return f"{side.file}: {what}{form}, {side.bytes:,} bytes"


def verdict(diff: Diff) -> str:
    """What matters, in one to three sentences."""
    if diff.identical:
        return f"{diff.a.file} and {diff.b.file} are the same, byte for byte."
    same = _listed([TITLES[name] for name in COUNTED if name not in diff.differing and name not in diff.unknown])
    if diff.differing:
        said = f"They differ in {_listed([TITLES[name] for name in diff.differing])}{f'; the same: {same}' if same else ''}."
    else:
        said = f"Nothing differs that matters; the same: {same}."
        if not diff.graph.same_bytes:
            said += " The graphs' bytes differ all the same, in names, order or what they state of themselves."
    if diff.graph.same_bytes:
        said += " Their graphs are the same, byte for byte."
    unknown = [TITLES[name] for name in diff.unknown if name != "answers"]
    bare = [side for side, of in (("A", diff.a), ("B", diff.b)) if of.kind == "onnx"]
    if not unknown:
        return said
    who = f"{bare[0]} is a bare .onnx" if len(bare) == 1 else "both are bare .onnx files"
    return f"{said} Not compared, for {who}: {_listed(unknown)}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def sections(diff: Diff, most: int) -> Iterator[Section]:
    """Those in which there is something to say. most: rows of each; 0 is all."""
    if diff.preprocess:
        yield Section(name="preprocess", sentences=("The networks are fed other numbers for the same image.",), **_changes(diff.preprocess, most))
    if diff.labels:
        yield _labels(diff.labels, most)
    if diff.task:
        yield Section(name="task", **_changes(diff.task, most))
    if diff.graph:
        yield _graph(diff.graph, most)
    if diff.weights:
        yield _weights(diff.weights, most)
    if diff.scales:
        yield _scales(diff.scales, most)
    if diff.answers is not None:
        yield _answers(diff.answers)
    yield _size(diff.size)
    if diff.latency is not None:
        yield _latency(*diff.latency)
    if diff.release:
        yield Section(name="release", **_changes(diff.release, most))
    if diff.proof:
        said = "What each was held against before it was packed, and the limits that devices hold it to."
        yield Section(name="proof", sentences=(said,), **_changes(diff.proof, most))
    if diff.provenance:
        yield _provenance(diff.provenance, most)


def _changes(changes: Sequence[Change], most: int) -> dict[str, Any]:
    shown = changes[:most] if most else changes
    rows = tuple((change.what, value(change.a), value(change.b)) for change in shown)
    return {"rows": (("", "A", "B"), *rows), "more": _more(len(changes) - len(shown))}


def _more(count: int, what: str = "") -> str | None:
    return f"and {count} more{what}" if count > 0 else None


def value(found: Any) -> str:
    """A value as JSON has it, without quotes; "-" for none."""
    if found is None:
        return "-"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float):
        return f"{found:.9g}"
    if isinstance(found, int):
        return f"{found:,}" if abs(found) >= 10_000 else str(found)
    if isinstance(found, (list, tuple)):
        return "[" + ", ".join(map(value, found)) + "]"
    return str(found)


def percent(share: float) -> str:
    """Three significant digits."""
    digits = f"{float(f'{100 * share:.3g}'):.10f}".rstrip("0").rstrip(".")
    return f"{digits if float(digits) or not share else f'{100 * share:.1g}'} %"


# Sections


def _labels(found: LabelChanges, most: int) -> Section:
    rows = [("", "label", "A", "B")]
    rows += [("called otherwise", f"{a} -> {b}", str(place), str(place)) for place, a, b in found.renamed]
    for what, placed in (("moved", found.moved), ("removed", found.removed), ("added", found.added)):
        rows += [(what, one.label, value(one.a), value(one.b)) for one in placed]
    count = f"{found.count_a} labels" if found.count_a == found.count_b else f"{found.count_a} labels in A, {found.count_b} in B"
    warned = "; the order of those that both have is another one, so an answer's place means something else" if found.moved else ""
    shown = rows[: most + 1] if most else rows
    return Section(name="labels", sentences=(f"{count}{warned}.",), rows=tuple(shown), right=(2, 3), more=_more(len(rows) - len(shown)))


def _graph(found: GraphChanges, most: int) -> Section:
    rows = [("", change.what, value(change.a), value(change.b)) for change in found.stated]
    replaced = [(layer, change) for layer in found.changed for change in layer.changes if change.what == "operator"]
    rows += [("replaced", _both(layer.a, layer.b), value(change.a), value(change.b)) for layer, change in replaced]
    rows += [("removed", name, operator, "-") for name, operator in _layers(found.removed, "B")]
    rows += [("added", name, "-", operator) for name, operator in _layers(found.added, "A")]
    for layer in found.changed:
        others = (change for change in layer.changes if change.what != "operator")
        rows += [(change.what, _both(layer.a, layer.b), value(change.a), value(change.b)) for change in others]
    shown = rows[:most] if most else rows
    counts = f"Both have {found.layers_a} layers" if found.layers_a == found.layers_b else f"A has {found.layers_a} layers, B {found.layers_b}"
    renamed = f", {found.renamed} of them under another name" if found.renamed else ""
    said = f"{counts}; {found.matched} stand in both{renamed}."
    return Section(name="graph", sentences=(said,), rows=(("", "layer", "A", "B"), *shown), more=_more(len(rows) - len(shown)))


def _both(a: str, b: str) -> str:
    return a if a == b else f"{a} -> {b}"


def _layers(found: Sequence[Layer], other: str) -> Iterator[tuple[str, str]]:
    """(name, operator), those that a quantized range does the work of together."""
    absorbed = Counter(layer.operator for layer in found if layer.absorbed)
    for operator, count in absorbed.items():
        yield f"{count} clamp{'s' if count > 1 else ''}, which {other}'s rounding to its range does", operator
    yield from ((layer.name, layer.operator) for layer in found if not layer.absorbed)


def _weights(found: WeightChanges, most: int) -> Section:
    rows: list[tuple[str, ...]] = [("layer", "tensor", "change", "largest", "stored in A", "in B")]
    for row in found.rows:
        shapes = [f" {'x'.join(map(str, shape))}" if row.shape_a != row.shape_b else "" for shape in (row.shape_a, row.shape_b)]
        rows.append((row.layer, row.tensor, _relative(row), _largest(row.largest), row.stored_a + shapes[0], row.stored_b + shapes[1]))
    shown = rows[: most + 1] if most else rows
    rest = found.rows[len(shown) - 1 :]
    least = max((row.relative for row in rest if row.relative is not None), default=None)
    said = f"{len(found.rows)} of {found.compared} tensors differ; the change is ||A - B|| / ||A||."
    more = _more(len(rest), f", of at most {percent(least)}" if least is not None else "")
    return Section(name="weights", sentences=(said, *_equalized(found)), rows=tuple(shown), right=(2, 3), more=more)


def _equalized(found: WeightChanges) -> Iterator[str]:
    whose = [name for name, is_so in zip("AB", found.equalized, strict=True) if is_so]
    if whose:
        yield (
            f"The channels of {' and '.join(whose)} are equalised, so factors that cancel out from one layer to the next may be part of the change; "
            "--data tells whether both decide alike."
        )


def _relative(row: WeightChange) -> str:
    if row.shape_a != row.shape_b:
        return "other shape"
    if row.relative is not None:
        return percent(row.relative)
    return "not in the file" if row.changed is None else "not finite"


def _largest(largest: float | None) -> str:
    return "-" if largest is None else f"{largest:.3g}"


def _scales(found: ScaleChanges, most: int) -> Section:
    said = f"Tensors between layers that are rounded to integers: {found.rounded_a} in A, {found.rounded_b} in B."
    one_sided = [row for row in found.rows if (row.dtype_a is None) != (row.dtype_b is None)]
    many = most and len(one_sided) > most  # a quantized model beside a float one: that they are rounded says it all
    rows: list[tuple[str, ...]] = [("made by", "change", "A", "B")]
    for row in found.rows:
        if not (many and row in one_sided):
            sides = ((row.dtype_a, row.scale_a, row.zero_a), (row.dtype_b, row.scale_b, row.zero_b))
            rows.append((row.tensor, "-" if row.relative is None else percent(row.relative), *(_rounding(*side) for side in sides)))
    shown = rows[: most + 1] if most else rows
    left = len(found.rows) + 1 - len(shown)
    more = _more(left, " that only one side rounds" if left == len(one_sided) else "")
    return Section(name="scales", sentences=(said,), rows=tuple(shown), right=(1,), more=more)


def _rounding(dtype: str | None, scale: float | None, zero: int | None) -> str:
    if dtype is None:
        return "float"
    return f"{dtype}, for each input anew" if scale is None else f"{dtype}, scale {scale:.4g}, zero {zero}"


def _answers(found: Answers) -> Section:
    said = [f"{found.agreeing:,} of {found.images:,} images of {found.data} are decided alike ({_share(found.agreeing, found.images)})."]
    if found.largest is not None:
        said.append(f"The largest difference of logits is {found.largest:.3g}.")
    for side, right, interval in (("A", found.right_a, found.interval_a), ("B", found.right_b, found.interval_b)):
        if right is not None and interval is not None:
            low, high = (f"{100 * limit:.2f} %" for limit in interval)
            said.append(f"{side} decides {right:,} right: {_share(right, found.images)}, 95 % interval {low} to {high}.")
    if found.difference is not None:
        gap, p = found.difference, found.p_value
        said.append(
            f"B less A: {gap.points:+.2f} points, 95 % interval {gap.low:+.2f} to {gap.high:+.2f} (paired, the same images); right in A alone "
            f"{gap.only_a}, in B alone {gap.only_b}, McNemar's p {p:.2g}."
        )
    said += [f"{note}." for note in found.notes]
    rows = [("image", "", "true", "A", "B"), *(_disagreement(row) for row in found.shown)]
    total = found.images - found.agreeing
    return Section(
        name="answers", sentences=tuple(said), rows=tuple(rows) if found.shown else (), more=_more(total - len(found.shown), " that they part on")
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"


_VERDICTS = {"lost": "only A is right", "won": "only B is right", "both wrong": "both are wrong", "unlabelled": ""}


def _disagreement(row: Disagreement) -> tuple[str, ...]:
    sides = (f"{decision(labels)} {score:.3f}" for labels, score in ((row.a, row.score_a), (row.b, row.score_b)))
    return row.name, _VERDICTS[row.verdict], decision(row.truth), *sides


def decision(labels: Iterable[str] | None) -> str:
    return "?" if labels is None else ", ".join(labels) or "none"


def _size(changes: Sequence[Change]) -> Section:
    rows: list[tuple[str, ...]] = [("", "A", "B", "")]
    for change in changes:
        known = isinstance(change.a, int) and isinstance(change.b, int)
        sides = [f"{side:,}" if isinstance(side, int) else "unknown" for side in (change.a, change.b)]
        rows.append((change.what, *sides, _change(change.a, change.b) if known else ""))
    return Section(name="size", rows=tuple(rows), right=(1, 2, 3))


def _change(a: float, b: float) -> str:
    if a == b:
        return "the same"
    return f"{100 * (b / a - 1):+.1f} %" if a else ""


def _latency(a: BenchReport, b: BenchReport) -> Section:
    figures = [report.to_json_dict()["ms"] for report in (a, b)]
    rows: list[tuple[str, ...]] = [("", "A", "B", "")]
    for name in ("p50", "p90", "p99", "mean", "min"):
        sides = [side[name] for side in figures]
        known = [side for side in sides if side is not None]
        rows.append((name, *("too few runs" if side is None else f"{side:.4g} ms" for side in sides), _change(*known) if len(known) == 2 else ""))
    rows.append(("runs", f"{a.runs:,}", f"{b.runs:,}", ""))
    low_a, high_a, low_b, high_b = (limit / 1e6 for report in (a, b) for limit in median_interval(report.samples_ns))
    said = []
    if all(map(math.isfinite, (low_a, low_b))):
        apart = "B's is lower" if high_b < low_a else "B's is higher" if low_b > high_a else "these overlap, so none is known to be faster"
        said.append(f"95 % intervals of the median: A {low_a:.4g} to {high_a:.4g} ms, B {low_b:.4g} to {high_b:.4g} ms: {apart}.")
    threads = "1 thread" if a.threads == 1 else f"{a.threads} threads"
    said.append(f"Batch {a.batch} and {b.batch}, {threads}, {a.provider}; in bursts, turn by turn.")
    said += [f"{side} is INVALID: {problem}." for side, report in (("A", a), ("B", b)) for problem in report.problems]
    return Section(name="latency", sentences=tuple(said), rows=tuple(rows), right=(1, 2, 3))


def _provenance(changes: Sequence[Change], most: int) -> Section:
    """A stage that only one side has is a sentence."""
    alone = {change.what: "A" if change.b is None else "B" for change in changes if "done" in (change.a, change.b)}
    others = [change for change in changes if change.what.partition(": ")[0] not in alone]
    rows = [Change(what=change.what, a=_short(change.a), b=_short(change.b)) for change in others]
    said = ["How they were made, which changes no answer by itself."]
    for stage, side in alone.items():
        parts = [
            (change.what.partition(": ")[2], change.b if change.a is None else change.a) for change in changes if change.what.startswith(f"{stage}: ")
        ]
        told = ", ".join(f"{name} {value(_short(part))}" for name, part in parts if part != "")
        said.append(f"Only {side} has the stage {stage}{': ' + told if told else ''}.")
    return Section(name="provenance", sentences=tuple(said), **_changes(rows, most))


def _short(found: Any) -> Any:
    """A digest by its first digits."""
    return found[:12] if isinstance(found, str) and len(found) == 64 and set(found) <= set("0123456789abcdef") else found

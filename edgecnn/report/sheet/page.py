"""The sheet as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn import __version__
from edgecnn.artifact.records import Layer, ParityReport, Stage
from edgecnn.device.validate import describe_limits
from edgecnn.report.markdown import html, inline_html
from edgecnn.report.page import render
from edgecnn.report.reliability import mean_ece
from edgecnn.report.sheet import Sheet
from edgecnn.report.sheet.words import (
    ECE_SOURCE,
    MEMORY_NOTE,
    confidence_sentences,
    large,
    machine_sentence,
    memory_sentence,
    number,
    percent,
    size,
)
from edgecnn.report.timing import course, histogram

MATRIX_LABELS = 20
"""With more, the most frequent confusions stand in for the matrix."""

_BARS, _DIAGRAMS = 16, 6


def written(sheet: Sheet) -> str:
    """Raises ModuleNotFoundError where Jinja2 or markdown-it-py isn't installed."""
    spec = sheet.artifact.manifest.spec
    return render(
        "report.html.j2",
        title=sheet.title,
        lead=_lead(sheet),
        chips=list(_chips(sheet)),
        tiles=list(_tiles(sheet)),
        glance=html(sheet.card.glance),
        card={name: html(body) for name, body in sheet.card.sections.items()},
        several=spec.task == "multi-label",
        matrix=_matrix(sheet),
        mistakes=sheet.study.mistakes if sheet.study is not None else (),
        confidence=_confidence(sheet),
        stages=_stages(sheet.artifact.report.stages),
        speed=_speed(sheet),
        layers=_layers(sheet),
        memory=_memory(sheet),
        training=_training(sheet),
        version=__version__,
        percent=percent,
    )


# The head


def _lead(sheet: Sheet) -> Any:
    if sheet.card.summary:
        return inline_html(sheet.card.summary.split("\n\n")[0])
    spec = sheet.artifact.manifest.spec
    height, width = spec.preprocess.input_size
    return f"Tells {len(spec.labels)} labels apart in images of {width} x {height} pixels."


def _chips(sheet: Sheet) -> Iterator[tuple[str, str]]:
    """(class, text)."""
    manifest = sheet.artifact.manifest
    yield ("good", "parity proved") if manifest.validated else ("bad", "packed by force: parity was not proved")
    yield "", f"{manifest.spec.task}, {len(manifest.spec.labels)} labels"
    yield "", sheet.artifact.quantization
    yield from (("", f"{of}: {spdx}") for of, spdx in sorted(manifest.licenses.items(), reverse=True))
    if sheet.timing is not None and not sheet.timing.report.valid:
        yield "warn", "latency not to be trusted"


def _tiles(sheet: Sheet) -> Iterator[tuple[str, str]]:
    """(figure, what it is)."""
    artifact, spec = sheet.artifact, sheet.artifact.manifest.spec
    if sheet.study is not None:
        found = sheet.study.measured.packed
        kind = "all labels right" if spec.task == "multi-label" else "top-1 accuracy"
        low, high = (percent(share) for share in found.interval)
        yield percent(found.top1, 2), f"{kind} of {found.count:,} images, 95 % interval {low} to {high}"
        chance = sum(one.ece_by_chance for one in sheet.study.reliability) / len(sheet.study.reliability)
        yield percent(mean_ece(sheet.study.reliability)), f"expected calibration error of the scores, {percent(chance)} by chance alone"
    parity = artifact.manifest.parity
    if parity is not None:
        yield percent(parity.agreement, 2), f"of {parity.samples:,} decisions are the {parity.reference}'s"
    if sheet.timing is not None:
        times = sheet.timing.report.to_json_dict()["ms"]
        which = "p50" if times["p50"] is not None else "mean"
        rest = f", p99 {number(times['p99'])} ms" if times["p99"] is not None else ""
        yield f"{times[which]:.3g} ms", f"latency, {'median' if which == 'p50' else which}{rest}"
    model = artifact.manifest.member("model.onnx").size
    yield size(model), f"model.onnx{_of_float32(sheet, model)}"
    layers = artifact.report.layers
    yield large(sum(layer.parameters for layer in layers)), "parameters"
    least = "at least, " if any(layer.macs is None for layer in layers) else ""
    yield large(sum(layer.macs or 0 for layer in layers)), f"{least}multiply-accumulates an image"
    yield size(sheet.memory.peak.bytes), "of activations at most at one time"


def _of_float32(sheet: Sheet, bytes: int) -> str:
    if sheet.float32 is None:
        return ""
    return f", {percent(bytes / sheet.float32.manifest.member('model.onnx').size)} of float32's"


# Sections


def _matrix(sheet: Sheet) -> Mapping[str, Any] | None:
    if sheet.study is None:
        return None
    found = sheet.study.measured.packed
    if not found.confusion or len(found.labels) > MATRIX_LABELS:
        return None
    return {"labels": found.labels, "counts": found.confusion}


def _confidence(sheet: Sheet) -> Mapping[str, Any] | None:
    if sheet.study is None:
        return None
    spec, found = sheet.artifact.manifest.spec, sheet.study.reliability
    if spec.task == "single-label":
        return {"diagrams": [("", found[0])], "sentences": confidence_sentences(found[0]), "source": ECE_SOURCE, "rows": []}
    labelled = list(zip(spec.labels, found, strict=True))
    worst = sorted(labelled, key=lambda pair: -pair[1].ece)[:_DIAGRAMS]
    said = f"Each label is decided for itself. The mean of their expected calibration errors (ECE) is {percent(mean_ece(found))}."
    more = f"Of {len(found)} labels, the {len(worst)} with the largest error are drawn." if len(worst) < len(found) else ""
    rows = [(label, percent(one.ece), percent(one.ece_by_chance), percent(one.confidence), percent(one.accuracy)) for label, one in labelled[:50]]
    return {"diagrams": worst, "sentences": [said, more], "source": ECE_SOURCE, "rows": rows}


def _stages(stages: Sequence[Stage]) -> Mapping[str, Any]:
    compared = [(stage.name, stage.against_source) for stage in stages if stage.against_source is not None]
    drawn = [{"name": name, "values": [parity.max_abs, parity.mean_abs]} for name, parity in compared]
    largest = [parity.max_abs for _, parity in compared]
    return {"drawn": drawn, "apart": any(largest), "some_equal": not all(largest), "rows": [_stage_row(stage) for stage in stages]}


def _stage_row(stage: Stage) -> Mapping[str, Any]:
    source, before = stage.against_source, stage.against_previous
    return {
        "name": stage.name,
        "nodes": f"{stage.nodes:,}",
        "bytes": f"{stage.bytes:,}",
        "largest": "-" if source is None else f"{source.max_abs:.2g}",
        "mean": "-" if source is None else f"{source.mean_abs:.2g}",
        "before": "-" if before is None else f"{before.max_abs:.2g}",
        "sqnr": _decibels(source),
        "alike": "-" if source is None else f"{source.agreeing:,} of {source.samples:,}",
        "limit": "-" if source is None else describe_limits(source.limits),
        "passed": None if source is None else source.passed,
        "note": stage.note or "",
    }


def _decibels(parity: ParityReport | None) -> str:
    if parity is None:
        return "-"
    return "no difference" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"


def _speed(sheet: Sheet) -> Mapping[str, Any] | None:
    if sheet.timing is None:
        return None
    report = sheet.timing.report
    found = report.to_json_dict()
    times = found["ms"]
    drawn = histogram(report.samples_ns)
    tail = f" The last bar also holds the {drawn.beyond:,} slowest, up to {number(drawn.slowest)} ms." if drawn.beyond else ""
    facts = [(name, f"{number(times[name])} ms" if times[name] is not None else "too few runs") for name in ("min", "p50", "mean", "p90", "p99")]
    facts += [
        ("images, throughput", f"{number(found['images_per_second'])} /s"),
        ("load", _ms(found["load_ms"])),
        ("first inference", _ms(found["first_ms"])),
        ("peak memory of the process", "-" if report.process_peak_mib is None else f"{number(report.process_peak_mib)} MiB"),
    ]
    last = drawn.bins[-1][1]
    marks = [{"value": times[name], "text": f"{name} {number(times[name])}"} for name in ("p50", "p90", "p99") if times[name] is not None]
    return {
        "bins": drawn.bins,
        "caption": f"Latencies of {report.runs:,} runs.{tail}",
        "marks": [mark for mark in marks if mark["value"] <= last],
        "course": course(report.samples_ns),
        "facts": facts,
        "how": machine_sentence(sheet),
        "problems": report.problems,
    }


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{number(value)} ms"


def _layers(sheet: Sheet) -> Mapping[str, Any]:
    layers, times = sheet.layers, sheet.layer_times
    cost = "ms" if times else "MACs"
    by_cost = sorted(layers, key=lambda layer: -(times.get(layer.name, 0.0) if times else layer.macs or 0))[:_BARS]
    by_size = sorted(layers, key=lambda layer: -layer.bytes)[:_BARS]
    others = sheet.timing.others if sheet.timing is not None else {}
    total = sum(times.values()) + sum(others.values()) if times else sum(layer.macs or 0 for layer in layers)

    def bar(layer: Layer) -> Mapping[str, Any]:
        value = times.get(layer.name, 0.0) if times else layer.macs or 0
        share = f", {percent(value / total)}" if total else ""
        return {"name": layer.name, "value": value, "text": f"{number(value)} ms{share}" if times else f"{large(int(value))}{share}"}

    return {
        "cost": [found for found in map(bar, by_cost) if found["value"]],
        "others": ", ".join(f"{name} {number(ms)} ms" for name, ms in others.items()) if times else "",
        "cost_caption": "Time of each layer, as onnxruntime's profiler tells it" if times else "Multiply-accumulates of each layer, for one image",
        "bytes": [{"name": layer.name, "value": layer.bytes, "text": size(layer.bytes), "series": 3} for layer in by_size if layer.bytes],
        "cost_name": cost,
        "shown": min(_BARS, len(layers)),
        "rows": [_layer_row(layer, times) for layer in layers],
        "has_times": bool(times),
        "left_out": len(sheet.artifact.report.layers) - len(layers),
    }


def _layer_row(layer: Layer, times: Mapping[str, float]) -> Mapping[str, str]:
    return {
        "name": layer.name,
        "operator": layer.operator,
        "output": "?" if layer.output_shape is None else " x ".join(map(str, layer.output_shape)),
        "parameters": f"{layer.parameters:,}",
        "macs": "?" if layer.macs is None else f"{layer.macs:,}",
        "bytes": f"{layer.bytes:,}",
        "ms": number(times.get(layer.name)),
    }


def _memory(sheet: Sheet) -> Mapping[str, Any]:
    steps, peak = sheet.memory.steps, sheet.memory.peak
    unit, scale = next((unit, scale) for unit, scale in (("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 0)) if peak.bytes >= scale)
    # a level holds for the whole step, so the last one needs an end
    points = [(at, step.bytes / max(1, scale)) for at, step in enumerate(steps)] + [(len(steps), steps[-1].bytes / max(1, scale))]
    most = sorted(steps, key=lambda step: -step.bytes)[:5]
    return {
        "points": points,
        "unit": unit,
        "marks": [{"value": steps.index(peak) + 0.5, "text": size(peak.bytes)}],
        "sentence": memory_sentence(sheet),
        "note": MEMORY_NOTE,
        "most": [(step.name, step.operator, size(step.bytes)) for step in most],
    }


def _training(sheet: Sheet) -> Mapping[str, Any] | None:
    if not sheet.history:
        return None
    curves: dict[str, list[dict[str, Any]]] = {"loss": [], "accuracy": []}
    for kind, series in curves.items():
        for name, field in (("training", kind), ("validation", f"validation_{kind}")):
            points = [(epoch.epoch, value) for epoch in sheet.history if (value := getattr(epoch, field)) is not None]
            if points:
                series.append({"name": name, "points": points})
    last = sheet.history[-1]
    return {**curves, "epochs": last.epoch, "dots": len(sheet.history) == 1}

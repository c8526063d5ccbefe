"""The sheet as Markdown, for a pull request: the card, with what else is known put where it belongs. Tables, no pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from edgecnn.report.card import joined
from edgecnn.report.markdown import code, table, text
from edgecnn.report.reliability import mean_ece
from edgecnn.report.sheet import Sheet
from edgecnn.report.sheet.words import ECE_SOURCE, MEMORY_NOTE, confidence_sentences, machine_sentence, memory_sentence, number, percent

_LAYERS, _LABELS = 10, 20
_LEFT_OUT = ("Preprocessing", "Reproduce")
"""Of the card: what a reader of a pull request finds in the artifact."""


def written(sheet: Sheet) -> str:
    return joined(sheet.card.title, [sheet.card.summary, sheet.card.glance], dict(_sections(sheet)))


def _sections(sheet: Sheet) -> Iterator[tuple[str, str]]:
    more: Mapping[str, tuple[tuple[str, Iterator[str]], ...]] = {
        "Accuracy": (("Mistakes", _mistakes(sheet)), ("Confidence", _confidence(sheet))),
        "Sizes": (("Speed", _speed(sheet)), ("Layers", _layers(sheet)), ("Memory", _memory(sheet)), ("Training", _training(sheet))),
    }
    for name, body in sheet.card.sections.items():
        if name not in _LEFT_OUT:
            yield name, body
        for title, lines in more.get(name, ()):
            said = "\n".join(lines)
            if said:
                yield title, said


def _mistakes(sheet: Sheet) -> Iterator[str]:
    if sheet.study is None or not sheet.study.mistakes:
        return
    if sheet.artifact.manifest.spec.task == "single-label":
        rows = [("true", "decided", "images", "of the true label")]
        rows += [(text(kind.label), text(kind.decided or ""), f"{kind.count:,}", f"{percent(kind.count / kind.of)}") for kind in sheet.study.mistakes]
    else:
        rows = [("label", "mistake", "images", "of those that could")]
        rows += [(text(kind.label), kind.kind, f"{kind.count:,}", f"{percent(kind.count / kind.of)}") for kind in sheet.study.mistakes]
    yield from table(rows, right=(2, 3))


def _confidence(sheet: Sheet) -> Iterator[str]:
    if sheet.study is None:
        return
    found, labels = sheet.study.reliability, sheet.artifact.manifest.spec.labels
    if sheet.artifact.manifest.spec.task == "single-label":
        yield " ".join(confidence_sentences(found[0]))
    else:
        yield f"Expected calibration error, the mean over the labels: {percent(mean_ece(found))}."
        yield ""
        rows = [("label", "ECE", "mean score", "holds")]
        each = islice(zip(labels, found, strict=True), _LABELS)
        rows += [(text(label), percent(one.ece), percent(one.confidence), percent(one.accuracy)) for label, one in each]
        yield from table(rows, right=(1, 2, 3))
    yield ""
    yield text(ECE_SOURCE)


def _speed(sheet: Sheet) -> Iterator[str]:
    if sheet.timing is None:
        return
    found = sheet.timing.report.to_json_dict()
    times = found["ms"]
    names = [name for name in ("p50", "p90", "p99", "min", "mean") if times[name] is not None]
    yield from table([(*names, "images/s"), (*(f"{number(times[name])} ms" for name in names), number(found["images_per_second"]))], right=range(6))
    yield ""
    yield text(machine_sentence(sheet))
    for problem in sheet.timing.report.problems:
        yield ""
        yield f"**Not to be trusted:** {text(problem)}."


def _layers(sheet: Sheet) -> Iterator[str]:
    times = sheet.layer_times
    found = sorted(sheet.layers, key=lambda layer: (-times.get(layer.name, 0.0), -(layer.macs or 0), -layer.bytes))[:_LAYERS]
    rows = [("layer", "operator", "output", *(["ms"] if times else []), "MACs", "bytes")]
    for layer in found:
        shape = "?" if layer.output_shape is None else " x ".join(map(str, layer.output_shape))
        took = [number(times.get(layer.name))] if times else []
        macs = "?" if layer.macs is None else f"{layer.macs:,}"
        rows.append((code(layer.name), text(layer.operator), shape, *took, macs, f"{layer.bytes:,}"))
    yield from table(rows, right=range(3, len(rows[0])))
    if len(found) < len(sheet.layers):
        yield ""
        yield f"The {len(found)} that cost most of {len(sheet.layers)}."


def _memory(sheet: Sheet) -> Iterator[str]:
    yield text(memory_sentence(sheet))
    yield ""
    yield text(MEMORY_NOTE)


def _training(sheet: Sheet) -> Iterator[str]:
    if not sheet.history:
        return
    last = sheet.history[-1]
    rows = [("", "loss", "accuracy"), ("training", f"{last.loss:.4f}", percent(last.accuracy, 2))]
    if last.validation_loss is not None and last.validation_accuracy is not None:
        rows.append(("validation", f"{last.validation_loss:.4f}", percent(last.validation_accuracy, 2)))
    yield f"After epoch {last.epoch}:"
    yield ""
    yield from table(rows, right=(1, 2))

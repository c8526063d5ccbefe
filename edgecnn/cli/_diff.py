"""What `edgecnn diff` reads, measures and writes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgecnn.artifact.files import write_atomic
from edgecnn.artifact.graph import read_onnx
from edgecnn.cli._model import located
from edgecnn.cli._options import columns, note, put, require_extra, shown
from edgecnn.cli._progress import progress_line
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.measure import measure_all, open_subject
from edgecnn.errors import UsageError
from edgecnn.report.diff import compare
from edgecnn.report.diff.records import Answers, Diff
from edgecnn.report.diff.side import Side, of_artifact, of_graph
from edgecnn.report.diff.words import named, sections, verdict
from edgecnn.sign import open_trusted

_PICTURES = 24
"""Images that a page shows where nobody says otherwise."""


def run_diff(
    a: str,
    b: str,
    *,
    data: Path | None,
    bench: bool,
    min_seconds: float,
    show: int,
    exit_code: bool,
    ignore: tuple[str, ...],
    form: str | None,
    output: Path | None,
    threads: int | None,
    store: Path | None,
    trust_key: Path | None,
) -> None:
    """Raises what reading and measuring the two raises; ends with exit code 1 where that was asked for and they differ."""
    form = form or {".html": "html", ".htm": "html", ".json": "json"}.get(output.suffix.lower() if output is not None else "", "text")
    if ignore and not exit_code:
        raise UsageError("--ignore says what --exit-code may pass over; give both or none.")
    if form == "html":
        _check_page(output)
    paths = [located(file, store) for file in (a, b)]
    sides = [_read(path, trust_key, file) for path, file in zip(paths, (a, b), strict=True)]
    found = compare(*sides)
    if not found.identical:
        answers = _answers(sides, data, shown=show, pictures=form == "html", threads=threads) if data is not None else None
        latency = _latency(paths, min_seconds, threads, trust_key) if bench else None
        found = compare(*sides, answers=answers, latency=latency)
    _write(found, form, output, show)
    if exit_code and set(found.differing).difference(ignore):
        click.get_current_context().exit(1)


def _check_page(output: Path | None) -> None:
    """Its library is there, before anything is measured. Raises ExtraMissing, or UsageError where a page would be poured over a terminal."""
    with require_extra("report"):
        from edgecnn.report.page import environment

        environment()
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("a page is no reading for a terminal; give -o diff.html, or --format text.")


def _read(path: Path, trust_key: Path | None, file: str) -> Side:
    if path.suffix.lower() == ".onnx":
        data = read_onnx(path)
        if trust_key is not None:
            from edgecnn.sign.check import check_data

            check_data(data, path, trust_key)
        return of_graph(data, file=file)
    with open_trusted(path, trust_key) as bundle:
        return of_artifact(bundle, file=file)


def _answers(sides: list[Side], data: Path, *, shown: int, pictures: bool, threads: int | None) -> Answers:
    from edgecnn.data.collection import open_collection
    from edgecnn.report.diff.answers import compare_answers

    stated = [side.spec for side in sides if side.spec is not None]
    if not stated:
        raise UsageError("--data needs labels and preprocessing, and bare .onnx files state none; give an artifact for A or B.")
    specs = [side.spec or stated[0] for side in sides]
    for side, label in zip(sides, "AB", strict=True):
        if side.spec is None:
            note(f"note: {label}, {side.file}, states no preprocessing and no labels; the other's are taken.")
    collection = open_collection(data, labels=tuple(dict.fromkeys(label for spec in specs for label in spec.labels)))
    first, second = (side.session(spec, threads=threads) for side, spec in zip(sides, specs, strict=True))
    with progress_line() as show:
        return compare_answers(
            first,
            second,
            collection,
            data=str(data),
            shown=shown or len(collection),
            pictures=pictures,
            progress=lambda done, total: show(f"{done} of {total} images"),
        )


def _latency(paths: list[Path], min_seconds: float, threads: int | None, trust_key: Path | None) -> tuple[BenchReport, BenchReport]:
    subjects = [open_subject(path, threads=threads, trust_key=trust_key) for path in paths]
    with progress_line() as show:
        first, second = measure_all(subjects, min_seconds=min_seconds, progress=lambda done: show(f"measuring, {min(done, 1):.0%} done"))
    if first.interrupted or second.interrupted:
        raise KeyboardInterrupt
    return first, second


def _write(found: Diff, form: str, output: Path | None, show: int) -> None:
    if form == "html":
        from edgecnn.report.diff.page import page

        text = page(found, show)
    else:
        text = json.dumps(_facts(found), allow_nan=False) if form == "json" else "\n".join(shown(line) for line in _lines(found, show))
    if output is None:
        put(text.rstrip("\n"))
        return
    data = f"{text.rstrip()}\n".encode()
    write_atomic(output, data)
    put(f"{output}, {len(data):,} bytes")


def _lines(found: Diff, show: int) -> Iterator[str]:
    if found.identical:
        yield verdict(found)
        return
    yield from columns([("A", named(found.a)), ("B", named(found.b))])
    yield verdict(found)
    for section in sections(found, show):
        yield ""
        yield f"{section.title}: {section.sentences[0]}" if section.sentences else section.title
        yield from (f"  {sentence}" for sentence in section.sentences[1:])
        if len(section.rows) > 1:
            yield from columns(section.rows, right=section.right, indent="  ")
        if section.more:
            yield f"  {section.more}"


def _facts(found: Diff) -> dict[str, Any]:
    """Schema 1. What was not compared is null; `differing` is what --exit-code goes by, before --ignore."""
    facts: dict[str, Any] = {"schema": 1, **_finite(asdict(found)), "verdict": verdict(found), "differing": list(found.differing)}
    if found.latency is not None:
        facts["latency"] = [report.to_json_dict() for report in found.latency]
    if found.answers is not None:
        facts["answers"] |= {"p_value": found.answers.p_value, "kinds": dict(found.answers.kinds)}
    return facts


def _finite(found: Any) -> Any:
    """A graph may hold NaN and infinities, for which JSON has no numbers: their names."""
    if isinstance(found, float) and not math.isfinite(found):
        return str(found)
    if isinstance(found, dict):
        return {name: _finite(part) for name, part in found.items()}
    return [_finite(part) for part in found] if isinstance(found, (list, tuple)) else found

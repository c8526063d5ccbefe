"""What `edgecnn export` does, apart from its options: a live table of stages, a log of what libraries say, and what came out."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edgecnn.artifact.codec import encode
from edgecnn.artifact.records import ParityReport
from edgecnn.build.chain import Accuracy
from edgecnn.build.pipeline import STAGES, Event, ExportResult, export
from edgecnn.cli import _search
from edgecnn.cli._interrupts import interrupted
from edgecnn.cli._options import columns, note, put, put_json
from edgecnn.errors import EdgecnnError, GraphRejected, OutputNotWritable, ParityFailed, SourceRejected

_HEADINGS = ("stage", "time", "nodes", "bytes", "largest difference", "agreement")


def run_export(source: str, *, output: Path, log: Path | None, as_json: bool, **options: Any) -> None:
    """Raises what build.pipeline.export raises, and OutputNotWritable for the log."""
    with _logged(log), _Stages(quantize=options["quantize"]) as stages:
        result = export(source, output=output, on_stage=stages, **options)
    for text in result.notes:
        note(f"note: {text}.")
    if as_json:
        put_json(_facts(result))
        return
    for line in _lines(result):
        put(line)
    if result.search is not None:
        put("")
        for line in _search.table(result.search.trials, result.search.goal, result.search.winner):
            put(line)
        put(f"{result.search.why}.")


class _Stages:
    """Told of each event: a live table with a bar on a terminal, a line a finished stage elsewhere; both on standard error."""

    def __init__(self, *, quantize: str) -> None:
        self._console = Console(file=sys.stderr)
        stages = [stage for stage in STAGES if stage != "quantize" or quantize != "none"]
        if quantize == "auto":
            stages.insert(stages.index("quantize"), "search")
        self._rows: dict[str, list[str]] = {stage: [stage] for stage in stages}
        self._search = _search.SearchView(live=self._console.is_terminal)
        self._notes: list[str] = []
        self._begun = time.monotonic()
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console)
        self._task: TaskID | None = None
        self._live = Live(self._view(), console=self._console, redirect_stdout=False, redirect_stderr=False, refresh_per_second=8)

    def __enter__(self) -> _Stages:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._clear_bar()
        if kind is not None:
            self._rows = {stage: [stage, "stopped"] if row[1:] == ["..."] else row for stage, row in self._rows.items()}
        if self._console.is_terminal:
            self._live.update(self._view(), refresh=True)
            self._live.stop()
        elif kind is not None:
            for line in self._search.so_far():
                print(line, file=sys.stderr, flush=True)

    def __call__(self, event: Event) -> None:
        refresh = False
        if event.kind == "start":
            self._begun = time.monotonic()
            self._rows[event.stage] = [event.stage, "..."]
        elif event.search is not None:
            refresh = self._search(event.search)
        elif event.kind == "progress":
            self._advance(event)
        else:
            self._finish(event)
        if self._console.is_terminal:
            self._live.update(self._view(), refresh=refresh)

    def _advance(self, event: Event) -> None:
        if self._task is None:
            self._task = self._bar.add_task(event.of)
        self._bar.update(self._task, description=event.of, completed=event.done, total=event.total)

    def _finish(self, event: Event) -> None:
        self._clear_bar()
        self._search.done()
        record, parity = event.record, event.parity
        row = [event.stage, f"{time.monotonic() - self._begun:.1f} s"]
        if record is not None:
            parity = record.against_source
            row += [str(record.nodes), f"{record.bytes:,}"]
        if parity is not None:
            row += [""] * (4 - len(row)) + [f"{parity.max_abs:.2g}", f"{parity.agreement:.2%} of {parity.samples}"]
        self._rows[event.stage] = row
        if record is not None and record.note:
            self._notes.append(f"{event.stage}: {record.note}")
        if not self._console.is_terminal:
            print("  ".join(filter(None, [f"{row[0]:<9}", *_named(row[1:])])), file=sys.stderr, flush=True)

    def _clear_bar(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _view(self) -> Group:
        table = Table(*_HEADINGS, box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self._rows.values():
            table.add_row(*(Text(cell) for cell in row))
        notes = (Text(text, style="dim") for text in self._notes)
        return Group(table, *notes, *([self._bar] if self._task is not None else []), self._search.view())


def _named(cells: list[str]) -> Iterator[str]:
    """Each cell with its heading, for a line that stands alone."""
    patterns = ("{}", "{} nodes", "{} bytes", "largest difference {}", "agreement {}")
    return (pattern.format(cell) for pattern, cell in zip(patterns, cells, strict=False) if cell)


class _Log(logging.FileHandler):
    """A log that says nothing of a full disk itself: the libraries' streams lead back here."""

    failure: str | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.failure = str(getattr(sys.exc_info()[1], "strerror", None) or sys.exc_info()[1])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    """What libraries say, in `path`; without one in a temporary file that is kept, and named, only where the export itself failed."""
    kept = path is not None
    if path is None:
        handle, name = tempfile.mkstemp(prefix="edgecnn-export-", suffix=".log")
        os.close(handle)
        path = Path(name)
    try:
        handler = _Log(path, mode="w", encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(f"the log {path} can't be written ({error.strerror}); choose another file.") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("edgecnn.build")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    except Exception as error:
        kept = kept or (not interrupted() and _worth_reading(error, path))
        if kept and not interrupted():
            note(f"what the libraries said is in {path}")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
        if not kept:
            path.unlink(missing_ok=True)
        elif handler.failure:
            note(f"the log {path} is not whole ({handler.failure})")


def _worth_reading(error: Exception, path: Path) -> bool:
    about_the_graph = isinstance(error, (ParityFailed, SourceRejected, GraphRejected)) or not isinstance(error, EdgecnnError)
    return about_the_graph and path.stat().st_size > 0


def _lines(result: ExportResult) -> Iterator[str]:
    manifest = result.manifest
    graph = manifest.member("model.onnx")
    rows = [
        ("artifact", f"{result.path}, {result.path.stat().st_size:,} bytes"),
        ("model", f"{manifest.spec.name} {manifest.spec.version}, quantization {manifest.quantization}, model.onnx {graph.size:,} bytes"),
    ]
    if manifest.parity is not None:
        rows.append(("parity", _parity_text(manifest.parity)))
    if manifest.forced:
        rows.append(("forced", "it fell short and was packed all the same; devices will say so each time"))
    if result.accuracy is not None:
        rows += _accuracy_rows(result.accuracy)
    return columns(rows)


def _parity_text(parity: ParityReport) -> str:
    found = f"{parity.agreement:.2%} of {parity.samples} decisions are the {parity.reference}'s, largest difference {parity.max_abs:.3g}"
    return found if parity.passed else f"{found}: {'; '.join(parity.failures)}"


def _accuracy_rows(accuracy: Accuracy) -> Iterator[tuple[str, str]]:
    for name, report in (("source", accuracy.source), ("artifact", accuracy.artifact)):
        low, high = report.interval
        yield f"accuracy, {name}", f"{report.top1:.2%} of {report.count} images, 95 % interval {low:.2%} to {high:.2%}"
    change = accuracy.difference
    yield "accuracy, change", f"{change.points:+.2f} points, 95 % interval {change.low:+.2f} to {change.high:+.2f} (paired, same images)"


def _facts(result: ExportResult) -> dict[str, Any]:
    manifest = result.manifest
    facts: dict[str, Any] = {
        "schema": 1,
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "manifest": encode(manifest),
        "stages": encode(result.report.stages),
        "validated": manifest.validated,
        "notes": list(result.notes),
    }
    if result.search is not None:
        facts["search"] = _search.facts(result.search)
    if result.accuracy is not None:
        facts["accuracy"] = {
            "source": {"correct": result.accuracy.source.correct, "count": result.accuracy.source.count, "interval": result.accuracy.source.interval},
            "artifact": {
                "correct": result.accuracy.artifact.correct,
                "count": result.accuracy.artifact.count,
                "interval": result.accuracy.artifact.interval,
            },
            "difference": encode(result.accuracy.difference),
        }
    return facts

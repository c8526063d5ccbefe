"""Showing a training run: a live bar on a terminal, a line an epoch elsewhere. All of it on standard error."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgecnn.artifact.codec import encode
from edgecnn.artifact.records import EpochMetrics


class RichReporter:
    """A bar over the whole run, with loss, accuracy and the time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("train", total=None, epoch="1", loss=0.0, accuracy=0.0)
        self._epochs = self._current = 0

    def start(self, *, epochs: int, steps: int, first_epoch: int) -> None:
        self._epochs, self._current = epochs, first_epoch + 1
        self._bar.update(self._task, total=epochs * steps, completed=first_epoch * steps, epoch=f"{self._current}/{epochs}")
        self._bar.start()

    def step(self, *, loss: float, accuracy: float) -> None:
        self._bar.update(self._task, advance=1, loss=loss, accuracy=accuracy)

    def epoch(self, metrics: EpochMetrics) -> None:
        self._current = metrics.epoch + 1
        self._bar.update(self._task, epoch=f"{min(self._current, self._epochs)}/{self._epochs}")
        self._console.print(epoch_line(metrics, self._epochs), highlight=False, soft_wrap=True)

    def note(self, message: str) -> None:
        self._console.print(message, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


class JsonReporter:
    """Each epoch's metrics as a JSON line on standard output."""

    def start(self, *, epochs: int, steps: int, first_epoch: int) -> None:
        del epochs, steps, first_epoch

    def step(self, *, loss: float, accuracy: float) -> None:
        del loss, accuracy

    def epoch(self, metrics: EpochMetrics) -> None:
        print(json.dumps(encode(metrics)), flush=True)

    def note(self, message: str) -> None:
        print(message, file=sys.stderr)

    def close(self) -> None:
        pass


class DecodeBar:
    """Progress while images are decoded: called with (what, done, total)."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("decode {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._tasks = {name: self._bar.add_task(name, total=None, visible=False) for name in ("training", "validation")}

    def __enter__(self) -> DecodeBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._bar.update(self._tasks[what], completed=done, total=total, visible=True)


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    text = f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}  loss {metrics.loss:.4f}  accuracy {metrics.accuracy:.2%}"
    if metrics.validation_accuracy is None or metrics.validation_loss is None:
        return text
    return f"{text}  validation loss {metrics.validation_loss:.4f}  accuracy {metrics.validation_accuracy:.2%}"

"""Classify images: files, folders, arrays or standard input."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import store_option
from edgecnn.cli._on import on_option
from edgecnn.cli._options import engine_option, json_option, note, put, put_json, shown, threads_option
from edgecnn.cli._trust import trust_options
from edgecnn.errors import EdgecnnError, InputRefused, SomeFailed, UsageError

if TYPE_CHECKING:
    from edgecnn.cli._inputs import Input
    from edgecnn.device.classify import Prediction
    from edgecnn.device.model import Model
    from edgecnn.device.watch import Watch

_WIDEST = 120
"""Characters that a column leaves room for at most, so that one absurd name doesn't push all others away."""

_ALONE, _WORTHWHILE = 2, 1.0
"""Inputs answered before it is decided whether the others go side by side, and the milliseconds from which one is worth it: of less time than that
Python's own part, which takes turns, is the larger."""


@click.command(epilog="Example: edgecnn run five-1.0.0.edgecnn photos/ --top 3")
@on_option(file="model", inputs="input", watch="here", stream="here")
@click.argument("file", shell_complete=_complete.model)
@click.argument("inputs", nargs=-1, metavar="[INPUT...]", shell_complete=_complete.path)
@click.option("--watch", metavar="DIR", help="Answer each image that comes into DIR, a JSON line each, until SIGTERM.")
@click.option("--stream", type=click.Choice(["paths", "frames"]), help="Answer each image that comes on standard input, a JSON line each.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Show the K best labels of each input, e.g. 3.  [default: 1; with --json 5]")
@json_option
@threads_option
@engine_option
@store_option
@trust_options
def command(
    file: str,
    inputs: tuple[str, ...],
    watch: str | None,
    stream: str | None,
    top: int | None,
    as_json: bool,
    threads: int | None,
    engine: str,
    store: Path | None,
    trust_key: Path | None,
) -> None:
    """Say what the model in FILE sees in each INPUT, a line each: the input, its label, the score.

    \b
    FILE is
      a path        with a / in it, or ending in .edgecnn
      NAME          the active version of an installed model (edgecnn store), else a file of this name
      NAME@VERSION  that version of it

    \b
    An INPUT is
      an image      of any common format
      a folder      all images in it and below, sorted
      an .npy file  uint8 pixels (height, width), (height, width, 3) or a batch of them
                    (n, height, width, channels), in RGB; or float32 model inputs
                    (n, channels, height, width), already normalized
      -             one image on standard input

    Of many inputs that take long enough several are worked on at a time, a thread each, and answered in their order.

    A multi-label model shows all labels over their thresholds, or "none"; --top adds the next best in brackets. An input that can't be read is
    one line on standard error (with --json on standard output), the others go on, and the exit code is 5; it is 3 when there was none to go on with.

    \b
    Instead of INPUTs, for as long as it is wanted:
      --watch DIR      images that come into DIR or below, once they are whole; those there at
                       the start are no news, DIR may go away and come back
      --stream paths   paths on standard input, one a line
      --stream frames  encoded images on standard input, each after its length: 4 bytes, big-endian

    SIGTERM lets the image at hand be finished and ends them with 0.
    """
    _one_source(inputs, watch, stream)
    with _no_search_for_garbage():
        from edgecnn.cli._inputs import find_inputs
        from edgecnn.cli._model import opened
        from edgecnn.device.model import notices

        watching = None if watch is None else _watching(watch)
    side_by_side = _threads_for(inputs, threads)
    with opened(file, store=store, threads=threads if side_by_side == 1 else 1, trust_key=trust_key, engine=engine) as model:
        for told in notices(file, model):
            note(told)
        if watching is not None or stream is not None:
            _live(model, watching, stream, top)
            return
        failed = _Failures(as_json=as_json)
        show = _JsonLines(top, validated=model.manifest.validated) if as_json else _TextLines(model, top, inputs)
        for item, found in _answers(model, find_inputs(inputs), show.top_k, threads=side_by_side):
            if isinstance(found, (InputRefused, UsageError)):
                failed.add(item.name, found)
            elif isinstance(found, Exception):
                raise found
            else:
                show(found)
                failed.done += 1
        failed.conclude()


def _threads_for(inputs: tuple[str, ...], threads: int | None) -> int:
    """How many inputs are worked on at a time: as many as threads may be used, where there may be as many."""
    if len(inputs) == 1 and not (os.path.isdir(inputs[0]) or inputs[0].lower().endswith(".npy")):
        return 1
    from edgecnn.device.engines import allowed_threads

    return allowed_threads(threads) if inputs else 1


def _answers(model: Model, items: Iterator[Input], top_k: int, *, threads: int) -> Iterator[tuple[Input, Prediction | Exception]]:
    """Each input with what the model says of it, in order; several at a time where the first ones show that they take long enough for that."""

    def answer(own: Model, item: Input) -> Prediction | Exception:
        try:
            return _predict(own, item, top_k)
        except (InputRefused, UsageError) as error:
            return error

    def worker() -> Callable[[Input], Prediction | Exception]:
        own = model.twin()
        return lambda item: answer(own, item)

    spent = 0.0
    for item in islice(items, _ALONE if threads > 1 else None):
        found = answer(model, item)
        spent = sum(dataclasses.astuple(found.ms)) if threads > 1 and not isinstance(found, Exception) else spent
        yield item, found
    if spent < _WORTHWHILE:
        yield from ((item, answer(model, item)) for item in items)
        return
    from edgecnn.device.side_by_side import in_order

    yield from in_order(items, worker, threads=threads)


def _watching(folder: str) -> Watch:
    from edgecnn.device.watch import Watch

    return Watch(folder)


def _one_source(inputs: tuple[str, ...], watch: str | None, stream: str | None) -> None:
    given = [name for name, value in (("INPUT", inputs), ("--watch", watch), ("--stream", stream)) if value]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} were given, and each says where the images come from; give one of them.")
    if watch is None and stream is None and not inputs:
        raise click.UsageError("Missing argument 'INPUT...'")


def _live(model: Model, watching: Watch | None, stream: str | None, top: int | None) -> None:
    from edgecnn.cli._live import answer_folder, answer_stream

    show, failed = _JsonLines(top, validated=model.manifest.validated), _Failures(as_json=True)

    def answer(name: str, source: Any) -> None:
        show(model.predict(source, top_k=show.top_k, name=name))
        failed.done += 1

    if watching is not None:
        note(f"watching {watching.folder}")
        answer_folder(watching, answer, failed.add)
    elif stream is not None and answer_stream(stream, answer, failed.add):
        failed.conclude()


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Nothing of the start-up is garbage, and looking for it again and again takes a tenth of a short run."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _predict(model: Model, item: Input, top_k: int) -> Prediction:
    source = item.read()
    if item.ready:
        try:
            return model.predict_input(source, top_k=top_k, name=item.name)
        except UsageError as error:
            raise UsageError(f"{item.name}: {error}") from None
    found = model.predict(source, top_k=top_k, name=item.title)
    return found if item.title == item.name else dataclasses.replace(found, input=item.name)


class _Failures:
    """Inputs that could not be used: a line each as they come, and what the exit code says of them in the end."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json, self.done, self.failed = as_json, 0, 0

    def add(self, name: str, error: EdgecnnError) -> None:
        self.failed += 1
        if self.as_json:
            put_json({"schema": 1, "input": name, "error": str(error)})
        else:
            note(str(error))

    def conclude(self) -> None:
        """Raises SomeFailed where others were done, else ends with an InputRefused's exit code."""
        if not self.failed:
            return
        if self.done:
            raise SomeFailed(f"{self.failed} of {self.failed + self.done} inputs could not be used, the rest were done.")
        click.get_current_context().exit(InputRefused.exit_code)


class _JsonLines:
    def __init__(self, top: int | None, *, validated: bool) -> None:
        self.top_k = top or 5
        # each line says so of an artifact that was packed by force
        self.more = {} if validated else {"validated": False}

    def __call__(self, prediction: Prediction) -> None:
        put_json({**prediction.to_json_dict(), **self.more})


class _TextLines:
    """Aligned lines: input, label, score, and further labels with their scores."""

    def __init__(self, model: Model, top: int | None, inputs: Sequence[str]) -> None:
        from edgecnn.cli._inputs import find_inputs

        labels = model.spec.labels
        self.multi_label = model.spec.task == "multi-label"
        self.top = top or 0
        # a line must show every label that holds, so a multi-label model is asked for all
        self.top_k = len(labels) if self.multi_label else top or 1
        self.label_width = min(_WIDEST, max(map(len, labels)))
        self.input_width = min(_WIDEST, max((len(shown(item.name)) for item in find_inputs(inputs)), default=0))

    def __call__(self, prediction: Prediction) -> None:
        cells = [self._cell(entry.label, entry.score) for entry in prediction.top[: max(1, self.top)]]
        if self.multi_label:
            held = len(prediction.labels)
            cells = [self._cell(entry.label, entry.score) for entry in prediction.top[:held]] or ["none".ljust(self.label_width)]
            cells += [f"({entry.label} {entry.score:.3f})" for entry in prediction.top[held : self.top]]
        put("  ".join([shown(prediction.input or "").ljust(self.input_width), *cells]).rstrip())

    def _cell(self, label: str, score: float) -> str:
        return f"{label.ljust(self.label_width)}  {score:.3f}"

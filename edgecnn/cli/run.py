"""Classify images: files, folders, arrays or standard input."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._answers import JsonLines, Setup, TextLines, answers, helped, manifest_digest
from edgecnn.cli._inputs import Input, find_inputs
from edgecnn.cli._model import located, opened, store_option
from edgecnn.cli._on import on_option
from edgecnn.cli._options import engine_option, json_option, note, put, put_json, threads_option
from edgecnn.cli._trust import trust_options
from edgecnn.errors import EdgecnnError, InputRefused, SomeFailed

if TYPE_CHECKING:
    from edgecnn.device.model import Model
    from edgecnn.device.watch import Watch


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

    16 inputs and more are shared out among as many processes as --threads allows and the machine has memory for, one thread each, and answered in
    their order.

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
    with ExitStack() as stack:
        items, helpers = stack.enter_context(helped(find_inputs(inputs), threads, engine=engine))
        with _no_search_for_garbage():
            from edgecnn.device.model import notices

            watching = None if watch is None else _watching(watch)
            model = stack.enter_context(opened(file, store=store, threads=1 if helpers else threads, trust_key=trust_key, engine=engine))
        for told in notices(file, model):
            note(told)
        if watching is not None or stream is not None:
            _live(model, watching, stream, top)
            return
        lines = JsonLines(top, model) if as_json else TextLines(top, model, (item.name for item in find_inputs(inputs)))
        failed = _Failures(as_json=as_json)

        def setup() -> Setup:
            runs = model.session.engine
            return Setup(located(file, store), trust_key, runs.name, manifest_digest(model), runs.provider, lines)

        for some in answers(model, lines, items, helpers, setup):
            _show(some, failed)
        failed.conclude()


def _show(some: list[tuple[Input, str | EdgecnnError]], failed: _Failures) -> None:
    """A line each, those in a row at once."""
    lines: list[str] = []
    for item, found in some:
        if isinstance(found, str):
            lines.append(found)
            continue
        if lines:
            put("\n".join(lines))
        failed.done += len(lines)
        lines.clear()
        failed.add(item.name, found)
    if lines:
        put("\n".join(lines))
    failed.done += len(lines)


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

    lines, failed = JsonLines(top, model), _Failures(as_json=True)

    def answer(name: str, source: Any) -> None:
        put(lines(model.predict(source, top_k=lines.top_k, name=name)))
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

"""The lines that `edgecnn run` prints for its inputs, and the processes that share in making them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgecnn.cli._inputs import Input
from edgecnn.cli._options import json_line, shown
from edgecnn.errors import EdgecnnError, InputRefused, UsageError

if TYPE_CHECKING:
    from edgecnn.device.classify import Prediction
    from edgecnn.device.model import Model, Prepared
    from edgecnn.device.side_by_side import Helper

_CHILD = Path(__file__).with_name("_answers_child.py")

_MANY, _MEMORY = 16, 256 << 20
"""Inputs from which helpers are started, which takes as long as hundreds of small images or a few large ones; and memory that the machine is to have
for each process, of which one with a small model takes a third."""

_WIDEST = 120
"""Characters that a column leaves room for at most, so that one absurd name doesn't push all others away."""


class JsonLines:
    """A line of JSON for each prediction."""

    def __init__(self, top: int | None, model: Model) -> None:
        self.top_k = top or 5
        # each line says so of an artifact that was packed by force
        self.more = {} if model.manifest.validated else {"validated": False}

    def __call__(self, prediction: Prediction) -> str:
        return json_line({**prediction.to_json_dict(), **self.more})


class TextLines:
    """Aligned lines: input, label, score, and further labels with their scores."""

    def __init__(self, top: int | None, model: Model, names: Iterator[str]) -> None:
        labels = model.spec.labels
        self.multi_label = model.spec.task == "multi-label"
        self.top = top or 0
        # a line must show every label that holds, so a multi-label model is asked for all
        self.top_k = len(labels) if self.multi_label else top or 1
        self.label_width = min(_WIDEST, max(map(len, labels)))
        self.input_width = min(_WIDEST, max((len(shown(name)) for name in names), default=0))

    def __call__(self, prediction: Prediction) -> str:
        cells = [self._cell(entry.label, entry.score) for entry in prediction.top[: max(1, self.top)]]
        if self.multi_label:
            held = len(prediction.labels)
            cells = [self._cell(entry.label, entry.score) for entry in prediction.top[:held]] or ["none".ljust(self.label_width)]
            cells += [f"({entry.label} {entry.score:.3f})" for entry in prediction.top[held : self.top]]
        return "  ".join([shown(prediction.input or "").ljust(self.input_width), *cells]).rstrip()

    def _cell(self, label: str, score: float) -> str:
        return f"{label.ljust(self.label_width)}  {score:.3f}"


class Setup(NamedTuple):
    """What a helper is to know: the model's file, how it was opened, and the sha256 of its manifest and the provider that it runs on, which must come
    of it there, too."""

    path: Path
    trust_key: Path | None
    engine: str
    manifest: str
    provider: str
    lines: JsonLines | TextLines


def manifest_digest(model: Model) -> str:
    """It holds those of the graph and of all else."""
    import hashlib

    return hashlib.sha256(model.manifest.to_json()).hexdigest()


def answer(model: Model, lines: JsonLines | TextLines, items: list[Input]) -> list[str | EdgecnnError]:
    """A line for each input, or the error that keeps it from being used. All are decoded before the network answers any, one after the other: each
    step finds its code and tables in the CPU's caches."""
    found: list[Any] = [_prepared(model, item) for item in items]
    good = [place for place, result in enumerate(found) if not isinstance(result, EdgecnnError)]
    made: Sequence[Prediction | EdgecnnError]
    try:
        made = model.predict_prepared([found[place] for place in good], top_k=lines.top_k)
    except (InputRefused, UsageError):  # whose it is comes out one by one
        made = [_predicted(model, found[place], lines.top_k, ready=items[place].ready) for place in good]
    for place, result in zip(good, made, strict=True):
        found[place] = result if isinstance(result, EdgecnnError) else lines(result)
    return found


def _prepared(model: Model, item: Input) -> Prepared | EdgecnnError:
    try:
        if item.ready:
            from edgecnn.device.model import Prepared

            return Prepared(item.name, item.read())
        prepared = model.prepare(item.read(), name=item.title or item.name)
        return prepared if item.title is None else prepared._replace(name=item.name)
    except (InputRefused, UsageError) as error:
        return error


def _predicted(model: Model, prepared: Prepared, top_k: int, *, ready: bool) -> Prediction | EdgecnnError:
    try:
        return model.predict_prepared([prepared], top_k=top_k)[0]
    except UsageError as error:
        return UsageError(f"{prepared.name}: {error}") if ready else error
    except InputRefused as error:
        return error


@contextmanager
def helped(inputs: Iterator[Input], threads: int | None, *, engine: str) -> Iterator[tuple[Iterator[Input], list[Helper]]]:
    """The inputs, and helpers that are starting where there are enough of them: each loads all that it needs while this process does."""
    first = list(islice(inputs, _MANY))
    inputs = chain(first, inputs)
    processes = 1
    if len(first) == _MANY:
        from edgecnn.device.engines import allowed_threads

        processes = min(allowed_threads(threads), _processes())
    if processes < 2:
        yield inputs, []
        return
    from edgecnn.device.side_by_side import helpers_for

    with helpers_for(processes, _CHILD, engine) as helpers:
        yield inputs, helpers


def answers(
    model: Model, lines: JsonLines | TextLines, inputs: Iterator[Input], helpers: Sequence[Helper], setup: Callable[[], Setup]
) -> Iterator[list[tuple[Input, str | EdgecnnError]]]:
    """What `answer` gives for each input, in order, some at a time. setup: for the helpers, where there are some."""
    from edgecnn.device.side_by_side import in_order

    fitting = helpers[: _processes(model.manifest.member("model.onnx").size) - 1]
    for helper in helpers[len(fitting) :]:
        helper.end()
    if fitting:
        try:
            told = setup()
        except EdgecnnError:  # a store that changed since: the model is here, and its file may be gone
            fitting = ()
        for helper in fitting:
            helper.tell(told)
    yield from in_order(inputs, functools.partial(answer, model, lines), helpers=fitting, here=lambda item: item.here)


def _processes(graph_bytes: int = 0) -> int:
    """As many as there is memory for: each with a graph of its own, its weights, and those rearranged for the CPU."""
    from edgecnn.device.host import memory_bytes

    here = memory_bytes()
    return max(1, here // (_MEMORY + 4 * graph_bytes)) if here is not None else 1

"""The lines that `edgecnn run` prints for its inputs, and the processes that share in making them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgecnn.cli._inputs import Input
from edgecnn.cli._options import json_line, shown
from edgecnn.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from edgecnn.artifact.manifest import Manifest
    from edgecnn.device.classify import Prediction
    from edgecnn.device.model import Model, Prepared
    from edgecnn.device.side_by_side import Helper

_CHILD = Path(__file__).with_name("_answers_child.py")

_MANY, _MEMORY = 16, 256 << 20
"""Inputs from which helpers are started, which takes as long as hundreds of small images or a few large ones; and memory that there is to be for each
process: they take a third of that with small models."""

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
    """What a helper is to know: the model's file, how it was opened, and what came of that, which must come of it there, too."""

    path: Path
    trust_key: Path | None
    engine: str
    manifest: Manifest
    provider: str
    lines: JsonLines | TextLines


def answer(model: Model, lines: JsonLines | TextLines, items: list[Input]) -> list[str | Exception]:
    """A line for each input, or the error that keeps it from being used. All are decoded before the network answers any, one after the other: each
    step finds its code and tables in the CPU's caches."""
    found: list[Any] = [_prepared(model, item) for item in items]
    good = [place for place, result in enumerate(found) if not isinstance(result, Exception)]
    try:
        made = model.predict_prepared([found[place] for place in good], top_k=lines.top_k)
    except (InputRefused, UsageError) as error:
        if len(items) > 1:  # which one's it is comes out one by one
            return [answer(model, lines, [item])[0] for item in items]
        return [UsageError(f"{items[0].name}: {error}") if isinstance(error, UsageError) else error]
    for place, prediction in zip(good, made, strict=True):
        found[place] = lines(prediction)
    return found


def _prepared(model: Model, item: Input) -> Prepared | Exception:
    try:
        if item.ready:
            from edgecnn.device.model import Prepared

            return Prepared(item.name, item.read())
        prepared = model.prepare(item.read(), name=item.title or item.name)
        return prepared if item.title is None else prepared._replace(name=item.name)
    except (InputRefused, UsageError) as error:
        return error


@contextmanager
def helped(inputs: Iterator[Input], threads: int | None, *, engine: str) -> Iterator[tuple[Iterator[Input], list[Helper]]]:
    """The inputs, and helpers that are starting where there are enough of them: each loads all that it needs while this process does."""
    first = list(islice(inputs, _MANY))
    inputs = chain(first, inputs)
    processes = 1
    if len(first) == _MANY:
        from edgecnn.device.engines import allowed_threads
        from edgecnn.device.host import memory_bytes

        processes = min(allowed_threads(threads), (memory_bytes() or _MEMORY) // _MEMORY)
    if processes < 2:
        yield inputs, []
        return
    from edgecnn.device.side_by_side import helpers_for

    with helpers_for(processes, _CHILD, engine) as helpers:
        yield inputs, helpers


def answers(
    model: Model, lines: JsonLines | TextLines, inputs: Iterator[Input], helpers: list[Helper], setup: Setup
) -> Iterator[list[tuple[Input, str | Exception]]]:
    """What `answer` gives for each input, in order, some at a time."""
    from edgecnn.device.side_by_side import in_order

    for helper in helpers:
        helper.tell(setup)
    yield from in_order(inputs, functools.partial(answer, model, lines), helpers=helpers, here=lambda item: item.here)

"""How `edgecnn export --quantize auto` shows its search: the table of what was tried, live on a terminal, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgecnn.artifact.codec import encode
from edgecnn.build.search.progress import Status
from edgecnn.build.search.records import Candidate, Goal, Search, Trial, pareto_front
from edgecnn.cli._options import columns

_HEADINGS = ("", "goal", "accuracy", "95 % interval", "change", "95 % interval", "p", "SQNR", "ms", "of float32's", "bytes", "candidate")
_RIGHT = tuple(range(2, 11))
_LIVE = (0, 1, 2, 4, 7, 8, 10, 11)
"""What a terminal has room for while it runs."""


class SearchView:
    """Told how far a search is; without a terminal it says on standard error when something new begins."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._status: Status | None = None

    def __call__(self, status: Status) -> bool:
        """Whether something new begins."""
        begins = self._status is None or self._status.doing != status.doing
        self._status = status
        if begins and not self._live:
            print(f"search     {status.doing}{_time_left(status)}", file=sys.stderr, flush=True)
        return begins

    def done(self) -> None:
        """The search has ended well: what it found is told elsewhere."""
        self._status = None

    def view(self) -> RenderableType:
        """The table so far, and what is being done."""
        status = self._status
        if status is None:
            return Group()
        table = Table(box=None, pad_edge=False)
        for place in _LIVE:
            table.add_column(_HEADINGS[place], justify="right" if place in _RIGHT else "left", no_wrap=place != _LIVE[-1])
        for row in _rows(status.trials, status.goal):
            table.add_row(*(Text(row[place]) for place in _LIVE))
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=max(1, status.total), completed=status.done, width=30), Text(f"{status.doing}{_time_left(status)}"))
        return Group(Text(), table, line)

    def so_far(self) -> Iterator[str]:
        """The lines of the table, as far as it goes."""
        if self._status is not None and len(self._status.trials) > 1:
            yield from table(self._status.trials, self._status.goal)


def _time_left(status: Status) -> str:
    if status.seconds_left is None:
        return ""
    seconds = round(status.seconds_left)
    return f", at most {seconds // 60}:{seconds % 60:02d} left" if seconds else ""


def table(trials: Sequence[Trial], goal: Goal, winner: Candidate | None = None) -> Iterator[str]:
    """What was tried, aligned."""
    yield from columns([_HEADINGS, *_rows(trials, goal, winner)], right=_RIGHT)
    yield (
        "* not beaten in both accuracy and " + ("bytes" if goal.objective == "bytes" else "latency") + "; = timed as another with the same operators"
    )


def _rows(trials: Sequence[Trial], goal: Goal, winner: Candidate | None = None) -> Iterator[tuple[str, ...]]:
    front = pareto_front(trials, goal.objective)
    for trial in trials:
        yield (
            "*" if trial.name in front else "",
            "won" if winner is not None and trial.candidate == winner else _goal(trial, goal),
            *_accuracy(trial),
            "" if trial.sqnr_db is None else f"{trial.sqnr_db:.1f} dB",
            *_latency(trial),
            f"{trial.bytes:,}",
            trial.name,
        )


def _accuracy(trial: Trial) -> tuple[str, ...]:
    judged = trial.judged
    if judged is None:
        return ("",) * 5
    (low, high), seen = judged.interval, judged.difference
    return (
        f"{judged.accuracy:.2%}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        f"{seen.points:+.2f}",
        f"{seen.low:+.2f} to {seen.high:+.2f}",
        f"{judged.p:.2g}",
    )


def _latency(trial: Trial) -> tuple[str, str]:
    latency = trial.latency
    if latency is None:
        return "", ""
    lent = "=" if trial.latency_of else ""
    if trial.candidate.quantizer == "none":
        return f"{latency.ms:.3f}", ""
    return f"{lent}{latency.ms:.3f}", f"{latency.ratio:.2f} ({latency.low:.2f} to {latency.high:.2f})"


def _goal(trial: Trial, goal: Goal) -> str:
    return trial.judged.finding(goal) if trial.judged else "-"


def facts(search: Search) -> dict[str, Any]:
    """All of a search, for programs."""
    front = search.front
    return {
        "goal": encode(search.goal),
        "measure": search.measure,
        "winner": search.winner.name,
        "why": search.why,
        "notes": list(search.notes),
        "trials": [_trial_facts(trial, search.goal, trial.name in front) for trial in search.trials],
    }


def _trial_facts(trial: Trial, goal: Goal, on_front: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": trial.name, **encode(trial), "front": on_front}
    if trial.judged is not None:
        derived = {"count": trial.judged.count, "accuracy": trial.judged.accuracy, "interval": list(trial.judged.interval), "p": trial.judged.p}
        found["judged"] |= derived | {"finding": trial.judged.finding(goal)}
    return found

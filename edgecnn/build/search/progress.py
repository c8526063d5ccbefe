"""How far a search is: what it is doing, what was tried so far, and how long the rest takes at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from edgecnn.build.search.records import Goal, Trial

Kind = Literal["make", "time", "rank", "judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """doing: in a few words; done, total: of that; seconds_left: until all that is planned is done, None while that can't be told (a goal that
    holds before then ends it sooner); trials: so far."""

    goal: Goal
    doing: str
    done: int
    total: int
    seconds_left: float | None
    trials: tuple[Trial, ...]


Tell = Callable[[Status], None]


class Plan:
    """How many candidates are still to be made, timed, ranked and judged, and how long that took of those that were.

    images: how many validation images there are for each calibration image. Before the first candidate is ranked, that is taken to take as
    long as making one; before the first is judged, that to take half as long an image as ranking, which opens graphs and runs float32's as well.
    """

    def __init__(self, *, images: float) -> None:
        self._guess: dict[Kind, tuple[Kind, float]] = {"rank": ("make", 1.0), "judge": ("rank", images / 2)}
        self._left: dict[Kind, int] = {}
        self._done: dict[Kind, int] = {}
        self._seconds: dict[Kind, float] = {}

    def expect(self, **jobs: int) -> None:
        """So many candidates are left, of each kind of work that is named."""
        self._left.update(jobs)  # type: ignore[arg-type]

    @contextmanager
    def job(self, kind: Kind, count: int = 1) -> Iterator[None]:
        """Around work on `count` candidates."""
        begun = time.monotonic()
        yield
        self._seconds[kind] = self._seconds.get(kind, 0.0) + time.monotonic() - begun
        self._done[kind] = self._done.get(kind, 0) + count
        self._left[kind] = max(0, self._left.get(kind, 0) - count)

    @property
    def seconds_left(self) -> float | None:
        each = {kind: self._each(kind) for kind, count in self._left.items() if count}
        known = [self._left[kind] * seconds for kind, seconds in each.items() if seconds is not None]
        return sum(known) if len(known) == len(each) else None

    def _each(self, kind: Kind) -> float | None:
        if self._done.get(kind):
            return self._seconds[kind] / self._done[kind]
        like, times = self._guess.get(kind, (None, 0.0))
        each = self._each(like) if like else None
        return None if each is None else times * each

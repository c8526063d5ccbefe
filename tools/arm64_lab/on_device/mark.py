"""Marks for the counter of instructions (counter.c), and runs between them."""

import os
from collections.abc import Callable

FIRST_MARK = -1_000_000
WARM_UP, RUNS = 2, 2


def mark(number: int) -> None:
    try:
        os.getpgid(FIRST_MARK - number)
    except OSError:
        return
    raise SystemExit("there is a process group of a negative number, so marks can't be told from it")


def count_runs(run: Callable[[], object]) -> None:
    """A mark before the first counted run and one after each, from 0 on."""
    for _ in range(WARM_UP):
        run()
    mark(0)
    for number in range(RUNS):
        run()
        mark(number + 1)

"""Offline, in MLPerf LoadGen's words: all images are there, and only how many are done in a second counts.

A graph whose batch is open is given OPEN_BATCH images at a time, one with a fixed batch as many as that is. Where it is fixed to one image, the
threads are better used by as many sessions as there are threads, each on one thread and one image after the other, than by splitting each small layer
among them; a run is then a round of all sessions, long enough that starting and ending it costs nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

OPEN_BATCH = 32
"""As many as `edgecnn run` holds decoded at a time."""

_ROUND_SECONDS = 0.02
_MOST_A_ROUND = 1000


def together(runs: Sequence[Callable[[], object]]) -> tuple[Callable[[], object], int, int]:
    """(a round, images of a round, sessions): each of `runs`, one image, so often that a round takes about 20 ms, at the same time as the others."""
    runs[0]()  # the first run of a session does more
    start = time.perf_counter()
    runs[0]()
    each = min(_MOST_A_ROUND, max(1, math.ceil(_ROUND_SECONDS / max(1e-6, time.perf_counter() - start))))
    pool = ThreadPoolExecutor(len(runs), thread_name_prefix="session")

    def repeat(run: Callable[[], object]) -> None:
        for _ in range(each):
            run()

    def round_() -> None:
        for _ in pool.map(repeat, runs):
            pass

    return round_, each * len(runs), len(runs)

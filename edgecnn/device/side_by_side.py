"""Work on many inputs at once, a thread each, whose results come in order: decoding, resizing and inference of different images overlap."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_TOGETHER = 8
"""Inputs that a thread takes at a time once there are many: handing over costs as much as a tenth of a small image."""

_AHEAD = 4
"""Such portions that each thread may be ahead of whoever takes the results."""


def in_order(items: Iterable[T], worker: Callable[[], Callable[[T], R]], *, threads: int) -> Iterator[tuple[T, R | Exception]]:
    """Each item with what a worker made of it, or the exception that it raised, in the order of the items.

    worker: called once in each thread, makes what is called with the items there. Memory holds some dozen results a thread, however many items
    there are. Whoever stops taking stops the work.
    """
    own = threading.local()

    def work(some: list[T]) -> list[tuple[T, R | Exception]]:
        if not hasattr(own, "call"):
            own.call = worker()
        return [(item, _tried(own.call, item)) for item in some]

    waiting: deque[Future[list[tuple[T, R | Exception]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="edgecnn")
    try:
        for some in _portions(items, threads):
            waiting.append(pool.submit(work, some))
            if len(waiting) > threads * _AHEAD:
                yield from waiting.popleft().result()
            while waiting and waiting[0].done():  # whoever waits for the first result isn't kept waiting for the next item
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _portions(items: Iterable[T], threads: int) -> Iterator[list[T]]:
    """Single ones at first, so that a handful is shared out evenly."""
    rest, taken = iter(items), 0
    while some := list(islice(rest, min(_TOGETHER, 1 + taken // (4 * threads)))):
        taken += len(some)
        yield some


def _tried(call: Callable[[T], R], item: T) -> R | Exception:
    try:
        return call(item)
    except Exception as error:  # told in its turn
        return error

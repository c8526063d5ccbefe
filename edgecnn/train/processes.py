"""Several training processes that end together: at Ctrl-C each stops where it stands, without a word, and none outlives the one that began them."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from types import FrameType

SECONDS_TO_STOP = 10.0


class _Process(SpawnProcess):
    def start(self) -> None:
        # a terminal interrupts every process: one that is still importing would say so in tracebacks, so it hears of it later
        if not hasattr(signal, "pthread_sigmask"):
            super().start()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """Around what spawns processes and waits for them: when this process is interrupted, those that it spawned are stopped, and then killed."""
    spawn = multiprocessing.get_context("spawn")
    spawn.Process = _Process  # type: ignore[misc]
    try:
        yield
    except KeyboardInterrupt:
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        for child in children:
            child.join(SECONDS_TO_STOP)
            child.kill()
        raise
    finally:
        del spawn.Process


@contextlib.contextmanager
def stopped_once() -> Iterator[None]:
    """In a process that was spawned so: the first of Ctrl-C and termination raises KeyboardInterrupt, later ones don't disturb its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt

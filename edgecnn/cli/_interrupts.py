"""Ctrl-C, remembered: libraries turn a KeyboardInterrupt into errors of their own, such as a C extension's "initialization failed"."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_seen = False


def interrupted() -> bool:
    """Whether Ctrl-C was pressed since the innermost `interrupts_remembered` began."""
    return _seen


@contextlib.contextmanager
def interrupts_remembered() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt as ever, and `interrupted` tells of it afterwards, whatever became of the exception.

    Where somebody else handles Ctrl-C, or it is ignored, that stays so.
    """
    global _seen
    _seen = False
    try:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours:
            signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # not the main thread, which alone is interrupted
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_: int, __: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt

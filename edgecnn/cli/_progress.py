"""A progress line for device commands: plain text on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Show(Protocol):
    def __call__(self, text: str, /) -> None: ...


@contextmanager
def progress_line(*, every_seconds: float = 0.1) -> Iterator[Show]:
    """`show(text)` rewrites one line, at most every `every_seconds`; the line is gone when the block ends."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    last, width = -every_seconds, 0

    def show(text: str) -> None:
        nonlocal last, width
        now = time.monotonic()
        if now - last >= every_seconds:
            print(f"\r{text.ljust(width)}", end="", file=sys.stderr, flush=True)
            last, width = now, len(text)

    try:
        yield show
    finally:
        if width:
            print(f"\r{' ' * width}\r", end="", file=sys.stderr, flush=True)

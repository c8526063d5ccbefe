"""Work on many items by this process and helpers beside it, whose results come in order: decoding and inference of different images overlap.

Processes rather than threads, which would take turns for Python's own part of the work, and of a small image that is half.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PORTION_S, _MOST = 0.03, 64
"""Work that is handed over at a time: so many seconds, because at the end one process may wait for another as long, and at most so many items."""

_LARGEST = 64 << 10
"""Bytes of a portion that is handed over: two of them fit into a socket's buffer on Linux, so that never both sides wait for the other to read."""

_PATIENCE_S, _MESSAGE_S = 1.0, 5.0
"""How long a helper is waited for before its work is done here, and how long it may take over one message before it is done without."""

_AHEAD = 8
"""Portions for each process that may wait for an earlier one's results."""


class Helper:
    """Another process for `in_order`: `python -I script PATHS arguments...`, whose standard input is a socket for both directions; the lines of PATHS
    are what its sys.path is to be.

    It gets pickles: first what `tell` says, which it answers with any message once it is ready, then lists of items, each of which it answers with a
    list of their results, None for an item that it leaves to this process. One that ends early is done without. A context manager, which ends it.
    """

    def __init__(self, script: Path, *arguments: str) -> None:
        """Raises OSError where no process can be started."""
        import socket
        import subprocess
        from multiprocessing.connection import Connection

        ours, theirs = socket.socketpair()
        with ours, theirs:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(_MESSAGE_S), int(_MESSAGE_S % 1 * 1e6)))
            command = [sys.executable, "-I", str(script), "\n".join(sys.path), *arguments]
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.pipe = Connection(ours.detach())
        self.ready = False
        self.waiting: deque[_Portion[Any, Any]] = deque()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """At once: nothing that it still does is wanted."""
        self.pipe.close()
        self.waiting.clear()
        self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> bool:
        return self.pipe.closed

    def tell(self, message: object) -> None:
        """Say this to it; one that isn't there any more is ended."""
        self.send(_pickled(message))

    def send(self, pickled: bytes) -> None:
        try:
            self.pipe.send_bytes(pickled)
        except OSError:
            self.end()

    def hear(self) -> Any:
        """What it sent; None, and it is ended, where it is gone."""
        try:
            return pickle.loads(self.pipe.recv_bytes())
        except (OSError, EOFError):
            self.end()
            return None


def _pickled(message: object) -> bytes:
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


class _Portion(Generic[T, R]):
    """Some items in a row, and their results once they are there."""

    __slots__ = ("items", "results")

    def __init__(self, items: list[T]) -> None:
        self.items = items
        self.results: list[R] | None = None


@contextlib.contextmanager
def helpers_for(processes: int, script: Path, *arguments: str) -> Iterator[list[Helper]]:
    """Helpers for work by so many processes, of which this is one; fewer where the system has no room for them, or none such."""
    with contextlib.ExitStack() as stack:
        found: list[Helper] = []
        with contextlib.suppress(OSError, ImportError):
            number = processes - 1 if os.name == "posix" and sys.executable and not getattr(sys, "frozen", False) else 0
            found.extend(stack.enter_context(Helper(script, *arguments)) for _ in range(number))  # those before one that fails stay
        yield found


def in_order(
    items: Iterable[T], work: Callable[[list[T]], list[R]], *, helpers: Sequence[Helper] = (), here: Callable[[T], bool] = lambda _: False
) -> Iterator[list[tuple[T, R]]]:
    """Each item with its result of `work`, in order, a portion at a time; helpers do what they can of it meanwhile.

    work: of some items, their results, which are not None; here: whether an item can't be given to another process. Results don't depend on the
    helpers as long as these do the same work. Memory holds some hundred items and results for each process. Whoever stops taking ends nothing else.
    """
    rest, size = iter(items), 1
    most = _AHEAD * (1 + len(helpers))
    waiting: deque[_Portion[T, R]] = deque()
    while True:
        _collect(helpers, work)
        size = _hand_out(helpers, waiting, rest, size, most, here, work)
        while waiting and waiting[0].results is not None:
            done = waiting.popleft()
            yield list(zip(done.items, done.results or (), strict=True))
        own = _own(helpers, waiting, rest, size, most)
        if own is not None:
            size = _do(own, work, size)
        elif not waiting:
            return
        elif not _heard_from([helper for helper in helpers if helper.waiting], _PATIENCE_S):
            _do(waiting[0], work, size)  # whoever has it may be stopped


def _collect(helpers: Sequence[Helper], work: Callable[[list[T]], list[R]]) -> None:
    """Take what helpers have sent."""
    for helper in _heard_from([helper for helper in helpers if not helper.ended], 0):
        found = helper.hear()
        if not helper.ended and not helper.ready:
            helper.ready = True
        elif not helper.ended:
            portion = helper.waiting.popleft()
            if portion.results is None:
                portion.results = [work([item])[0] if result is None else result for item, result in zip(portion.items, found, strict=True)]


def _heard_from(helpers: Sequence[Helper], timeout_s: float) -> list[Helper]:
    """Those that have sent something, or ended, as soon as one has."""
    if not helpers:
        return []
    from multiprocessing.connection import wait

    ready = wait([helper.pipe for helper in helpers], timeout=timeout_s)
    return [helper for helper in helpers if helper.pipe in ready]


def _hand_out(
    helpers: Sequence[Helper],
    waiting: deque[_Portion[T, R]],
    rest: Iterator[T],
    size: int,
    most: int,
    here: Callable[[T], bool],
    work: Callable[[list[T]], list[R]],
) -> int:
    """A portion to each helper that would have none to go on with; those that can't be given away are done at once. The new `size`."""
    for helper in helpers:
        while helper.ready and not helper.ended and len(helper.waiting) < 2 and len(waiting) < most and (items := list(islice(rest, size))):
            waiting.append(_Portion(items))
            pickled = None if any(map(here, items)) else _pickled(items)
            if pickled is None or len(pickled) > _LARGEST:
                size = _do(waiting[-1], work, size)
                continue
            helper.waiting.append(waiting[-1])
            helper.send(pickled)
    return size


def _own(helpers: Sequence[Helper], waiting: deque[_Portion[T, R]], rest: Iterator[T], size: int, most: int) -> _Portion[T, R] | None:
    """What this process does next: what a helper that ended left behind, the next items, or at last what a helper hasn't begun."""
    begun = {id(helper.waiting[0]) for helper in helpers if helper.waiting}
    given = {id(portion) for helper in helpers for portion in helper.waiting}
    left = [portion for portion in waiting if portion.results is None and id(portion) not in begun]
    orphan = next((portion for portion in left if id(portion) not in given), None)
    if orphan is not None:
        return orphan
    if len(waiting) >= most:
        return left[0] if left else None
    if items := list(islice(rest, size)):
        waiting.append(_Portion(items))
        return waiting[-1]
    return left[-1] if left else None


def _do(portion: _Portion[T, R], work: Callable[[list[T]], list[R]], size: int) -> int:
    """Do the portion here; how many items take _PORTION_S, from that and what was known."""
    start = time.perf_counter()
    portion.results = work(portion.items)
    each = (time.perf_counter() - start) / len(portion.items)
    return max(1, min(_MOST, 2 * size, round(_PORTION_S / max(each, 1e-9))))

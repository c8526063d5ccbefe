"""`edgecnn run --watch` and `--stream`: images are answered as they come, until SIGTERM, Ctrl-C or the end of standard input."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from edgecnn.errors import EdgecnnError, ImageRejected, InputRefused, UsageError

if TYPE_CHECKING:
    from edgecnn.device.watch import Watch

Answer = Callable[[str, Any], None]
"""Of the name and source of an image: its line; raises EdgecnnError where it can't be read."""
Refuse = Callable[[str, EdgecnnError], None]


def answer_folder(watch: Watch, answer: Answer, refuse: Refuse) -> None:
    """A line for each image that comes into the folder, until SIGTERM."""
    from edgecnn.device.watch import EVERY_S

    with Ending() as ending:
        while not ending.asked:
            start = time.monotonic()
            arrivals = watch.look(start)
            # looking through very many files shall take half of the time at most
            pause = max(EVERY_S, time.monotonic() - start)
            for arrival in arrivals:
                if ending.asked:
                    return
                try:
                    answer(arrival.path, arrival.path)
                except (InputRefused, UsageError) as error:
                    if not arrival.final:
                        continue  # perhaps it is still being written
                    if os.path.lexists(arrival.path):
                        refuse(arrival.path, error)
                watch.done(arrival)
            ending.wait(pause)


def answer_stream(kind: str, answer: Answer, refuse: Refuse) -> bool:
    """A line for each image of standard input, `kind` "paths" or "frames"; whether its end was reached, rather than SIGTERM.

    Raises ImageRejected where there was none.
    """
    from edgecnn.device.stream import frames, paths

    some = False
    with Ending() as ending:
        for name, source in (paths if kind == "paths" else frames)(ending.read_stdin):
            if ending.asked:  # what was being read when it came is cut short
                break
            some = True
            try:
                if isinstance(source, EdgecnnError):
                    raise source
                answer(name, source)
            except (InputRefused, UsageError) as error:
                refuse(name, error)
        if not some and not ending.asked:
            raise ImageRejected(
                f"standard input is empty; {'paths of images, one a line,' if kind == 'paths' else 'encoded images'} were wanted there."
            )
        return not ending.asked


class Ending:
    """SIGTERM, which ends what waits and lets what is being answered be finished. A context manager; `asked` tells whether it came."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Ending:
        self._woken, self._wakes = socket.socketpair()
        for end in (self._woken, self._wakes):
            end.setblocking(False)
        self._before: tuple[Any, int] | None = None
        with contextlib.suppress(ValueError):  # not the main thread, which alone gets signals
            # the signal's number is written there at once, so none gets lost between a check and the wait after it
            self._before = signal.signal(signal.SIGTERM, self._ask), signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.set_wakeup_fd(self._before[1])
            signal.signal(signal.SIGTERM, self._before[0])
        self._woken.close()
        self._wakes.close()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)  # a second one ends what can't be finished, such as a line that nobody reads

    def wait(self, seconds: float) -> None:
        """So long, or until SIGTERM."""
        if not self.asked and select.select([self._woken], [], [], seconds)[0]:
            self._drain()

    def read_stdin(self, size: int) -> bytes:
        """At most `size` bytes of standard input, as soon as there are some; none at its end, or after SIGTERM."""
        if self.asked or sys.stdin is None:
            return b""
        try:
            there = sys.stdin.fileno()
            # Windows can wait for sockets only
            while os.name != "nt" and there not in select.select([there, self._woken], [], [])[0]:
                self._drain()
                if self.asked:
                    return b""
            return os.read(there, size)
        except OSError as error:
            raise ImageRejected(f"standard input can't be read ({error.strerror}); send images through a pipe or from a file.") from None

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(64)  # the numbers of signals, this one's or others'

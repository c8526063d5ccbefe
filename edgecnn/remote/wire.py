"""Frames between this machine and a device: a kind of one byte, a length of four, so many bytes. Runs on both sides.

host to device    q  a part of the request, JSON; an empty one ends it
                  d  bytes of the file at hand
                  k  nothing: the other end is there
device to host    h  who answers, JSON
                  n  which files are wanted from which byte on, JSON; an empty list ends it
                  o  standard output of the command
                  m  its messages, or the device's own
                  e  why the device can't do it, JSON
                  x  the command's exit code, JSON
                  k  nothing: the device is there
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

PROTOCOL = 1
MAGIC = b"\0edgecnn-remote\0"
"""Comes before the device's first frame. What a login prints before it is passed over."""
MOST_FRAME = 1 << 20
CHUNK = 1 << 15
"""Bytes of a file in a frame, few enough that a slow line isn't taken for a dead one."""
MOST_REQUEST = 64 << 20
PATIENCE_S = 60.0
"""So long nothing at all may come from the other end. It says that it is there six times in that."""

_HEAD = struct.Struct(">cI")


class Lost(Exception):
    """The other end is gone."""


class Broken(Exception):
    """What the other end sent is no frame, or not the one that was due."""


class Reader:
    """Frames from `read`, which gives at most so many bytes as soon as there are some, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._left = read, bytearray()
        self._since: float | None = None

    def waited(self) -> float:
        """Seconds that it has been waiting for bytes. Where nobody reads, because what was read before is still being printed, it isn't waiting."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _more(self) -> None:
        self._since = time.monotonic()
        try:
            data = self._read(1 << 16)
        except (OSError, ValueError) as error:
            raise Lost from error
        finally:
            self._since = None
        if not data:
            raise Lost
        self._left += data

    def until(self, mark: bytes, most: int) -> bytes:
        """What comes before `mark`. Raises Broken where that is more than `most` bytes."""
        while (at := self._left.find(mark)) < 0:
            if len(self._left) > most:
                raise Broken
            self._more()
        before = bytes(self._left[:at])
        del self._left[: at + len(mark)]
        return before

    def left(self) -> bytes:
        """What came and wasn't asked for yet."""
        return bytes(self._left)

    def frame(self) -> tuple[bytes, bytes]:
        """The next frame that says something: its kind and content."""
        while True:
            while len(self._left) < _HEAD.size:
                self._more()
            kind, length = _HEAD.unpack_from(self._left)
            if length > MOST_FRAME:
                raise Broken
            while len(self._left) < _HEAD.size + length:
                self._more()
            content = bytes(self._left[_HEAD.size : _HEAD.size + length])
            del self._left[: _HEAD.size + length]
            if kind != b"k":
                return kind, content


class Writer:
    """Frames to `write`, which takes all that it is given; from several threads."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write, self._lock = write, threading.Lock()

    def frame(self, kind: bytes, content: bytes = b"") -> None:
        """Raises Lost where nobody takes it."""
        try:
            with self._lock:
                self._write(_HEAD.pack(kind, len(content)) + content)
        except (OSError, ValueError) as error:
            raise Lost from error

    def json(self, kind: bytes, value: Any) -> None:
        self.frame(kind, json.dumps(value).encode("ascii"))


def write_all(handle: int, data: bytes) -> None:
    """All of it, to a file's handle. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def parsed(content: bytes) -> Any:
    """JSON that the other end sent. Raises Broken."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Broken from None


def watch(reader: Reader, writer: Writer, patience: float, silent: Callable[[], None]) -> threading.Event:
    """Tell the other end that this one is there, and call `silent` when nothing comes from it for `patience` seconds. Set the event to end it."""
    over = threading.Event()

    def telling() -> None:
        while not over.wait(patience / 6):
            try:
                writer.frame(b"k")
            except Lost:
                return

    def listening() -> None:
        while not over.wait(min(1.0, patience / 6)):
            if reader.waited() > patience:
                silent()
                return

    # two, because a line that takes nothing any more would keep the first one waiting
    for work in (telling, listening):
        threading.Thread(target=work, daemon=True).start()
    return over

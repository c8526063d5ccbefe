"""Images that come one after the other through a pipe: paths, one a line, or encoded images, each after its length.

A frame is 4 bytes, the length as an unsigned big-endian number, and that many bytes of an encoded image. What can't be used is among what comes,
as the error that says why, and the next one follows.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from edgecnn.errors import EdgecnnError, ImageRejected

MAX_ENCODED_BYTES = 600_000_000
"""More than any image of 64 megapixels needs, uncompressed and with 16 bits a channel."""
MAX_PATH_BYTES = 65_536
_CHUNK = 1 << 16

Read = Callable[[int], bytes]
"""At most so many bytes of the pipe, as soon as there are some; none at its end."""


class Item(NamedTuple):
    """name: the path, or "frame 1" and so on; source: a path, or encoded bytes."""

    name: str
    source: str | bytes | EdgecnnError


def paths(read: Read) -> Iterator[Item]:
    """An item for each line that isn't empty; a line may end in \\n or \\r\\n, the last one in neither."""
    for line in _lines(read):
        if line is None:
            yield Item("a line", ImageRejected(f"a line of standard input is longer than {MAX_PATH_BYTES} bytes; a path was wanted."))
        elif line:
            path = os.fsdecode(line)
            yield Item(path, _refusal(path) or path)


def frames(read: Read) -> Iterator[Item]:
    """An item for each frame."""
    pipe = _Pipe(read)
    number = 0
    while head := pipe.take(4):
        number += 1
        name, length = f"frame {number}", int.from_bytes(head, "big")
        if len(head) < 4:
            yield Item(name, ImageRejected(f"{name} is cut short: standard input ended within its length, which takes 4 bytes."))
        elif not length:
            yield Item(name, ImageRejected(f"{name} has a length of 0; an encoded image was wanted."))
        elif length > MAX_ENCODED_BYTES:
            yield Item(name, ImageRejected(f"{name} has {length} bytes, which no image of 64 megapixels does; it is passed over."))
            pipe.skip(length)
        else:
            data = pipe.take(length)
            short = f"{name} is cut short: standard input ended after {len(data)} of its {length} bytes."
            yield Item(name, data if len(data) == length else ImageRejected(short))


def _lines(read: Read) -> Iterator[bytes | None]:
    """Each without its end; None for one that is too long, whose rest is passed over."""
    kept, dropping = b"", False
    while data := read(_CHUNK):
        *ended, kept = (kept + data).split(b"\n")
        for line in ended:
            yield None if dropping or len(line) > MAX_PATH_BYTES else line.removesuffix(b"\r")
            dropping = False
        if len(kept) > MAX_PATH_BYTES:
            kept, dropping = b"", True
    if kept or dropping:
        yield None if dropping else kept.removesuffix(b"\r")


def _refusal(path: str) -> EdgecnnError | None:
    """For what is no file: opening a named pipe, say, would wait for ever. What doesn't exist, or may not be looked at, is said when it is read."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else ImageRejected(f"{path} is no file; an image was wanted.")


class _Pipe:
    """Exact numbers of bytes out of a pipe; memory is taken as they come, not as they are announced."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def take(self, count: int) -> bytes:
        """`count` bytes, or fewer at the end."""
        return b"".join(self._some(count))

    def skip(self, count: int) -> None:
        for _ in self._some(count):
            pass

    def _some(self, count: int) -> Iterator[bytes]:
        while count and (data := self._read(min(count, _CHUNK))):
            count -= len(data)
            yield data

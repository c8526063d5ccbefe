"""One command on several devices, side by side: what each says, as it comes."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecnn.errors import DeviceMissing, EdgecnnError, InputRefused
from edgecnn.remote import connection, wire
from edgecnn.remote.connection import Line
from edgecnn.remote.hosts import Host
from edgecnn.remote.sending import File
from edgecnn.remote.wire import Broken, Lost

_WAITING = 64
_ROUNDS = 8
"""That a device may ask for files. An honest one gives up before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A command and what it needs there. arguments: words, or ("--store=", path) for a path of the device; stdin: what it reads.

    version: of edgecnn, which the device must have, None for any; python: its interpreter, "" for the one that `edgecnn setup` made, else python3.
    """

    do: str = "run"
    arguments: tuple[str | tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()
    folders: tuple[tuple[str, ...], ...] = ()
    stdin: File | None = None
    version: str | None = None
    python: str = ""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """Bytes of the command's standard output, or of its messages."""

    data: bytes
    message: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """Bytes of files that went over, of those that had to."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How it ended: the command's exit code (or what `edgecnn setup` installed), or why there is none."""

    result: Any = None
    error: Exception | None = None


Event = Said | Copied | Ended


def run(hosts: Sequence[Host], job: Job, *, patience: float = wire.PATIENCE_S) -> Iterator[tuple[int, Event]]:
    """(position of the device, what happened), Ended once for each. Whatever ends this early ends the command on all devices, too."""
    asking = len(hosts) == 1 and connection.may_ask()
    events: queue.Queue[tuple[int, Event]] = queue.Queue(_WAITING)
    lines = _Lines()

    def work(number: int) -> None:
        try:
            for event in _on_one(hosts[number], job, lines, asking=asking, patience=patience):
                events.put((number, event))
        except Exception as error:
            events.put((number, Ended(error=error)))

    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(len(hosts))]
    try:
        for thread in threads:
            thread.start()
        left = len(hosts)
        while left:
            number, event = events.get()
            left -= isinstance(event, Ended)
            yield number, event
    finally:
        lines.close()
        for thread in threads:
            while thread.is_alive():  # it may wait for somebody to take what it has
                with contextlib.suppress(queue.Empty):
                    events.get(timeout=0.02)


class _Lines:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: list[Line] = []
        self._lock, self._over = threading.Lock(), False

    def open(self, host: Host, *, asking: bool, patience: float) -> Line:
        with self._lock:
            if self._over:
                raise Lost
            made = connection.connect(host, asking=asking, patience=patience)
            self._open.append(made)
        return made

    def close(self) -> None:
        with self._lock:
            self._over = True
        closing = [threading.Thread(target=line.close) for line in self._open]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


def _on_one(host: Host, job: Job, lines: _Lines, *, asking: bool, patience: float) -> Iterator[Event]:
    line = lines.open(host, asking=asking, patience=patience)
    try:
        hello = line.greet(job.python, asking=asking)
        if job.version is not None:
            connection.checked(hello, host, job.version)
        _ask(line, job)
        yield from _send_files(line, job)
        yield from _listen(line)
    except Lost:
        raise line.lost() from None
    except Broken:
        raise line.nonsense() from None
    finally:
        line.release()


def _ask(line: Line, job: Job) -> None:
    request = {
        "do": job.do,
        "patience": line.patience,
        "arguments": job.arguments,
        "files": [[file.parts, file.sha256, file.size] for file in job.files],
        "folders": job.folders,
        "stdin": None if job.stdin is None else [job.stdin.parts, job.stdin.sha256, job.stdin.size],
        **job.more,
    }
    # names that are no UTF-8 travel as the surrogates that Python has for them
    text = json.dumps(request).encode("ascii")
    if len(text) > wire.MOST_REQUEST:
        raise InputRefused("the names of the files are too long for one command; give fewer files.")
    for start in range(0, len(text), wire.MOST_FRAME):
        line.writer.frame(b"q", text[start : start + wire.MOST_FRAME])
    line.writer.frame(b"q")


def _send_files(line: Line, job: Job) -> Iterator[Event]:
    """What the device asks for, until it has it all."""
    files: list[File] = []
    numbers: set[tuple[str, int]] = set()
    # the device numbers contents, in the order in which it sees them first
    for file in (*job.files, *filter(None, [job.stdin])):
        if (file.sha256, file.size) not in numbers:
            numbers.add((file.sha256, file.size))
            files.append(file)
    for _ in range(_ROUNDS):
        wanted = _wanted(line, files)
        if not wanted:
            return
        total, done = sum(files[number].size - offset for number, offset in wanted), 0
        for number, offset in wanted:
            for count in _send(line, files[number], offset):
                done += count
                yield Copied(done=done, total=total)
    raise Broken


def _wanted(line: Line, files: Sequence[File]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while True:
        part = _expect(line, b"n")
        if not isinstance(part, list):
            raise Broken
        if not part:
            return found
        for entry in part:
            if not (isinstance(entry, list) and len(entry) == 2 and all(type(value) is int for value in entry)):
                raise Broken
            number, offset = entry
            if not (0 <= number < len(files) and 0 <= offset <= files[number].size) or len(found) >= len(files):
                raise Broken
            found.append((number, offset))


def _send(line: Line, file: File, offset: int) -> Iterator[int]:
    """The file's bytes from `offset` on, as many as it had; zeros for those that are gone, which the device then finds out."""
    left = file.size - offset
    try:
        with open(file.source, "rb") as source:
            source.seek(offset)
            while left:
                chunk = source.read(min(left, wire.CHUNK)) or bytes(min(left, wire.CHUNK))
                left -= len(chunk)
                line.writer.frame(b"d", chunk)
                yield len(chunk)
    except Lost:
        # the device may have said why, before it went
        with contextlib.suppress(Lost, Broken):
            while True:
                _expect(line, b"")
        raise
    except OSError as error:
        raise InputRefused(f"{file.source} can't be read any more ({error.strerror}); leave it where it is while it is copied.") from None


def _expect(line: Line, kind: bytes) -> Any:
    """The content of the next frame, which is of that kind. Raises DeviceMissing where the device says that it can't."""
    found, content = line.reader.frame()
    if found == b"e":
        raise _refusal(line, content)
    if found != kind:
        raise Broken
    return wire.parsed(content)


def _refusal(line: Line, content: bytes) -> EdgecnnError:
    said = wire.parsed(content)
    text = said.get("error") if isinstance(said, dict) else None
    return DeviceMissing(f"{line.host.name}: {' '.join(str(text).split())[:1000]}")


def _listen(line: Line) -> Iterator[Event]:
    while True:
        kind, content = line.reader.frame()
        if kind in (b"o", b"m"):
            yield Said(data=content, message=kind == b"m")
        elif kind == b"e":
            raise _refusal(line, content)
        elif kind == b"x":
            yield Ended(result=wire.parsed(content))
            return
        else:
            raise Broken

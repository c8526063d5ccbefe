"""What devices say, as it reaches this machine's terminal: of one as it is, of several with their names, or as rows of one table.

A device may be anybody's by now. So what comes from it is text, spelled out where a terminal would act on it, and of bounded size.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import tempfile
from collections.abc import Sequence
from typing import Any

from edgecnn.cli._options import columns, note, put, put_json, shown
from edgecnn.cli._progress import progress_line
from edgecnn.errors import DeviceMissing, EdgecnnError
from edgecnn.remote import jobs
from edgecnn.remote.hosts import Host
from edgecnn.remote.jobs import Copied, Ended, Job, Said

MOST_LINE = 32 << 20
MOST_OUTPUT = 256 << 20
_MOST_MESSAGE = 4000
_IN_MEMORY = 1 << 20
_MOST_CELL = 60
_FROM_BEST = (0, 5, 1, 3, 2, 4, 130, 70)


def worst(codes: Sequence[int]) -> int:
    """Of exit codes: some inputs failed, a check failed, an input was refused, usage, something is missing, interrupted, a bug, anything else."""
    return max(codes, key=lambda code: _FROM_BEST.index(code) if code in _FROM_BEST else len(_FROM_BEST))


def shown_as(command: Sequence[str], hosts: Sequence[Host], *, as_json: bool) -> Show:
    """How a command's output is shown. One device's comes back as it is."""
    if len(hosts) == 1:
        return Show(hosts)
    if as_json:
        return Lines(hosts)
    rows = {"bench": bench_row, "probe": probe_row}.get(command[0])
    return Table(hosts, rows) if rows is not None else Grouped(hosts)


class Show:
    """Runs a job on devices and prints what they say, each line as it comes."""

    options: tuple[str, ...] = ()
    """What the device's command line has besides."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._outputs = [_LineBuffer(MOST_LINE) for _ in hosts]
        self._messages = [_LineBuffer(_MOST_MESSAGE, cut=True) for _ in hosts]

    def run(self, job: Job) -> int:
        """The exit code, of several devices the worst. Raises the error of a single one."""
        codes = [0] * len(self.hosts)
        with progress_line() as progress, contextlib.closing(jobs.run(self.hosts, job)) as events:  # type: ignore[type-var]
            for number, event in events:
                if isinstance(event, Copied):
                    progress(f"copying to {self.hosts[number].name}: {event.done / 1e6:.1f} of {event.total / 1e6:.1f} MB")
                elif isinstance(event, Said):
                    self._say(number, event)
                else:
                    codes[number] = self._end(number, event)
        self.conclude()
        return worst(codes)

    def _say(self, number: int, said: Said) -> None:
        if said.message:
            for line in self._messages[number].add(said.data):
                self._tell(number, line)
        else:
            for line in self._outputs[number].add(said.data):
                self.line(number, line)

    def _end(self, number: int, ended: Ended) -> int:
        for line in self._messages[number].rest():
            self._tell(number, line)
        for line in self._outputs[number].rest():
            self.line(number, line)
        try:
            if ended.error is not None:
                raise ended.error
            return self.result(number, ended.result)
        except EdgecnnError as error:
            if len(self.hosts) == 1:
                raise
            note(str(error))
            return error.exit_code

    def _tell(self, number: int, line: str) -> None:
        note(f"{self.hosts[number].name}: {line.removeprefix('edgecnn: ')}")

    def result(self, number: int, result: Any) -> int:
        """The exit code that the device told."""
        name = self.hosts[number].name
        if type(result) is not int or not -64 <= result <= 255:
            raise DeviceMissing(f"{name} doesn't answer as edgecnn does: it ended without an exit code.")
        if result < 0:
            with contextlib.suppress(ValueError):
                cause = signal.Signals(-result).name
                raise DeviceMissing(f"{name}: the command was killed there by {cause}" + ("; its memory may have run out." if result == -9 else "."))
            raise DeviceMissing(f"{name}: the command was killed there by signal {-result}.")
        return result

    def line(self, number: int, line: str) -> None:
        put(shown(line))

    def conclude(self) -> None:
        """What is printed when all is done."""


class Lines(Show):
    """Lines of JSON, each with its device."""

    def line(self, number: int, line: str) -> None:
        found = _record(line)
        if found is None:
            self._tell(number, line[:_MOST_MESSAGE])
        else:
            put_json({"device": self.hosts[number].name, **found})


class Grouped(Show):
    """Text, one device after the other, in the order in which they were given; each line begins with its device."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        super().__init__(hosts)
        self._kept = [tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8") for _ in hosts]  # noqa: SIM115
        self._sizes = [0] * len(hosts)

    def line(self, number: int, line: str) -> None:
        self._sizes[number] += len(line) + 1
        if self._sizes[number] > MOST_OUTPUT:
            raise DeviceMissing(f"{self.hosts[number].name} printed more than {MOST_OUTPUT >> 20} MiB; ask one device at a time.")
        self._kept[number].write(shown(line) + "\n")

    def conclude(self) -> None:
        width = max(len(host.name) for host in self.hosts)
        for host, kept in zip(self.hosts, self._kept, strict=True):
            with kept:
                kept.seek(0)
                for line in kept:
                    put(f"{host.name.ljust(width)}  {line.rstrip()}".rstrip())


class Table(Show):
    """One table, a row for each line of JSON that a device prints."""

    options = ("--json",)

    def __init__(self, hosts: Sequence[Host], row: Any) -> None:
        super().__init__(hosts)
        self._row = row
        self._rows: list[list[dict[str, str]]] = [[] for _ in hosts]

    def line(self, number: int, line: str) -> None:
        found = _record(line)
        if found is None:
            self._tell(number, line[:_MOST_MESSAGE])
        elif len(self._rows[number]) < 10_000:
            self._rows[number].append(self._row(found))

    def conclude(self) -> None:
        rows = [(host.name, row) for host, found in zip(self.hosts, self._rows, strict=True) for row in found]
        if not rows:
            return
        titles = list(rows[0][1])
        flush = [place for place, title in enumerate(titles, 1) if {row[title][:1].isdigit() for _, row in rows if row[title] != "-"} == {True}]
        for line in columns([["device", *titles], *([name, *row.values()] for name, row in rows)], right=flush):
            put(line)


class _LineBuffer:
    """Bytes as they come, given back as lines. most: bytes of a line; a longer one is cut there, or is an error."""

    def __init__(self, most: int, *, cut: bool = False) -> None:
        self._most, self._cut, self._left = most, cut, bytearray()

    def add(self, data: bytes) -> list[str]:
        self._left += data
        *whole, last = self._left.split(b"\n") if b"\n" in data else [self._left]
        self._left = bytearray(last)
        if len(self._left) > self._most:
            if not self._cut:
                raise DeviceMissing(f"a device printed a line of more than {self._most >> 20} MiB, which no command of edgecnn does.")
            whole, self._left = [*whole, self._left], bytearray()
        return [bytes(line[: self._most]).decode("utf-8", "backslashreplace") for line in whole]

    def rest(self) -> list[str]:
        return self.add(b"\n") if self._left else []


def _record(line: str) -> dict[str, Any] | None:
    """A line of JSON that is an object, of numbers that JSON has."""

    def finite(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(text)
        return value

    try:
        found = json.loads(line, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _cell(value: Any) -> str:
    """Any value that a device sent, as a short cell."""
    if value is None or value == "":
        return "-"
    text = shown(" ".join(str(value).split()))
    return text if len(text) <= _MOST_CELL else text[: _MOST_CELL - 3] + "..."


def _at(record: Any, *path: str) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _figure(value: Any) -> str:
    """Four significant digits, never in powers of ten."""
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e15:
        return "-"
    return f"{value:.{min(9, max(0, 3 - math.floor(math.log10(value))))}f}" if value > 0 else f"{value:g}"


def _ms(value: Any) -> str:
    figure = _figure(value)
    return figure if figure == "-" else f"{figure} ms"


def bench_row(found: dict[str, Any]) -> dict[str, str]:
    name = _at(found, "file")
    short = name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else name
    verdict = "VALID" if found.get("valid") is True else "INTERRUPTED" if found.get("interrupted") is True else "INVALID"
    return {
        "file": _cell(short),
        **{name: _ms(_at(found, "ms", name)) for name in ("p50", "p90", "p99")},
        "images/s": _figure(_at(found, "images_per_second")),
        "threads": _cell(_at(found, "threads")),
        "processor": _cell(_at(found, "host", "processor") or _at(found, "host", "machine")),
        "verdict": verdict,
    }


def probe_row(found: dict[str, Any]) -> dict[str, str]:
    memory, products = _at(found, "memory_bytes"), _at(found, "onnxruntime", "products")
    exact = None if not isinstance(products, dict) else products.get("fast") == products.get("wanted")
    providers = _at(found, "onnxruntime", "providers")
    loaded = [str(one.get("name")).removesuffix("ExecutionProvider") for one in providers if _at(one, "loads")] if isinstance(providers, list) else []
    return {
        "board": _cell(_at(found, "board")),
        "processor": _cell(_at(found, "processor") or _at(found, "machine")),
        "cores": _cell(_at(found, "cores")),
        "memory": f"{memory / 2**30:.2f} GiB" if type(memory) is int and 0 <= memory < 1 << 60 else "-",
        "Python": _cell(_at(found, "python")),
        "onnxruntime": _cell(_at(found, "onnxruntime", "version")),
        "providers": _cell(" ".join(loaded)),
        "int8": "-" if exact is None else "exact" if exact else "SATURATES",
    }

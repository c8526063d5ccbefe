"""What the commands share: options that several have, and how results reach standard output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecnn.errors import ExtraMissing, OutputNotWritable

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def artifact_argument(function: F) -> F:
    """FILE, an artifact, as the parameter `file`."""
    return click.argument("file", type=click.Path(path_type=Path))(function)


def json_option(function: F) -> F:
    """--json, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON, for programs.")(function)


def threads_option(function: F) -> F:
    """--threads N, as the parameter `threads`; the engine refuses a number that this process may not use, naming the one that it may."""
    return click.option("--threads", type=int, metavar="N", help="CPU threads, e.g. 1.  [default: all that this process may use]")(function)


def engine_option(function: F) -> F:
    """--engine NAME, as the parameter `engine`; the engines are told by their files, so that --help imports none."""
    folder = Path(__file__).parent.parent / "device" / "engines"
    known = sorted(path.stem for path in folder.glob("[!_]*.py"))
    return click.option(
        "--engine",
        type=click.Choice([*known, "auto"]),
        default="ort",
        show_default=True,
        help="What computes: onnxruntime or, with its extra, openvino. auto times those here on the golden inputs once, and keeps the faster.",
    )(function)


def memory_option(function: F) -> F:
    """--memory-limit, as the parameter `memory_limit`: bytes, or None."""
    return click.option(
        "--memory-limit", metavar="BYTES", callback=_limit, help="Warn when it needs more memory than the device has to spare, e.g. 64MB or 1.5GiB."
    )(function)


def _limit(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([a-z]*)", value.strip().lower(), re.ASCII)
    size = round(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else 0
    if not size:
        raise click.BadParameter(f"{value!r} is no amount of memory; give bytes, or a number with KB, MB, GB, KiB, MiB or GiB")
    return size


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Around imports that need an extra: `with require_extra("export"): from edgecnn.build import ...`.

    A package that isn't installed becomes ExtraMissing with the pip line. `main` does the same for any command, guessing the extra from the
    package; this names it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "edgecnn":
            raise
        raise ExtraMissing.of(error.name or "a package", extra) from error


def put(line: str) -> None:
    """One line on standard output, or several with newlines between, at once, so that a reader behind a pipe sees them as they come.

    Raises OutputNotWritable where it can't be written, e.g. on a full disk; a pipe that was closed stays a BrokenPipeError.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        from edgecnn.cli import let_go

        let_go(sys.stdout)
        raise OutputNotWritable(f"standard output can't be written ({error.strerror}); send it elsewhere.") from error


def put_json(value: Any) -> None:
    """One line of JSON on standard output, plain ASCII, so that every terminal, locale and file name will do."""
    put(json_line(value))


def json_line(value: Any) -> str:
    """`value` as `put_json` prints it."""
    return _JSON.encode(value)


_JSON = json.JSONEncoder(allow_nan=False)


def note(message: str) -> None:
    """One line on standard error: "edgecnn: ..."."""
    print(f"edgecnn: {shown(message)}", file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """`text` with control characters and broken encodings spelled out, so that no file name can act on the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), indent: str = "") -> Iterator[str]:
    """Rows of cells as aligned lines, two spaces between columns; the columns numbered in `right` are flush right. Rows may differ in length."""
    widths: dict[int, int] = {}
    for row in rows:
        for place, cell in enumerate(row):
            widths[place] = max(widths.get(place, 0), len(cell))
    for row in rows:
        cells = (cell.rjust(widths[place]) if place in right else cell.ljust(widths[place]) for place, cell in enumerate(row))
        yield (indent + "  ".join(cells)).rstrip()

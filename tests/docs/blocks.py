"""The code blocks of a page, and how those that are commands are run and held against the output that the page shows.

A block's language says what it is. `console`: commands behind "$ ", each with its output; `python`: run as it stands; `text`: not code.
`<!-- file: NAME -->` before a block: it is the content of that file. `<!-- tests: KEY=VALUE ... -->` before a console block: `args`, what is added
to the first command here (less data, where a reader takes all); `exit`, exit codes with commas between them (0 where none is said); `output=any`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOTE = re.compile(r"<!-- (file|tests): (.*?) -->\n+\Z")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)*(?:e[-+]?\d+)?|[-+]?\binf\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    options: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    line: int
    text: str
    output: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        note = NOTE.search(before)
        kind, value = (note[1], note[2]) if note else ("", "")
        options = dict(part.split("=", 1) for part in shlex.split(value)) if kind == "tests" else {}
        yield Block(
            page=page.name,
            line=before.count("\n") + 1,
            language=found[1],
            text=found[2],
            file=value if kind == "file" else None,
            options=options,
        )


def commands(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    if not starts or starts[0] != 0:
        raise AssertionError(f"{block.page}:{block.line}: a console block begins with a command behind '$ '")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        last = start
        while lines[last].endswith("\\"):
            last += 1
        text = "\n".join(lines[start : last + 1]).removeprefix("$ ")
        yield Command(line=block.line + start + 1, text=text, output=tuple(lines[last + 1 : end]))


def run(text: str, folder: Path) -> tuple[int, str]:
    """Exit code and output, standard error among it, of a command line in bash, with this environment's programs first."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(["bash", "-c", text], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def fault(wanted: tuple[str, ...], found: str) -> str | None:
    """Where the output isn't what the page shows, whatever numbers stand in it; "..." stands for any lines."""
    told, place = [plain(line) for line in found.splitlines()], 0
    skip = False
    for line in wanted:
        if line.strip() == "...":
            skip = True
            continue
        try:
            place = told.index(plain(line), place) + 1 if skip else place + (told[place] == plain(line) or _differs())
        except (ValueError, IndexError, LookupError):
            return f"wanted next: {line!r}\nfound from there on:\n" + "\n".join(found.splitlines()[place : place + 8])
        skip = False
    rest = "" if skip else "\n".join(found.splitlines()[place:])
    return f"the page doesn't show the end:\n{rest}" if rest.strip() else None


def _differs() -> int:
    raise LookupError


def plain(line: str) -> str:
    """Without numbers, the processor, verdicts that depend on how busy a machine is, and the width of gaps."""
    line = re.sub(r"^on .+, \d+ of \d+ cores\b.*$", "on a processor", line)
    line = re.sub(r"\bINVALID\b(?=.*VALID$)|\b(INVALID.*|VALID)$", "VALID", line.rstrip())
    return re.sub(r"[\s|]+", " ", NUMBER.sub("#", line)).strip()

"""A CSV file that gives each image any number of labels (multi-label). The first column is `file`, a path relative to the CSV's folder.

Either one column `labels` with names between semicolons, or a column of 0 and 1 for each label:

    file,labels                     file,cat,indoors,night
    photos/1.jpg,cat;indoors        photos/1.jpg,1,1,0
    photos/2.jpg,                   photos/2.jpg,0,0,0

Without labels given, a labels.txt beside the CSV (one label a line) says their order, else the columns do, else the alphabet.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TextIO

from edgecnn.data._classes import IMAGE_SUFFIXES, class_labels, labels_beside
from edgecnn.data._files import Files
from edgecnn.data.collection import Collection
from edgecnn.errors import DataRejected, InputMissing

MAX_LINE = 1_000_000


def matches(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".csv"


def read(path: Path, *, labels: tuple[str, ...] | None) -> Collection:
    """Raises InputMissing, or DataRejected naming the line: a missing image, one outside the CSV's folder, a label that isn't among those given."""
    rows = _rows(path)
    if not rows:
        raise DataRejected(f"{path} is empty; its first line was wanted to be `file,labels` or `file,` and a name for each label.")
    header = [cell.strip() for cell in rows[0][1]]
    _check_header(path, header)
    listed_names = header[1:] == ["labels"]
    images: dict[str, tuple[str, ...]] = {}
    folder = path.parent.resolve()
    for line, row in rows[1:]:
        where = f"line {line} of {path}"
        if len(row) != len(header):
            raise DataRejected(f"{where} has {len(row)} columns, its header has {len(header)}; correct it.")
        file = _inside(folder, row[0].strip(), where)
        if file in images:
            raise DataRejected(f"{where} names {file} a second time; give each image one line.")
        images[file] = _names(row[1], where) if listed_names else _flagged(header[1:], row[1:], where)
    found: Iterable[str] = sorted({name for names in images.values() for name in names}) if listed_names else header[1:]
    ordered = class_labels(found, given=labels, listed=labels_beside(path.parent), where=path)
    targets = tuple(tuple(sorted(ordered.index(name) for name in names)) for names in images.values())
    return Files(root=path.parent, names=tuple(images), targets=targets, labels=ordered, multi_label=True)


def named(path: Path) -> list[str]:
    """The files that a CSV names, as they stand there. Raises what `read` does for a CSV that can't be read."""
    return [row[0].strip() for _, row in _rows(path)[1:]]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each line that isn't empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_lines(stream), strict=True)
            return [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; give a CSV of files and labels.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataRejected(f"{path} is no CSV in UTF-8 ({error}); save it as one.") from None
    except OSError as error:
        raise DataRejected(f"{path} can't be read ({error.strerror}); change its permissions.") from None


def _lines(stream: TextIO) -> Iterator[str]:
    """One of gigabytes isn't read to its end."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise csv.Error(f"a line of more than {MAX_LINE} characters")
        yield line


def _check_header(path: Path, header: list[str]) -> None:
    if header[0] != "file" or len(header) < 2:
        raise DataRejected(f"{path} starts with {','.join(header)[:60]!r}; `file,labels` or `file,` and a name for each label was wanted.")
    if "labels" in header and len(header) > 2:
        raise DataRejected(f"{path} has a column `labels` and others beside it; give either that one or a column for each label.")
    for name in header:
        if not name or header.count(name) > 1:
            raise DataRejected(f"{path} has {'a column without a name' if not name else f'two columns {name}'}; give each label one name.")


def _inside(folder: Path, name: str, where: str) -> str:
    """`name` with plain slashes, when it is an image that lies in `folder` (which is resolved)."""
    relative = PurePosixPath(name.replace("\\", "/"))
    plain = str(relative)
    try:
        target = (folder / plain).resolve()
        outside = relative.is_absolute() or ".." in relative.parts or not target.is_relative_to(folder)
        there = target.is_file()
    except (OSError, ValueError, RuntimeError):  # a NUL, a loop of links, a name that is too long
        outside, there = False, False
    if outside:
        raise DataRejected(f"{where} names {name[:80]!r}, which lies outside the CSV's folder; give paths relative to it.")
    if not plain.lower().endswith(IMAGE_SUFFIXES):
        raise DataRejected(f"{where} names {name[:80]!r}, which is no image by its extension; give images only.")
    if not there:
        raise DataRejected(f"{where} names {name[:80]!r}, which doesn't exist; correct the path or remove the line.")
    return plain


def _names(cell: str, where: str) -> tuple[str, ...]:
    names = [name.strip() for name in cell.split(";") if name.strip()]
    if len(set(names)) != len(names):
        raise DataRejected(f"{where} gives a label twice ({cell[:80]!r}); give each once.")
    return tuple(names)


def _flagged(names: list[str], cells: list[str], where: str) -> tuple[str, ...]:
    for name, cell in zip(names, cells, strict=True):
        if cell.strip() not in ("0", "1"):
            raise DataRejected(f"{where} has {cell[:40]!r} for {name}; 0 or 1 was wanted.")
    return tuple(name for name, cell in zip(names, cells, strict=True) if cell.strip() == "1")

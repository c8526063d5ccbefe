"""Whether an export's files can be written, and replace nothing that it reads: told before the work rather than after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgecnn.artifact.files import atomic_writer
from edgecnn.errors import UsageError


class _Undone(Exception):
    pass


def check_outputs(output: Path, recipe: Path | str | None, read: Sequence[object]) -> None:
    """output: the artifact; recipe: where one is written as well; read: what the export reads from, where it is a file.

    Raises UsageError or OutputNotWritable.
    """
    _check_writable(output, read)
    if recipe is not None:
        if os.path.abspath(recipe) == os.path.abspath(output):
            raise UsageError(f"{recipe} can't hold both the artifact and its recipe; give it another name.")
        _check_writable(Path(recipe), read)


def _check_writable(output: Path, read: Sequence[object]) -> None:
    if any(isinstance(place, (str, Path)) and _same_file(output, place) for place in read):
        raise UsageError(f"{output} is read by this export and would be replaced; give it another name.")
    if os.path.isdir(output):  # which, unlike Path's, is False for a name that is too long
        raise UsageError(f"{output} is a folder; give the name of a file, such as {output / 'model.edgecnn'}.")
    try:
        with atomic_writer(output):
            raise _Undone
    except _Undone:
        pass


def _same_file(output: Path, place: str | Path) -> bool:
    try:
        return os.path.samefile(output, place)
    except OSError:  # one of them isn't there, or is no path at all
        return False

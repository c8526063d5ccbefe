"""What was found out on this machine once, in a word, so that later starts needn't: a file each in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgecnn.artifact.files import cache_folder, read_whole, write_atomic
from edgecnn.device import host
from edgecnn.errors import OutputNotWritable

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 256
"""Files of one kind; the oldest go first."""
_LONGEST = 16


def recall(kind: str, hangs_on: Sequence[object], *, words: Sequence[str]) -> str | None:
    """The one of `words` that was kept for a question; None where none was, or what is there is no such word or can't be read."""
    try:
        text = read_whole(_place(kind, hangs_on), _LONGEST).decode("ascii", "replace").strip()
    except (OSError, RuntimeError):
        return None
    return text if text in words else None


def keep(kind: str, hangs_on: Sequence[object], word: str) -> None:
    """A cache that can't be written is done without: the next start finds it out again."""
    with contextlib.suppress(OSError, RuntimeError, OutputNotWritable):
        place = _place(kind, hangs_on)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, f"{word}\n".encode())
        files = sorted(place.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)


def cpu() -> tuple[str | None, ...]:
    """What tells this CPU from others."""
    return (os.uname().machine if hasattr(os, "uname") else os.name, host.processor(), *host.isa())


def _place(kind: str, hangs_on: Sequence[object]) -> Path:
    """Named for all that the answer hangs on."""
    return cache_folder() / kind / hashlib.sha256("\0".join(map(str, hangs_on)).encode()).hexdigest()[:32]

"""Keys and signatures are small: reading one never waits, and never fills the memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_small(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError, whose strerror says what it is instead."""
    try:
        kind = os.stat(path).st_mode
    except ValueError:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(kind) else "it is no regular file", str(path))
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return data

"""Files that are whole or not there: written to a temporary name beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgecnn.errors import OutputNotWritable

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def atomic_writer(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that takes `path`'s place when the block ends well; otherwise what stood there stays, whole.

    Raises OutputNotWritable for a missing or forbidden folder, a full disk or a failing one.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            raise OutputNotWritable(f"{path} can't be written: it is there already and is no regular file; choose another name.")
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputNotWritable(_reason(path, error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_atomic(path: Path | str, data: bytes) -> None:
    """`data` as the file `path`, all of it or nothing. Raises OutputNotWritable."""
    with atomic_writer(path) as file:
        file.write(data)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone, with all in it, when the block ends. Raises OutputNotWritable when its disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        place = tempfile.gettempdir()
        raise OutputNotWritable(
            f"a temporary file can't be written in {place}: the disk is full; free some space, or name another folder in TMPDIR."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        return f"{path} can't be written: there is no folder {path.parent}; make it first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} can't be written: no permission for {path.parent}; choose another folder."
    if error.errno in _FULL:
        return f"{path} can't be written: the disk is full; free some space. What stood there before still stands."
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return f"{path} can't be written: it, or a part of its path, is no such file or folder; choose another name."
    return f"{path} can't be written ({error.strerror}); choose another place. What stood there before still stands."

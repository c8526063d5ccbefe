"""Files that are whole or not there: written to a temporary name beside the target, flushed to disk, then renamed.

What is flushed is still there after a power loss; a name is flushed by flushing the folder that it stands in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from edgecnn.errors import OutputNotWritable

MAX_TEXT_BYTES = 1_000_000
"""Of what a person writes: a recipe, a list of labels."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def atomic_writer(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that takes `path`'s place when the block ends well; otherwise what stood there stays, whole.

    Raises OutputNotWritable for a missing or forbidden folder, a full disk or a failing one.
    """
    import tempfile  # not needed for reading, and slow to import

    path = Path(path)
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            raise OutputNotWritable(f"{path} can't be written: it is there already and is no regular file; choose another name.")
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.chmod(temporary, 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_atomic(path: Path | str, data: bytes) -> None:
    """`data` as the file `path`, all of it or nothing. Raises OutputNotWritable."""
    with atomic_writer(path) as file:
        file.write(data)


def check_writable(path: Path) -> None:
    """Raises OutputNotWritable where `path` plainly can't be written, so that long work doesn't end with it."""
    if not path.parent.is_dir():
        raise unwritable(path, FileNotFoundError(errno.ENOENT, "no such folder"))
    if path.exists() and not path.is_file():
        raise OutputNotWritable(f"{path} can't be written: it is there already and is no regular file; choose another name.")
    if not os.access(path.parent, os.W_OK):
        raise unwritable(path, PermissionError(errno.EACCES, "no permission"))


def write_new(path: Path, pieces: Iterable[bytes]) -> None:
    """A file that wasn't there before, flushed to disk; its name is not. Raises OSError, and leaves what it wrote: its folder isn't in use yet."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def read_whole(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes: it never waits, as for a pipe, and takes no more memory than the file has.

    Raises OSError, whose strerror says what it is instead.
    """
    try:
        # not a pipe's end, for whose other end one would wait
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file", str(path))
        if found.st_size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
        with open(handle, "rb", closefd=False) as file:
            data = file.read(found.st_size + 1)
    finally:
        os.close(handle)
    if len(data) != found.st_size:
        raise OSError(errno.EIO, "it changed while it was read", str(path))
    return data


def cache_folder() -> Path:
    """$EDGECNN_CACHE, or edgecnn in the user's cache folder, there or not. Raises RuntimeError where the user has no home."""
    given = os.environ.get("EDGECNN_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecnn"


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk: what was made, renamed or deleted there stays so after a power loss. Raises OSError.

    Some network file systems can't be asked for that, and aren't.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone, with all in it, when the block ends. Raises OutputNotWritable when its disk is full."""
    import tempfile

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


def unwritable(path: Path, error: OSError) -> OutputNotWritable:
    """The one sentence for `path` that can't be written because of `error`."""
    return OutputNotWritable(_reason(path, error))


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

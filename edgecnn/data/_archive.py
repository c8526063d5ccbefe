"""Reading .tar and .tar.gz from front to back, with bounded memory and nothing ever extracted to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgecnn.errors import DataRejected, InputMissing

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MAX_MEMBER_BYTES = 64 * 1024 * 1024
_BLOCK = 512
_PADDING = 64 * 1024

# what tarfile and gzip raise on damaged or hostile archives
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError, OverflowError, IndexError, KeyError)


class _Forward:
    """A file that is only read forwards and never much at once, so that no header can ask for gigabytes or run in circles."""

    def __init__(self, raw: IO[bytes], where: Path) -> None:
        self.raw, self.where, self.position = raw, where, 0
        self.last = b""

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES + _BLOCK:
            raise DataRejected(f"{self.where} holds a header or file larger than 64 MB; no image is that large, pack it again without it.")
        self.last = self.raw.read(size)
        self.position += len(self.last)
        return self.last

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self.position:
            raise DataRejected(f"{self.where} points back into itself, which no honest archive does; pack it again.")
        while self.position < position and self.read(min(position - self.position, 1 << 20)):
            pass
        return self.position


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def walk(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each regular file's name and a function that reads it, to be called before the next is asked for; links and devices are skipped.

    Raises InputMissing, or DataRejected for an archive that is damaged or cut short, leaves its own folder, or has a member above 64 MB.
    """
    with _refusing(path), path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw, mode="rb") if zipped else raw
        yield from _members(_Forward(stream, path), path)  # type: ignore[arg-type]


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist.") from None
    except _DAMAGED as error:
        raise DataRejected(f"{path} is no whole .tar or .tar.gz ({error}); fetch or pack it again.") from None


def _members(stream: _Forward, path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    archive = tarfile.TarFile(fileobj=stream, mode="r")  # type: ignore[arg-type]
    while True:
        member = archive.next()
        if member is None:
            break
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header in memory
        if member.size < 0:
            raise DataRejected(f"{path} has a member of negative size, which no honest archive does; pack it again.")
        if not member.isreg():
            continue
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts or member.name.startswith("/"):
            raise DataRejected(f"{path} has a member {member.name[:80]!r} outside its own folder; pack it again with plain names.")
        if member.size > MAX_MEMBER_BYTES:
            raise DataRejected(f"{path} has a member {member.name[:80]!r} of {member.size} bytes; no image is above 64 MB, pack it again without it.")
        yield "/".join(parts), _reader(archive, member, path)
    if stream.last != bytes(_BLOCK):  # tarfile takes a damaged header for the end
        raise DataRejected(f"{path} is damaged or cut short at byte {stream.position}; fetch or pack it again.")
    stream.read(_PADDING)  # to gzip's checksum


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with _refusing(path):
            file = archive.extractfile(member)
            data = file.read() if file else b""
        if len(data) != member.size:
            raise DataRejected(f"{path} is cut short in {member.name[:80]!r}; fetch or pack it again.")
        return data

    return read

"""Reading .tar and .tar.gz from front to back, with bounded memory and nothing ever extracted to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
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
            raise DataRejected(f"{self.where} has a header of more than 64 MB, which no honest archive has; pack it again.")
        self.last = self.raw.read(size)
        self.position += len(self.last)
        return self.last

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self.position:
            raise DataRejected(f"{self.where} points back into itself, which no honest archive does; pack it again.")
        while self.position < position and self.read(min(position - self.position, 1 << 20)):
            pass
        return self.position


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the archive, to be read before the next member is asked for."""

    name: str
    size: int
    path: Path
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    def read(self) -> bytes:
        return b"".join(self.blocks(max(self.size, 1)))

    def blocks(self, size: int) -> Iterator[bytes]:
        """The content, `size` bytes at a time. Raises DataRejected where the archive ends too early."""
        left = self.size
        with _refusing(self.path):
            file = self.archive.extractfile(self.info)
            while file and left:
                data = file.read(min(size, left))
                if len(data) != min(size, left):
                    raise DataRejected(f"{self.path} is cut short in {self.name[:80]!r}; fetch or pack it again.")
                left -= len(data)
                yield data


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def walk(path: Path, *, max_bytes: int = MAX_MEMBER_BYTES) -> Iterator[Member]:
    """The regular files in the archive's order; links and devices are skipped.

    Raises InputMissing, or DataRejected for an archive that is damaged or cut short, leaves its own folder, or has a member above `max_bytes`.
    """
    with _refusing(path), path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw, mode="rb") if zipped else raw
        yield from _members(_Forward(stream, path), path, max_bytes)  # type: ignore[arg-type]


def first_names(path: Path) -> tuple[str, ...]:
    """The names of the archive's first few files, none where it can't be read: a look at what it is."""
    try:
        return tuple(member.name for member in islice(walk(path, max_bytes=1 << 62), 3))
    except (DataRejected, InputMissing):
        return ()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist.") from None
    except _DAMAGED as error:
        raise DataRejected(f"{path} is no whole .tar or .tar.gz ({error}); fetch or pack it again.") from None


def _members(stream: _Forward, path: Path, max_bytes: int) -> Iterator[Member]:
    archive = tarfile.TarFile(fileobj=stream, mode="r")  # type: ignore[arg-type]
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header in memory
        if info.size < 0:
            raise DataRejected(f"{path} has a member of negative size, which no honest archive has; pack it again.")
        if not info.isreg():
            continue
        parts = [part for part in info.name.split("/") if part not in ("", ".")]
        if ".." in parts or info.name.startswith("/"):
            raise DataRejected(f"{path} has a member {info.name[:80]!r} outside its own folder; pack it again with plain names.")
        if info.size > max_bytes:
            limit = max_bytes // (1024 * 1024)
            raise DataRejected(f"{path} has a member {info.name[:80]!r} of {info.size} bytes, at most {limit} MB are read; pack it again without it.")
        yield Member("/".join(parts), info.size, path, archive, info)
    if stream.last != bytes(_BLOCK):  # tarfile takes a damaged header for the end
        raise DataRejected(f"{path} is damaged or cut short at byte {stream.position}; fetch or pack it again.")
    stream.read(_PADDING)  # to gzip's checksum

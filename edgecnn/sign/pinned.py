"""A file that is hashed once, and from then on gives the bytes that were hashed or none."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, BinaryIO

from edgecnn.artifact.ziplayout import MAX_FILE_BYTES
from edgecnn.errors import ArtifactRejected, SignatureRejected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 1 << 17


def pin(file: BinaryIO, what: str) -> tuple[str, BinaryIO]:
    """Hash a file: its sha256, and a file that reads the same bytes as often as one likes and closes `file`.

    what: how messages call it. Whoever rewrites the file later, even for a moment, makes reading it raise SignatureRejected. Takes 0.2 KB of
    memory for each 128 KiB. Raises ArtifactRejected for one that can't be read, or is larger than an artifact may be.
    """
    raw = _PinnedFile(file, what)
    return raw.sha256, io.BufferedReader(raw, _BLOCK)


class _PinnedFile(io.RawIOBase):
    """Remembers the running digest before each block: a block is as it was if it leads from one to the next."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        super().__init__()
        self._file, self._what, self._position, self._size = file, what, 0, 0
        running = hashlib.sha256()
        self._digests = [running.copy()]
        try:
            while block := self._read_at(self._size, _BLOCK):
                running.update(block)
                self._digests.append(running.copy())
                self._size += len(block)
                if self._size > MAX_FILE_BYTES:
                    raise ArtifactRejected(f"{what} has more than {MAX_FILE_BYTES} bytes, which is the most that is read.")
        except OSError as error:
            raise ArtifactRejected(f"{what} can't be read ({error.strerror}).") from None
        self.sha256 = running.hexdigest()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence])
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """At most the rest of one block."""
        if self._position >= self._size:
            return 0
        index, start = divmod(self._position, _BLOCK)
        digest = self._digests[index].copy()
        block = self._read_at(index * _BLOCK, min(_BLOCK, self._size - index * _BLOCK))
        digest.update(block)
        if digest.digest() != self._digests[index + 1].digest():
            raise SignatureRejected(f"{self._what} was changed while it was read; get it again.")
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(block) - start)
        target[:count] = block[start : start + count]
        self._position += count
        return count

    def _read_at(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()

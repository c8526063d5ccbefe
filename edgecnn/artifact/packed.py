"""The members of a .edgecnn file. Every header byte must be what the writer in `pack` would have written.

Not zipfile, which accepts altered headers, duplicate names and data around the archive.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgecnn.artifact import ziplayout as layout
from edgecnn.errors import ArtifactRejected, InputMissing

_PIECE = 1 << 20


class PackedMembers:
    """Members of `bundle` in one file, which it keeps open, so that one which takes its place meanwhile isn't mixed in."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Raises ArtifactRejected."""
        self._path, self._file = path, file
        self._entries = {entry.name: entry for entry in self._read_entries()}
        self.sizes = {name: entry.size for name, entry in self._entries.items()}

    def close(self) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """A member's content, once its CRC is right. Raises ArtifactRejected."""
        entry = self._entries[name]
        data = self._read_at(entry.start, entry.size)
        self._check_crc(entry, zlib.crc32(data))
        return data

    def pieces(self, name: str) -> Iterator[bytes]:
        """`read`, a piece at a time; an altered member is told by raising after the last one."""
        entry, crc = self._entries[name], 0
        for start in range(entry.start, entry.end, _PIECE):
            piece = self._read_at(start, min(_PIECE, entry.end - start))
            crc = zlib.crc32(piece, crc)
            yield piece
        self._check_crc(entry, crc)

    def file_of(self, name: str) -> Path | None:
        """None: no member is a file of its own."""
        return None

    def _check_crc(self, entry: layout.Entry, crc: int) -> None:
        if crc != entry.crc:
            raise self._rejected(f"was altered or damaged: {entry.name} isn't what was packed; get the file again")

    def _read_entries(self) -> tuple[layout.Entry, ...]:
        """The members, once the whole skeleton of the file is byte for byte what the writer would have written."""
        size = self._size()
        end = self._read_at(size - layout.END.size, layout.END.size)
        count, length, offset = layout.END.unpack(end)[4:7]
        if end != layout.end_record(count, length, offset) or offset + length + layout.END.size != size:
            raise self._rejected("doesn't end as an artifact does: it is cut short, or something was added; get the file again")
        if count > layout.MAX_MEMBERS:
            raise self._rejected(f"has {count} members, at most {layout.MAX_MEMBERS} are allowed")
        if length > count * (layout.CENTRAL.size + layout.MAX_NAME):
            raise self._rejected(f"has a directory of {length} bytes for {count} members; get the file again")
        directory = self._read_at(offset, length)
        try:
            entries = layout.read_directory(directory, count)
        except ValueError as error:
            raise self._rejected(str(error)) from None
        fault = layout.name_fault([entry.name for entry in entries])
        if fault:
            raise self._rejected(fault)
        if layout.directory(entries) != directory:
            raise self._rejected("has a directory that edgecnn didn't write; get the file again")
        self._check_headers(entries, offset)
        return entries

    def _check_headers(self, entries: tuple[layout.Entry, ...], directory_offset: int) -> None:
        """Members follow each other without a gap, from the first byte to the directory."""
        position = 0
        for entry in entries:
            if entry.offset != position or entry.end > directory_offset:
                raise self._rejected(f"doesn't hold {entry.name!r} where its directory says; get the file again")
            header = layout.local_header(entry)
            if self._read_at(position, len(header)) != header:
                raise self._rejected(f"has a header before {entry.name!r} that edgecnn didn't write; get the file again")
            position = entry.end
        if position != directory_offset:
            raise self._rejected("holds data after its last member; get the file again")

    def _size(self) -> int:
        """The file's size, once it begins as an artifact does."""
        size = os.fstat(self._file.fileno()).st_size
        if size > layout.MAX_FILE_BYTES:
            raise self._rejected(f"has {size} bytes, at most {layout.MAX_FILE_BYTES} are allowed")
        start = self._read_at(0, min(size, 16))
        if not start.startswith(layout.LOCAL_SIGNATURE) or size < layout.END.size:
            raise self._rejected(_what_it_is(start, self._path))
        return size

    def _read_at(self, position: int, size: int) -> bytes:
        try:
            self._file.seek(position)
            data = self._file.read(size)
        except OSError as error:
            raise self._rejected(f"can't be read ({error.strerror})") from None
        if len(data) != size:
            raise self._rejected("is cut short; get the file again")
        return data

    def _rejected(self, what: str) -> ArtifactRejected:
        return ArtifactRejected(f"{self._path} {what}.")


def open_packed(path: Path) -> PackedMembers:
    """The members of the artifact at `path`, its structure checked. Raises InputMissing or ArtifactRejected."""
    file = open_file(path)
    try:
        return PackedMembers(path, file)
    except BaseException:
        file.close()
        raise


def open_file(path: Path) -> BinaryIO:
    """The regular file at `path`, unread. Raises InputMissing, or ArtifactRejected for what can't be an artifact."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
            raise ArtifactRejected(f"{path} is {what}, a .edgecnn file was wanted.")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise InputMissing(f"{path} doesn't exist; a .edgecnn file was wanted.") from None
    except OSError as error:
        raise ArtifactRejected(f"{path} can't be read ({error.strerror}).") from None


def _what_it_is(start: bytes, path: Path) -> str:
    """A sentence's end about a file that is no artifact."""
    if not start:
        return "is empty, a .edgecnn file was wanted"
    if start[4:8] == b"ORTM":
        return "is in onnxruntime's .ort format, a .edgecnn file was wanted; export the network that it was made from"
    if path.suffix == ".onnx" or (start[0] == 0x08 and start[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")):
        return f"is a bare ONNX graph, a .edgecnn file was wanted; `edgecnn export {path.name} -o {path.stem}.edgecnn` makes one"
    if start.startswith(b"version https://"):
        return "is a Git LFS pointer, a .edgecnn file was wanted; `git lfs pull` fetches what it points to"
    return "is no .edgecnn file: it doesn't begin as one does"

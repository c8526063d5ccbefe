"""The one ZIP layout that an artifact has: stored members, one fixed time, one fixed order, nothing optional.

Writer and reader share these builders: the reader compares every header byte with what the writer would have written.
Layout: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT , 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end record).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

MANIFEST = "manifest.json"
MODEL = "model.onnx"
REPORT = "report.json"

MAX_MEMBERS = 64
MAX_FILE_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1_000_000
MAX_NAME = 100

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
LOCAL_SIGNATURE, CENTRAL_SIGNATURE, END_SIGNATURE = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

_VERSION = 20
_UNIX = 3 << 8
_STORED = 0
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the earliest that ZIP can say
_REGULAR_FILE = 0o100644 << 16

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*)*")


class Entry(NamedTuple):
    """A member's place: `offset` of its local header, `size` and CRC-32 of its content."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def start(self) -> int:
        """Where the content begins."""
        return self.offset + LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        return self.start + self.size


def local_header(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    fields = (_VERSION, 0, _STORED, _TIME, _DATE, entry.crc, entry.size, entry.size, len(name), 0)
    return LOCAL.pack(LOCAL_SIGNATURE, *fields) + name


def directory(entries: Iterable[Entry]) -> bytes:
    """The central directory."""
    return b"".join(_central_record(entry) for entry in entries)


def _central_record(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    versions = (_UNIX | _VERSION, _VERSION, 0, _STORED, _TIME, _DATE)
    sizes = (entry.crc, entry.size, entry.size, len(name), 0, 0, 0, 0, _REGULAR_FILE, entry.offset)
    return CENTRAL.pack(CENTRAL_SIGNATURE, *versions, *sizes) + name


def end_record(count: int, directory_size: int, directory_offset: int) -> bytes:
    return END.pack(END_SIGNATURE, 0, 0, count, count, directory_size, directory_offset, 0)


def read_directory(data: bytes, count: int) -> tuple[Entry, ...]:
    """`count` entries of a central directory, as far as it says; the caller compares `directory(entries)` with `data`.

    Raises ValueError (a sentence's end) where it is cut short or a name breaks the rules.
    """
    entries: list[Entry] = []
    position = 0
    for _ in range(count):
        if position + CENTRAL.size > len(data):
            raise ValueError(f"lists {count} members in a directory that ends after {len(entries)}")
        fields = CENTRAL.unpack_from(data, position)
        crc, size, length, offset = fields[7], fields[9], fields[10], fields[16]
        position += CENTRAL.size
        name = data[position : position + length].decode("latin-1")
        if not _NAME.fullmatch(name):
            raise ValueError(f"has a member named {name[:MAX_NAME]!r}; names are lower-case letters, digits, '_', '.', '-' and '/' between them")
        entries.append(Entry(name=name, size=size, crc=crc, offset=offset))
        position += length
    return tuple(entries)


def zip_pieces(names: Iterable[str], pieces: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
    """The bytes of the one ZIP file that holds these members (the manifest among them), piece by piece.

    pieces: a member's content; it is asked for twice, because a member's checksum stands before it.
    """
    entries = []
    position = 0
    for name in canonical_order(names):
        size, crc = 0, 0
        for piece in pieces(name):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
        entry = Entry(name=name, size=size, crc=crc, offset=position)
        entries.append(entry)
        yield local_header(entry)
        yield from pieces(name)
        position = entry.end
    written = directory(entries)
    yield written
    yield end_record(len(entries), len(written), position)


def zip_size(sizes: Mapping[str, int]) -> int:
    """How many bytes `zip_pieces` gives for members of these sizes."""
    return END.size + sum(LOCAL.size + CENTRAL.size + 2 * len(name) + size for name, size in sizes.items())


def canonical_order(names: Iterable[str]) -> tuple[str, ...]:
    """The manifest, the model, the rest by name."""
    first = (MANIFEST, MODEL)
    return tuple(sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name)))


def name_fault(names: Sequence[str]) -> str | None:
    """What is wrong with the names of an artifact's members (manifest included), as the end of a sentence; None when nothing is."""
    if len(names) > MAX_MEMBERS:
        return f"has {len(names)} members, at most {MAX_MEMBERS} are allowed"
    for name in names:
        if not _NAME.fullmatch(name) or ".." in name or len(name) > MAX_NAME:
            return (
                f"has a member named {name[:MAX_NAME]!r}; names are lower-case letters, digits, '_', '.', '-', with '/' between, {MAX_NAME} at most"
            )
    seen = set(names)
    if len(seen) != len(names):
        return f"has two members named {next(name for name in names if names.count(name) > 1)!r}"
    for name in names:
        inside = next((folder for folder in _folders(name) if folder in seen), None)
        if inside is not None:
            return f"has both a member {inside!r} and one inside it, {name!r}"
    missing = next((name for name in (MANIFEST, MODEL) if name not in seen), None)
    if missing is not None:
        return f"has no member {missing!r}"
    if tuple(names) != canonical_order(names):
        return f"has its members in another order than {MANIFEST}, {MODEL}, the rest by name"
    return None


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]

"""Open and verify a .edgecnn file. Nothing in it is believed: every header byte must be what the writer in `pack` would have written.

Not zipfile, which accepts altered headers, duplicate names and data around the archive.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from edgecnn.artifact import ziplayout as layout
from edgecnn.artifact.graph import Graph, check_agrees, check_device_graph, read_graph
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.errors import ArtifactRejected, InputMissing, ManifestRejected


class Bundle:
    """An open artifact whose structure and manifest have been checked; a member is read, and checked, when it is asked for.

    A context manager. It keeps the file open, so that one which takes its place meanwhile isn't mixed in.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """`open_bundle` is the way to get one. Raises ArtifactRejected or ManifestRejected."""
        self.path = path
        self._file = file
        self._entries = {entry.name: entry for entry in self._read_entries()}
        self.manifest = self._read_manifest()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        """All members, in the order in which they lie: manifest.json, model.onnx, the rest by name."""
        return tuple(self._entries)

    def read(self, name: str) -> bytes:
        """A member's content, once its size, CRC and sha256 are right. model.onnx passes the rules of `check_graph` first, too.

        Raises ArtifactRejected where it was altered or there is no such member, GraphRejected or ManifestRejected for the graph.
        """
        data = self._read_verified(name)
        if name == layout.MODEL:
            self._check_model(data)
        return data

    def report(self) -> Report:
        """How the graph was made. Raises ArtifactRejected."""
        data = self.read(layout.REPORT)
        try:
            return Report.from_json(data)
        except ManifestRejected as error:
            raise ManifestRejected(f"{self.path}: {error}") from None

    def check_graph(self) -> Graph:
        """The graph, once it is one that a device may load and the one that the manifest speaks of.

        Raises ArtifactRejected, GraphRejected or ManifestRejected.
        """
        return self._check_model(self._read_verified(layout.MODEL))

    def verify(self) -> None:
        """Check every byte of the file, and the graph. Raises ArtifactRejected."""
        for name in self.names:
            self.read(name)

    def _check_model(self, model: bytes) -> Graph:
        try:
            graph = read_graph(model)
            check_device_graph(graph)
            check_agrees(graph, self.manifest.spec, opset=self.manifest.opset, ir_version=self.manifest.ir_version)
        except ArtifactRejected as error:
            raise type(error)(f"{self.path}: {error}") from None
        return graph

    def _read_verified(self, name: str) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise self._rejected(f"has no member {name!r}; it has {', '.join(self.names)}")
        data = self._read_at(entry.start, entry.size)
        # the manifest can't hold its own digest: its CRC is all there is
        whole = name == layout.MANIFEST or hashlib.sha256(data).hexdigest() == self.manifest.member(name).sha256
        if not whole or zlib.crc32(data) != entry.crc:
            raise self._rejected(f"was altered or damaged: {name} isn't what was packed; get the file again")
        return data

    def _read_manifest(self) -> Manifest:
        entry = self._entries[layout.MANIFEST]
        if entry.size > layout.MAX_MANIFEST_BYTES:
            raise ManifestRejected(f"{self.path}: manifest.json has {entry.size} bytes, at most {layout.MAX_MANIFEST_BYTES} are read.")
        data = self._read_verified(layout.MANIFEST)
        try:
            manifest = Manifest.from_json(data)
        except ManifestRejected as error:
            raise ManifestRejected(f"{self.path}: {error}") from None
        listed = {member.name: member.size for member in manifest.members}
        found = {entry.name: entry.size for entry in self._entries.values() if entry.name != layout.MANIFEST}
        for name in sorted(listed.keys() | found.keys()):
            if name not in listed:
                raise self._rejected(f"has a member {name!r} that its manifest doesn't list")
            if name not in found:
                raise self._rejected(f"lacks the member {name!r} that its manifest lists")
            if listed[name] != found[name]:
                raise self._rejected(f"holds {found[name]} bytes as {name!r}, its manifest says {listed[name]}")
        return manifest

    def _read_entries(self) -> tuple[layout.Entry, ...]:
        """The members, once the whole skeleton of the file is byte for byte what the writer would have written."""
        size = self._size()
        end = self._read_at(size - layout.END.size, layout.END.size)
        count, length, offset = layout.END.unpack(end)[4:7]
        if end != layout.end_record(count, length, offset) or offset + length + layout.END.size != size:
            raise self._rejected("doesn't end as an artifact does: it is cut short, or something was added; get the file again")
        if count > layout.MAX_MEMBERS:
            raise self._rejected(f"has {count} members, at most {layout.MAX_MEMBERS} are allowed")
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
            raise self._rejected(_what_it_is(start, self.path))
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
        return ArtifactRejected(f"{self.path} {what}.")


def open_bundle(path: Path | str) -> Bundle:
    """The artifact at `path`, its structure and manifest checked. Only these are read, so a large model costs nothing yet.

    Raises InputMissing; ArtifactRejected where it is something else, altered, or cut short; ManifestRejected.
    """
    path = Path(path)
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
            raise ArtifactRejected(f"{path} is {what}, a .edgecnn file was wanted.")
        file = open(path, "rb")  # noqa: SIM115 - the Bundle closes it
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise InputMissing(f"{path} doesn't exist; a .edgecnn file was wanted.") from None
    except OSError as error:
        raise ArtifactRejected(f"{path} can't be read ({error.strerror}).") from None
    try:
        return Bundle(path, file)
    except BaseException:
        file.close()
        raise


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

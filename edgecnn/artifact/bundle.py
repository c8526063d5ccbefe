"""An artifact, open: its manifest and every member that is read are checked, wherever they lie. Nothing in it is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from edgecnn.artifact import ziplayout as layout
from edgecnn.artifact.codec import brief
from edgecnn.artifact.graph import Graph, check_agrees, check_device_graph, read_graph
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.artifact.packed import PackedMembers, open_packed
from edgecnn.errors import ArtifactRejected, ManifestRejected


class Members(Protocol):
    """Where an artifact's members lie: in one file (`packed`), or in a folder (`unpacked`). sizes: in bytes, in their canonical order."""

    @property
    def sizes(self) -> Mapping[str, int]: ...
    def read(self, name: str) -> bytes:
        """A member's content. Raises ArtifactRejected."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """`read`, a piece at a time, so that a large member needs no memory."""
        ...

    def file_of(self, name: str) -> Path | None:
        """The file that holds this member and nothing else; None where there is none."""
        ...

    def close(self) -> None: ...


class Bundle:
    """An open artifact whose structure and manifest have been checked; a member is read, and checked, when it is asked for.

    A context manager. What takes the artifact's place while it is open isn't mixed in.
    """

    def __init__(self, path: Path, members: Members) -> None:
        """`open_bundle` and `open_unpacked` are the ways to get one; it closes `members`. Raises ArtifactRejected or ManifestRejected."""
        self.path = path
        self._members = members
        try:
            self.manifest = self._read_manifest()
        except BaseException:
            members.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._members.close()

    @property
    def names(self) -> tuple[str, ...]:
        """All members, in the order in which they lie: manifest.json, model.onnx, the rest by name."""
        return tuple(self._members.sizes)

    @property
    def file_size(self) -> int:
        """Bytes of the .edgecnn file, also where its members were unpacked from it."""
        return layout.zip_size(self._members.sizes)

    def read(self, name: str) -> bytes:
        """A member's content, once its size and sha256 are right. model.onnx passes the rules of `check_graph` first, too.

        Raises ArtifactRejected where it was altered or there is no such member, GraphRejected or ManifestRejected for the graph.
        """
        data = self._read_verified(name)
        if name == layout.MODEL:
            self._check_model(data)
        return data

    def graph_source(self) -> bytes | Path:
        """model.onnx, checked as `read` does: where it is a file of its own its path, which an engine loads without a second copy in memory.

        The path is of an installed version, which nothing writes to: between this check and the engine's reading it isn't held.
        """
        path = self._members.file_of(layout.MODEL)
        if path is None:
            return self.read(layout.MODEL)
        self.check_graph()
        return path

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
        """Check every byte of the artifact, then the graph, and the report where there is one. Raises ArtifactRejected."""
        for name in self.names:
            for _ in self._verified_pieces(name):
                pass
        self.check_graph()
        if layout.REPORT in self.names:
            self.report()

    def _check_model(self, model: bytes) -> Graph:
        try:
            graph = read_graph(model)
            check_device_graph(graph)
            check_agrees(graph, self.manifest.spec, opset=self.manifest.opset, ir_version=self.manifest.ir_version)
        except ArtifactRejected as error:
            raise type(error)(f"{self.path}: {brief(str(error))}") from None
        return graph

    def _read_verified(self, name: str) -> bytes:
        if name not in self._members.sizes:
            raise self._rejected(f"has no member {name!r}; it has {', '.join(self.names)}")
        if name == layout.MANIFEST:
            return self._manifest_json
        data = self._members.read(name)
        self._check_digest(name, hashlib.sha256(data).hexdigest())
        return data

    def _verified_pieces(self, name: str) -> Iterator[bytes]:
        if name == layout.MANIFEST:
            yield self._manifest_json
            return
        digest = hashlib.sha256()
        for piece in self._members.pieces(name):
            digest.update(piece)
            yield piece
        self._check_digest(name, digest.hexdigest())

    def _check_digest(self, name: str, sha256: str) -> None:
        if sha256 != self.manifest.member(name).sha256:
            raise self._rejected(f"was altered or damaged: {name} isn't what was packed; get the file again")

    def _read_manifest(self) -> Manifest:
        sizes = self._members.sizes
        if sizes[layout.MANIFEST] > layout.MAX_MANIFEST_BYTES:
            raise ManifestRejected(f"{self.path}: manifest.json has {sizes[layout.MANIFEST]} bytes, at most {layout.MAX_MANIFEST_BYTES} are read.")
        # it can't hold its own digest, so what was read once is what counts from now on
        self._manifest_json = self._members.read(layout.MANIFEST)
        try:
            manifest = Manifest.from_json(self._manifest_json)
        except ManifestRejected as error:
            raise ManifestRejected(f"{self.path}: {error}") from None
        listed = {member.name: member.size for member in manifest.members}
        found = {name: size for name, size in sizes.items() if name != layout.MANIFEST}
        for name in sorted(listed.keys() | found.keys()):
            if name not in listed:
                raise self._rejected(f"has a member {name!r} that its manifest doesn't list")
            if name not in found:
                raise self._rejected(f"lacks the member {name!r} that its manifest lists")
            if listed[name] != found[name]:
                raise self._rejected(f"holds {found[name]} bytes as {name!r}, its manifest says {listed[name]}")
        return manifest

    def _rejected(self, what: str) -> ArtifactRejected:
        return ArtifactRejected(f"{self.path} {what}.")


def open_bundle(path: Path | str) -> Bundle:
    """The artifact at `path`, its structure and manifest checked. Only these are read, so a large model costs nothing yet.

    Raises InputMissing; ArtifactRejected where it is something else, altered, or cut short; ManifestRejected.
    """
    path = Path(path)
    return Bundle(path, open_packed(path))


def read_bundle(path: Path, file: BinaryIO) -> Bundle:
    """`open_bundle` of a file that is open already and that messages call `path`; the Bundle closes it."""
    try:
        members = PackedMembers(path, file)
    except BaseException:
        file.close()
        raise
    return Bundle(path, members)

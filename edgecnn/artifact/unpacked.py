"""An artifact's members as files of a folder: the form in which a device's store keeps an installed version."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edgecnn.artifact import ziplayout as layout
from edgecnn.artifact.bundle import Bundle
from edgecnn.errors import ArtifactRejected, InputMissing

_PIECE = 1 << 20


def open_unpacked(folder: Path | str, *, trust: Callable[[str], None] | None = None) -> Bundle:
    """The artifact whose members lie in `folder`, its structure and manifest checked as those of a file are.

    trust: is given the sha256 of the .edgecnn file that these members were unpacked from, and raises where that isn't to be used. Nothing was
    parsed then, and nothing but what was hashed is parsed afterwards, so that an engine is given the graph's bytes instead of its path.
    Raises InputMissing; ArtifactRejected for anything in it that is no member (links, devices, files that the manifest doesn't list), for
    a member that is missing or of another size; ManifestRejected.
    """
    folder = Path(folder)
    members = _FolderMembers(folder, by_path=trust is None)
    if trust is not None:
        trust(members.file_sha256())
    return Bundle(folder, members)


class _FolderMembers:
    """Members of `bundle`, each a file below `folder`."""

    def __init__(self, folder: Path, *, by_path: bool) -> None:
        self._folder, self._by_path = folder, by_path
        self.sizes = self._find()
        self._manifest: bytes | None = None

    def close(self) -> None:
        """Nothing is kept open."""

    def read(self, name: str) -> bytes:
        # the others are held by the digests in the manifest; it must be the one that was hashed for the signature
        if name == layout.MANIFEST and self._manifest is not None:
            return self._manifest
        data = b"".join(self._read(name, self.sizes[name] + 1))
        if name == layout.MANIFEST:
            self._manifest = data
        return data

    def pieces(self, name: str) -> Iterator[bytes]:
        return iter((self.read(name),)) if name == layout.MANIFEST else self._read(name, _PIECE)

    def file_sha256(self) -> str:
        """Of the file that these members lay in: there is one layout, so it is known without the file. Raises ArtifactRejected."""
        digest = hashlib.sha256()
        for piece in layout.zip_pieces(self.sizes, self.pieces):
            digest.update(piece)
        return digest.hexdigest()

    def file_of(self, name: str) -> Path | None:
        return self._folder / name if self._by_path else None

    def _find(self) -> dict[str, int]:
        """The sizes of all files below the folder, once their names are those of members."""
        if self._folder.is_dir() and not os.path.lexists(self._folder / layout.MANIFEST):
            raise self._rejected(f"is a folder without a {layout.MANIFEST}; a .edgecnn file, or the folder of an installed version, was wanted")
        found: dict[str, int] = {}
        self._find_in("", found)
        names = layout.canonical_order(found)
        fault = layout.name_fault(names)
        if fault:
            raise self._rejected(fault)
        if sum(found.values()) > layout.MAX_FILE_BYTES:
            raise self._rejected(f"holds more than the {layout.MAX_FILE_BYTES} bytes that an artifact may have")
        return {name: found[name] for name in names}

    def _find_in(self, inside: str, found: dict[str, int]) -> None:
        try:
            with os.scandir(self._folder / inside) as entries:
                for entry in entries:
                    name = f"{inside}{entry.name}"
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) and len(name) <= layout.MAX_NAME:
                        before = len(found)
                        self._find_in(f"{name}/", found)
                        if len(found) == before:
                            raise self._rejected(f"holds {name!r}, a folder without files; install it again")
                    elif stat.S_ISREG(mode):
                        found[name] = entry.stat(follow_symlinks=False).st_size
                    else:
                        raise self._rejected(f"holds {name[: layout.MAX_NAME]!r}, which is no regular file; install it again")
                    if len(found) > layout.MAX_MEMBERS:
                        raise self._rejected(f"holds more than the {layout.MAX_MEMBERS} files that an artifact may have")
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            if inside:
                raise self._rejected(f"changed while it was read ({error})") from None
            raise InputMissing(f"{self._folder} is no folder; that of an unpacked artifact was wanted.") from None
        except OSError as error:
            raise self._rejected(f"can't be read ({error.strerror})") from None

    def _read(self, name: str, step: int) -> Iterator[bytes]:
        """The whole content, of the size that was found before."""
        path, left = self._folder / name, self.sizes[name]
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
            with open(handle, "rb", buffering=0) as file:
                # one byte more than there should be, so that a file that grew is noticed
                while piece := file.read(min(step, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    yield piece
        except OSError as error:
            raise self._rejected(f"can't be read: {name} ({error.strerror})") from None
        if left:
            raise self._rejected(f"changed while it was read: {name} has another size; install it again")

    def _rejected(self, what: str) -> ArtifactRejected:
        return ArtifactRejected(f"{self._folder} {what}.")

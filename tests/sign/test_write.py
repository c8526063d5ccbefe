"""Only a whole artifact is signed, and its signature is there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgecnn.artifact import files
from edgecnn.errors import ArtifactRejected, InputMissing, KeyRejected, OutputNotWritable, SignatureRejected
from edgecnn.sign import open_signed, signature_path
from edgecnn.sign.write import sign_file
from tests.fixtures.signing import Keys, make_keys


def test_the_signature_lies_beside_the_file(artifact: Path, keys: Keys) -> None:
    assert sign_file(artifact, keys.private) == artifact.with_name("colors.edgecnn.sig")
    assert sign_file(str(artifact), str(keys.private)) == artifact.with_name("colors.edgecnn.sig")
    assert json.loads(signature_path(artifact).read_bytes())["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert sorted(path.name for path in artifact.parent.iterdir()) == ["colors.edgecnn", "colors.edgecnn.sig"]


def test_a_key_with_a_passphrase_signs(artifact: Path, tmp_path: Path) -> None:
    locked = make_keys(tmp_path, passphrase=b"open sesame")
    sign_file(artifact, locked.private, passphrase=lambda: b"open sesame")
    open_signed(artifact, locked.public).close()


def test_what_isnt_a_whole_artifact_isnt_signed(artifact: Path, keys: Keys, packed: bytes) -> None:
    for place in (0, len(packed) // 3, len(packed) // 2, len(packed) - 1):
        artifact.write_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])
        with pytest.raises(ArtifactRejected):
            sign_file(artifact, keys.private)
    artifact.write_bytes(b"")
    with pytest.raises(ArtifactRejected, match="is empty"):
        sign_file(artifact, keys.private)
    with pytest.raises(InputMissing):
        sign_file(artifact.with_name("gone.edgecnn"), keys.private)
    with pytest.raises(ArtifactRejected, match="is a folder"):
        sign_file(artifact.parent, keys.private)
    assert not signature_path(artifact).exists()


def test_a_file_that_changes_while_it_is_verified_isnt_signed(artifact: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecnn.sign import write

    def pin_and_change(file: object, what: str) -> object:
        pinned = original(file, what)  # type: ignore[arg-type]
        with open(artifact, "r+b") as writer:
            writer.seek(100)
            writer.write(b"\1")
        return pinned

    original = write.pin
    monkeypatch.setattr(write, "pin", pin_and_change)
    with pytest.raises(SignatureRejected, match="changed while it was read"):
        sign_file(artifact, keys.private)


def test_a_key_that_cant_sign_leaves_the_old_signature(artifact: Path, keys: Keys) -> None:
    before = sign_file(artifact, keys.private).read_bytes()
    with pytest.raises(KeyRejected):
        sign_file(artifact, keys.public)
    assert signature_path(artifact).read_bytes() == before


def test_a_full_disk_leaves_the_old_signature(artifact: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sign_file(artifact, keys.private).read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputNotWritable, match="the disk is full"):
        sign_file(artifact, keys.private)
    assert signature_path(artifact).read_bytes() == before
    assert sorted(path.name for path in artifact.parent.iterdir()) == ["colors.edgecnn", "colors.edgecnn.sig"]

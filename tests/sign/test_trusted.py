"""An artifact that is opened by a key is the one that the key's holder signed, or isn't opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import edgecnn
from edgecnn.artifact.bundle import open_bundle
from edgecnn.errors import ArtifactRejected, InputMissing, SignatureRejected
from edgecnn.sign import check, open_signed, open_trusted, pinned, signature_path
from edgecnn.sign.write import sign_file
from tests.fixtures.artifacts import color_artifact, solid, tiny_artifact
from tests.fixtures.signing import Keys, sign_anything


@pytest.fixture
def signed(artifact: Path, keys: Keys) -> Path:
    sign_file(artifact, keys.private)
    return artifact


def test_a_signed_artifact_opens_and_gives_its_answers(signed: Path, keys: Keys) -> None:
    with open_signed(signed, keys.public) as bundle, open_bundle(signed) as plain:
        assert bundle.manifest == plain.manifest
        assert [bundle.read(name) for name in bundle.names] == [plain.read(name) for name in plain.names]
    assert edgecnn.load(signed, trust_key=keys.public).predict(solid("green")).label == "green"
    assert edgecnn.load(str(signed), trust_key=str(keys.public)).spec.name == "colors"


def test_it_may_be_renamed_and_moved(signed: Path, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "current.edgecnn"
    os.rename(signature_path(signed), signature_path(moved))
    os.rename(signed, moved)
    open_signed(moved, keys.public).close()


def test_an_unsigned_one_is_opened_only_where_nobody_asks(artifact: Path, keys: Keys) -> None:
    open_trusted(artifact, None).close()
    with pytest.raises(SignatureRejected, match="has no signature, and one is required"):
        open_trusted(artifact, keys.public)
    with pytest.raises(SignatureRejected, match="has no signature"):
        edgecnn.load(artifact, trust_key=keys.public)


def test_another_s_signature_is_refused(signed: Path, keys: Keys, stranger: Keys) -> None:
    with pytest.raises(SignatureRejected, match="signed with another key than that of"):
        open_signed(signed, stranger.public)
    other = tiny_artifact(signed.with_name("other.edgecnn"))
    os.replace(signature_path(signed), signature_path(other))
    with pytest.raises(SignatureRejected, match="isn't the file that was signed"):
        open_signed(other, keys.public)


def test_any_byte_changed_is_refused_by_the_signature(signed: Path, keys: Keys, packed: bytes) -> None:
    for place in range(0, len(packed), 97):
        signed.write_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])
        with pytest.raises(SignatureRejected, match="isn't the file that was signed"):
            open_signed(signed, keys.public)


def test_nothing_is_parsed_before_the_signature_is_known_to_be_right(artifact: Path, keys: Keys, stranger: Keys) -> None:
    """What is no artifact at all is refused for its signature, and for what it is only where that is right."""
    artifact.write_bytes(b"no artifact")
    with pytest.raises(SignatureRejected, match="has no signature"):
        open_signed(artifact, keys.public)
    sign_anything(artifact, stranger)
    with pytest.raises(SignatureRejected, match="another key"):
        open_signed(artifact, keys.public)
    sign_anything(artifact, keys)
    with pytest.raises(ArtifactRejected, match=r"is no \.edgecnn file") as refused:
        open_signed(artifact, keys.public)
    assert not isinstance(refused.value, SignatureRejected)


@pytest.fixture
def evil(tmp_path: Path) -> bytes:
    """Another sound artifact, which nobody signed."""
    return color_artifact(tmp_path / "evil.edgecnn", size=9).read_bytes()


def _overwritten(path: Path, data: bytes) -> None:
    with open(path, "r+b") as file:  # the same file that is open elsewhere
        file.write(data)
        file.truncate()


def _replaced(path: Path, data: bytes) -> None:
    path.with_name("new").write_bytes(data)
    os.replace(path.with_name("new"), path)


def test_a_file_rewritten_after_its_signature_was_checked_is_refused(
    signed: Path, keys: Keys, evil: bytes, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (evil, packed[:-22] + evil[-22:], packed[: len(packed) // 2], b"", packed + evil):
        _overwritten(signed, packed)
        _just_after_the_check(lambda data=data: _overwritten(signed, data), monkeypatch)  # type: ignore[misc]
        with pytest.raises(ArtifactRejected):
            open_signed(signed, keys.public).verify()


def test_a_file_replaced_after_its_signature_was_checked_is_not_the_one_that_is_read(
    signed: Path, keys: Keys, evil: bytes, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _just_after_the_check(lambda: _replaced(signed, evil), monkeypatch)
    with open_signed(signed, keys.public) as bundle:
        bundle.verify()
        assert bundle.manifest.spec.preprocess.size == (8, 8)
    assert signed.read_bytes() == evil


def test_a_member_rewritten_once_the_manifest_was_read_is_refused(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "_BLOCK", 4096)  # less than the member, so that it isn't all in memory by then
    large = color_artifact(tmp_path / "large.edgecnn", size=64)
    sign_file(large, keys.private)
    data = large.read_bytes()
    with open_signed(large, keys.public) as bundle:
        _overwritten(large, data[: len(data) // 4] + bytes(len(data) // 2) + data[-len(data) // 4 :])
        with pytest.raises(SignatureRejected, match="changed while it was read"):
            bundle.read("golden/inputs.npy")
        _overwritten(large, data)
        bundle.verify()


def _just_after_the_check(act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    checked = check.check_signature

    def check_and_act(*arguments: object, **keywords: object) -> None:
        checked(*arguments, **keywords)  # type: ignore[arg-type]
        act()

    monkeypatch.setattr(check, "check_signature", check_and_act)


def test_what_is_missing_or_no_file_is_said(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(InputMissing, match=r"gone\.edgecnn doesn't exist; a \.edgecnn file"):
        open_signed(tmp_path / "gone.edgecnn", keys.public)
    with pytest.raises(ArtifactRejected, match="File name too long"):
        open_signed(tmp_path / ("x" * 300), keys.public)
    with pytest.raises(InputMissing):
        open_signed("a\0b", keys.public)
    os.mkfifo(tmp_path / "pipe.edgecnn")
    with pytest.raises(ArtifactRejected, match="no regular file"):
        open_signed(tmp_path / "pipe.edgecnn", keys.public)
    os.mkfifo(tmp_path / "x.edgecnn.sig")
    (tmp_path / "x.edgecnn").write_bytes(b"")
    with pytest.raises(SignatureRejected, match="it is no regular file"):
        open_signed(tmp_path / "x.edgecnn", keys.public)


def test_an_unpacked_version_is_trusted_by_the_signature_of_its_file(signed: Path, keys: Keys, stranger: Keys, tmp_path: Path) -> None:
    folder = tmp_path / "1.0.0"
    with open_bundle(signed) as bundle:
        for name in bundle.names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bundle.read(name))
    with pytest.raises(SignatureRejected, match=r"no 1\.0\.0\.sig beside it"):
        open_signed(folder, keys.public)
    signature_path(folder).write_bytes(signature_path(signed).read_bytes())
    with open_signed(folder, keys.public) as bundle:
        bundle.verify()
        assert isinstance(bundle.graph_source(), bytes)  # what lies at a path may be another one by the time that it is loaded
    assert edgecnn.load(folder, trust_key=keys.public).predict(solid("blue")).label == "blue"
    with pytest.raises(SignatureRejected, match="another key"):
        open_signed(folder, stranger.public)
    open_trusted(folder, None).close()
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n")
    with pytest.raises(SignatureRejected, match="isn't the file that was signed"):
        open_signed(folder, keys.public)

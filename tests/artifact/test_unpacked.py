"""An artifact unpacked into a folder is held to the same rules as the file, and the file's digest is known without it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.unpacked import open_unpacked
from edgecnn.errors import ArtifactRejected, GraphRejected, InputMissing, ManifestRejected
from tests.artifact.samples import pack_sample
from tests.fixtures.graphs import tiny_classifier


def unpack(artifact: Path, folder: Path) -> Path:
    with open_bundle(artifact) as bundle:
        for name in bundle.names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bundle.read(name))
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    pack_sample(tmp_path / "m.edgecnn")
    return tmp_path / "m.edgecnn"


@pytest.fixture
def folder(artifact: Path, tmp_path: Path) -> Path:
    return unpack(artifact, tmp_path / "m")


def test_it_is_the_same_artifact(artifact: Path, folder: Path) -> None:
    with open_bundle(artifact) as packed, open_unpacked(str(folder)) as bundle:
        assert bundle.path == folder
        assert (bundle.names, bundle.manifest, bundle.report()) == (packed.names, packed.manifest, packed.report())
        assert {name: bundle.read(name) for name in bundle.names} == {name: packed.read(name) for name in packed.names}
        assert bundle.check_graph() == packed.check_graph()
        bundle.verify()
        with pytest.raises(ArtifactRejected, match=r"no member 'labels\.txt'"):
            bundle.read("labels.txt")


def test_the_graph_comes_as_a_file_where_it_is_one(artifact: Path, folder: Path) -> None:
    with open_bundle(artifact) as packed, open_unpacked(folder) as bundle:
        assert packed.graph_source() == tiny_classifier()
        assert bundle.graph_source() == folder / "model.onnx"


def test_the_digest_of_the_file_is_known_before_anything_is_parsed(artifact: Path, folder: Path) -> None:
    seen: list[str] = []
    with open_unpacked(folder, trust=seen.append) as bundle:
        assert seen == [hashlib.sha256(artifact.read_bytes()).hexdigest()]
        bundle.verify()
    (folder / "manifest.json").write_bytes(b"no manifest at all")
    with pytest.raises(ManifestRejected):
        open_unpacked(folder, trust=seen.append)
    assert len(seen) == 2
    assert seen[1] != seen[0]


def test_what_is_not_trusted_is_not_parsed(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"no manifest at all")

    def refuse(sha256: str) -> None:
        raise ArtifactRejected("not signed")

    with pytest.raises(ArtifactRejected, match="not signed"):
        open_unpacked(folder, trust=refuse)


def test_what_is_parsed_is_what_was_trusted(folder: Path) -> None:
    """A manifest that is exchanged in between speaks neither for the signature nor for the members."""
    before = (folder / "manifest.json").read_bytes()
    with open_unpacked(folder, trust=lambda _: (folder / "manifest.json").write_bytes(b"{}")) as bundle:  # type: ignore[arg-type, return-value]
        assert bundle.read("manifest.json") == before
        bundle.verify()


def flip(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.onnx", "golden/00.png", "golden/inputs.npy", "report.json"])
def test_an_altered_member_is_refused_however_it_is_read(folder: Path, name: str) -> None:
    flip(folder, name)
    with open_unpacked(folder) as bundle:
        for read in (bundle.verify, lambda: bundle.read(name)):
            with pytest.raises(ArtifactRejected, match=f"altered or damaged: {name}"):
                read()
        if name == "model.onnx":
            with pytest.raises(ArtifactRejected, match="altered or damaged"):
                bundle.graph_source()


def test_a_graph_that_devices_refuse_is_refused(tmp_path: Path, artifact: Path) -> None:
    """The manifest pins whatever graph it was packed with; the rules of the graph hold here, too."""
    folder = unpack(artifact, tmp_path / "m")
    manifest = (folder / "manifest.json").read_bytes()
    other = tiny_classifier(labels=5)
    digest, size = hashlib.sha256(tiny_classifier()).hexdigest().encode(), len(tiny_classifier())
    manifest = manifest.replace(digest, hashlib.sha256(other).hexdigest().encode()).replace(
        f'"size": {size}'.encode(), f'"size": {len(other)}'.encode()
    )
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "model.onnx").write_bytes(other)
    with open_unpacked(folder) as bundle, pytest.raises((GraphRejected, ManifestRejected)):
        bundle.graph_source()


def link(folder: Path) -> None:
    (folder.parent / "elsewhere").write_bytes((folder / "report.json").read_bytes())
    (folder / "report.json").unlink()
    (folder / "report.json").symlink_to(folder.parent / "elsewhere")


def linked_folder(folder: Path) -> None:
    (folder / "golden").rename(folder.parent / "golden")
    (folder / "golden").symlink_to(folder.parent / "golden")


def pipe(folder: Path) -> None:
    (folder / "report.json").unlink()
    os.mkfifo(folder / "report.json")


def many(folder: Path) -> None:
    for number in range(70):
        (folder / f"{number}.txt").write_bytes(b"")


def deep(folder: Path) -> None:
    (folder / "/".join(["a" * 30] * 5)).mkdir(parents=True)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (link, r"'report\.json', which is no regular file"),
        (linked_folder, "'golden', which is no regular file"),
        (pipe, r"'report\.json', which is no regular file"),
        (many, "more than the 64 files"),
        (deep, "no regular file"),
        (lambda folder: (folder / "more").mkdir(), "'more', a folder without files"),
        (lambda folder: (folder / "more.txt").write_bytes(b"x"), r"'more\.txt' that its manifest doesn't list"),
        (lambda folder: (folder / ".hidden").write_bytes(b"x"), r"a member named '\.hidden'"),
        (lambda folder: (folder / "A.txt").write_bytes(b"x"), r"a member named 'A\.txt'"),
        (lambda folder: (folder / "report.json").unlink(), r"lacks the member 'report\.json'"),
        (lambda folder: (folder / "model.onnx").unlink(), r"has no member 'model\.onnx'"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is a folder without a manifest\.json"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{}"), "manifest"),
        (lambda folder: (folder / "manifest.json").write_bytes(bytes(1_000_001)), "at most 1000000 are read"),
        (lambda folder: os.truncate(folder / "golden/00.png", 3), r"holds 3 bytes as 'golden/00\.png'"),
    ],
)
def test_what_is_no_whole_artifact_is_refused_when_it_is_opened(folder: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(folder)
    with pytest.raises(ArtifactRejected, match=says):
        open_unpacked(folder)


def test_a_member_that_becomes_a_link_or_another_size_is_noticed_when_it_is_read(folder: Path) -> None:
    with open_unpacked(folder) as bundle:
        link(folder)
        with pytest.raises(ArtifactRejected, match=r"report\.json"):
            bundle.read("report.json")
        os.truncate(folder / "golden/00.png", 3)
        with pytest.raises(ArtifactRejected, match="another size"):
            bundle.read("golden/00.png")
        with open(folder / "golden/inputs.npy", "ab") as file:
            file.write(b"more")
        with pytest.raises(ArtifactRejected, match="another size"):
            bundle.read("golden/inputs.npy")


@pytest.mark.parametrize("name", ["gone", "m.edgecnn", "m.edgecnn/m", "nul\0"])
def test_what_is_no_folder_is_missing(artifact: Path, name: str) -> None:
    with pytest.raises(InputMissing, match="is no folder"):
        open_unpacked(artifact.parent / name)

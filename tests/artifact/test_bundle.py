"""Opening an artifact: quick, by the manifest alone, and clear about what else a file may be."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.graph import read_graph
from edgecnn.errors import ArtifactRejected, EdgecnnError, InputMissing
from tests.artifact.samples import arguments, pack_sample, report
from tests.fixtures.graphs import tiny_classifier


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "m.edgecnn"
    pack_sample(path)
    return path


def test_it_gives_what_was_packed(artifact: Path) -> None:
    with open_bundle(str(artifact)) as bundle:
        assert bundle.path == artifact
        assert bundle.names == ("manifest.json", "model.onnx", "golden/00.png", "golden/inputs.npy", "report.json")
        assert bundle.read("manifest.json") == bundle.manifest.to_json()
        assert {name: bundle.read(name) for name in bundle.names[2:]} == arguments()["members"]
        assert bundle.report() == report(tiny_classifier())
        assert bundle.check_graph() == read_graph(tiny_classifier())
        bundle.verify()


def test_a_member_that_is_not_there_is_named_with_those_that_are(artifact: Path) -> None:
    with open_bundle(artifact) as bundle, pytest.raises(ArtifactRejected, match=r"no member 'labels\.txt'; it has manifest\.json, model\.onnx"):
        bundle.read("labels.txt")


def test_an_artifact_without_a_report_says_so_when_asked(tmp_path: Path) -> None:
    pack_sample(tmp_path / "m.edgecnn", members={})
    with open_bundle(tmp_path / "m.edgecnn") as bundle:
        bundle.verify()
        with pytest.raises(ArtifactRejected, match=r"no member 'report\.json'"):
            bundle.report()


def test_an_open_artifact_stays_itself_when_another_takes_its_place(artifact: Path) -> None:
    with open_bundle(artifact) as bundle:
        pack_sample(artifact, members={"golden/00.png": b"another"})
        assert bundle.read("golden/00.png") == b"not looked at here"
        bundle.verify()
    with open_bundle(artifact) as bundle:
        assert bundle.read("golden/00.png") == b"another"


def test_a_file_that_shrinks_while_it_is_open_is_noticed(artifact: Path) -> None:
    with open_bundle(artifact) as bundle:
        os.truncate(artifact, 2000)
        with pytest.raises(ArtifactRejected, match="cut short"):
            bundle.verify()


def test_a_large_artifact_opens_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.edgecnn"
    pack_sample(path, members={"golden/inputs.npy": bytes(60_000_000)})
    tracemalloc.start()
    try:
        with open_bundle(path) as bundle:
            bundle.read("model.onnx")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_opening_and_reading_needs_nothing_outside_the_standard_library(artifact: Path) -> None:
    script = (
        "import sys\n"
        "from edgecnn.artifact.bundle import open_bundle\n"
        "with open_bundle(sys.argv[1]) as bundle: bundle.verify(); bundle.report()\n"
        "import edgecnn.artifact.pack\n"
        "outside = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - set(sys.argv[2].split(','))\n"
        "assert outside <= {'edgecnn', '__main__', '__mp_main__'}, outside\n"
    )
    start = "import sys; print(','.join({name.partition('.')[0] for name in sys.modules}))"
    before = subprocess.run([sys.executable, "-c", start], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([sys.executable, "-c", script, str(artifact), before], check=True)


def test_opening_loads_no_module_that_is_slow_to_import(artifact: Path) -> None:
    script = (
        "import sys\n"
        "from edgecnn.artifact.bundle import open_bundle\n"
        "with open_bundle(sys.argv[1]) as bundle: bundle.read('model.onnx')\n"
        "print(*({'zipfile', 'tempfile', 'shutil', 'random', 'numpy', 'onnx', 'asyncio'} & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n" + script, str(artifact)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == []


OTHERS = {
    "nothing": (b"", "is empty"),
    "a bare graph": (tiny_classifier(), r"bare ONNX graph, a \.edgecnn file was wanted; `edgecnn export"),
    "an .ort": (b"\x18\x00\x00\x00ORTM" + bytes(60), r"\.ort format"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), r"is no \.edgecnn file"),
    "a page": (b"<!DOCTYPE html><html></html>", r"is no \.edgecnn file"),
    "one byte": (b"P", r"is no \.edgecnn file"),
    "an empty ZIP": (b"PK\x05\x06" + bytes(18), r"is no \.edgecnn file"),
    "the start of a ZIP": (b"PK\x03\x04" + bytes(10), r"is no \.edgecnn file"),
    "zeros": (bytes(100_000), r"is no \.edgecnn file"),
}


@pytest.mark.parametrize(("data", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_another_file_is_told_what_it_is_in_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    with pytest.raises(ArtifactRejected, match=message) as caught:
        open_bundle(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_graph_with_any_start_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x3a\x00")
    with pytest.raises(ArtifactRejected, match=r"`edgecnn export net\.onnx -o net\.edgecnn` makes one"):
        open_bundle(tmp_path / "net.onnx")


def test_what_is_no_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="doesn't exist"):
        open_bundle(tmp_path / "absent.edgecnn")
    with pytest.raises(ArtifactRejected, match="a folder"):
        open_bundle(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactRejected, match="no regular file"):
        open_bundle(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputMissing):
        open_bundle(tmp_path / "file" / "x.edgecnn")
    with pytest.raises(InputMissing):
        open_bundle("nul\0byte")


def test_a_gigantic_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.edgecnn"
    with open(path, "wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(EdgecnnError, match="at most 1073741824 are allowed"):
        open_bundle(path)


def test_an_artifact_cut_anywhere_is_refused(artifact: Path) -> None:
    data = artifact.read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1, len(data) - 22]:
        artifact.write_bytes(data[:length])
        with pytest.raises(ArtifactRejected):
            open_bundle(artifact)

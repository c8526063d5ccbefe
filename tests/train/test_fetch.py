"""Data that is on no disk is fetched once, and only the promised bytes are taken."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgecnn.errors import DownloadFailed, InputMissing
from edgecnn.train.fetch import locate
from edgecnn.train.recipe import DataSource, RemoteFile


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}", folder
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def remote(base: str, name: str, data: bytes) -> RemoteFile:
    return RemoteFile(url=f"{base}/{name}", sha256=hashlib.sha256(data).hexdigest())


def test_one_file_is_fetched_and_then_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    base, folder = server
    (folder / "data.tar").write_bytes(b"pictures")
    source = DataSource(path="not-here", files=(remote(base, "data.tar", b"pictures"),))
    first = locate(source, folder=tmp_path)
    (folder / "data.tar").unlink()
    assert locate(source, folder=tmp_path) == first
    assert first.read_bytes() == b"pictures"
    assert first.name.endswith("data.tar")


def test_several_files_make_a_folder_with_their_names(server: tuple[str, Path], tmp_path: Path) -> None:
    base, folder = server
    for name in ("images.gz", "labels.gz"):
        (folder / name).write_bytes(name.encode())
    place = locate(DataSource(files=tuple(remote(base, name, name.encode()) for name in ("images.gz", "labels.gz"))), folder=tmp_path)
    assert sorted(path.name for path in place.iterdir()) == ["images.gz", "labels.gz"]


def test_a_path_that_exists_wins_over_the_network(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    source = DataSource(path="here", files=(RemoteFile(url="http://127.0.0.1:9/never", sha256="0" * 64),))
    assert locate(source, folder=tmp_path) == tmp_path / "here"


def test_other_bytes_than_promised_are_refused_and_not_kept(server: tuple[str, Path], tmp_path: Path, cache: Path) -> None:
    base, folder = server
    (folder / "data.tar").write_bytes(b"tampered")
    with pytest.raises(DownloadFailed, match="gave other bytes") as caught:
        locate(DataSource(files=(remote(base, "data.tar", b"pictures"),)), folder=tmp_path)
    assert caught.value.exit_code == 4
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_without_a_network_it_is_one_clear_sentence(tmp_path: Path) -> None:
    source = DataSource(files=(RemoteFile(url="http://127.0.0.1:9/data.tar", sha256="0" * 64),))
    with pytest.raises(DownloadFailed, match=r"^http://127\.0\.0\.1:9/data\.tar can't be fetched .* check the network"):
        locate(source, folder=tmp_path)


def test_a_file_that_the_server_lacks_is_named(server: tuple[str, Path], tmp_path: Path) -> None:
    base, _ = server
    with pytest.raises(DownloadFailed, match=r"gone\.tar can't be fetched \(404"):
        locate(DataSource(files=(remote(base, "gone.tar", b""),)), folder=tmp_path)


def test_a_missing_path_without_files_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="name them with --train"):
        locate(DataSource(path="nowhere"), folder=tmp_path)

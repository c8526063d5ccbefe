"""A file is whole or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from edgecnn.artifact.files import atomic_writer, read_whole, write_atomic
from edgecnn.errors import OutputNotWritable


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"one")
    write_atomic(str(tmp_path / "a.bin"), b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_it_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.bin", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")

    def write() -> None:
        with atomic_writer(tmp_path / "a.bin") as file:
            file.write(b"half of the new")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(("code", "message"), [(errno.ENOSPC, "disk is full"), (errno.EIO, "can't be written"), (errno.EROFS, "no permission")])
def test_a_failing_disk_leaves_the_old_file_and_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, message: str
) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    def write() -> None:
        with atomic_writer(tmp_path / "a.bin") as file:
            file.write(b"new")
            if step == "write":
                fail()

    if step != "write":
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputNotWritable, match=message):
        write()
    monkeypatch.undo()
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_system_that_can_not_flush_folders_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize(("made", "says"), [("file", "more than 3 bytes"), ("folder", "it is a folder"), ("pipe", "no regular file")])
def test_what_is_no_small_file_is_not_read(made: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    {"file": lambda: path.write_bytes(b"1234"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[made]()
    with pytest.raises(OSError, match=says):
        read_whole(path, 3)


@pytest.mark.parametrize("become", [b"", b"12", b"12345"])
def test_what_changes_while_it_is_read_is_not_taken(become: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fstat = tmp_path / "it", os.fstat
    path.write_bytes(b"123")

    def then(handle: int) -> os.stat_result:
        found = fstat(handle)
        path.write_bytes(become)
        return found

    monkeypatch.setattr(os, "fstat", then)
    with pytest.raises(OSError, match="changed while it was read"):
        read_whole(path, 10)


def test_a_small_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"123")
    assert read_whole(tmp_path / "it", 3) == b"123"
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "nul\0", 3)


def test_places_that_take_no_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="no folder"):
        write_atomic(tmp_path / "absent" / "a.bin", b"")
    with pytest.raises(OutputNotWritable, match="choose another name"):
        write_atomic(tmp_path, b"")
    with pytest.raises(OutputNotWritable, match="choose another name"):
        write_atomic(tmp_path / "file" / "a.bin", b"")


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputNotWritable, match="no regular file"):
        write_atomic(tmp_path / "pipe", b"")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

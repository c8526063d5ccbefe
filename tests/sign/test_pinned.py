"""What is read from a file that was hashed is what was hashed, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import ArtifactRejected, SignatureRejected
from edgecnn.sign import pinned
from edgecnn.sign.pinned import pin

BLOCK = 64


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "_BLOCK", BLOCK)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "x.edgecnn"


def pinned_file(path: Path) -> tuple[str, BinaryIO]:
    return pin(open(path, "rb"), "x")


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK, 10 * BLOCK + 7])
def test_it_reads_as_the_file_does(size: int, path: Path, small_blocks: None) -> None:
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    sha256, file = pinned_file(path)
    assert sha256 == hashlib.sha256(data).hexdigest()
    with file:
        assert file.read() == data
        for start in range(0, size + 2, 5):
            for length in (0, 1, 30, BLOCK, 3 * BLOCK, size + 1):
                file.seek(start)
                assert file.read(length) == data[start : start + length]
        file.seek(0, os.SEEK_END)
        assert file.tell() == size
        assert os.fstat(file.fileno()).st_size == size
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


@given(st.data())
def test_whatever_is_written_meanwhile_is_never_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Rewritten anywhere, cut or grown, again and again between reads."""
    path = tmp_path_factory.getbasetemp() / "rewritten"
    original = data.draw(st.binary(min_size=1, max_size=4 * BLOCK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pinned, "_BLOCK", BLOCK)
        path.write_bytes(original)
        _, file = pinned_file(path)
        changed = False
        with file:
            for _ in range(data.draw(st.integers(1, 6))):
                now = bytearray(original)
                place = data.draw(st.integers(0, len(original)))
                now[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
                with open(path, "r+b") as writer:  # the same file, not another in its place
                    writer.write(now)
                    writer.truncate()
                changed |= bytes(now) != original
                start, length = data.draw(st.integers(0, len(original))), data.draw(st.integers(0, len(original)))
                file.seek(start)
                found = original[start : start + length] if changed else None
                with contextlib.suppress(*[SignatureRejected] if changed else []):
                    found = file.read(length)
                assert found == original[start : start + length]


def test_a_changed_block_is_refused_and_the_others_are_read(path: Path, small_blocks: None) -> None:
    path.write_bytes(bytes(5 * BLOCK))
    _, file = pinned_file(path)
    with file, open(path, "r+b", buffering=0) as writer:
        os.pwrite(writer.fileno(), b"\1", 2 * BLOCK + 3)
        assert file.read(2 * BLOCK) == bytes(2 * BLOCK)
        with pytest.raises(SignatureRejected):
            file.read(1)
        file.seek(3 * BLOCK)
        assert file.read() == bytes(2 * BLOCK)


def test_a_large_file_takes_no_memory(path: Path) -> None:
    size = 100 << 20
    with open(path, "wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        with pinned_file(path)[1] as again:
            again.seek(size - 10)
            assert again.read() == bytes(10)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_one_larger_than_an_artifact_may_be_is_refused(path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "MAX_FILE_BYTES", 3 * BLOCK)
    path.write_bytes(bytes(3 * BLOCK))
    pinned_file(path)[1].close()
    path.write_bytes(bytes(3 * BLOCK + 1))
    with open(path, "rb") as file, pytest.raises(ArtifactRejected, match=f"x has more than {3 * BLOCK} bytes"):
        pin(file, "x")

"""Paths and frames out of a pipe, however its bytes come."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.device import stream
from edgecnn.device.stream import MAX_PATH_BYTES, Item, Read, frames, paths


def pipe(data: bytes, *sizes: int) -> Read:
    """Gives `data` in pieces of these sizes, then as much as is asked for."""
    left, pieces = memoryview(data), list(sizes)

    def read(count: int) -> bytes:
        nonlocal left
        take = min(count, pieces.pop(0) if pieces else count)
        given, left = left[:take], left[take:]
        return bytes(given)

    return read


def framed(*images: bytes) -> bytes:
    return b"".join(len(image).to_bytes(4, "big") + image for image in images)


def said(items: list[Item]) -> list[tuple[str, object]]:
    return [(name, str(source) if isinstance(source, Exception) else source) for name, source in items]


pieces = st.lists(st.integers(1, 7), max_size=40)


@given(st.lists(st.binary(min_size=1, max_size=20)), pieces)
def test_frames_come_whole_however_they_are_cut(images: list[bytes], sizes: list[int]) -> None:
    assert list(frames(pipe(framed(*images), *sizes))) == [Item(f"frame {at}", image) for at, image in enumerate(images, 1)]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1)), pieces, st.sampled_from(["\n", "\r\n"]))
def test_paths_come_whole_however_they_are_cut(names: list[str], sizes: list[int], end: str) -> None:
    names = [f"/nowhere/{name}" for name in names]
    data = "".join(name + end for name in names).encode()
    assert list(paths(pipe(data, *sizes))) == [Item(name, name) for name in names]
    assert list(paths(pipe(data.removesuffix(end.encode()), *sizes))) == [Item(name, name) for name in names]


def test_a_frame_of_nothing_is_said_and_the_next_one_follows() -> None:
    assert said(list(frames(pipe(framed(b"a", b"", b"b"))))) == [
        ("frame 1", b"a"),
        ("frame 2", "frame 2 has a length of 0; an encoded image was wanted."),
        ("frame 3", b"b"),
    ]


def test_a_frame_over_the_limit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_ENCODED_BYTES", 9)
    found = said(list(frames(pipe(framed(b"0123456789", b"b"), 6, 2))))
    assert found == [("frame 1", "frame 1 has 10 bytes, which no image of 64 megapixels does; it is passed over."), ("frame 2", b"b")]


@pytest.mark.parametrize(("data", "why"), [(b"\0\0", "within its length"), (framed(b"abc")[:-1], "after 2 of its 3 bytes")])
def test_a_last_frame_that_is_cut_short_is_said(data: bytes, why: str) -> None:
    (first, (name, told)) = said(list(frames(pipe(framed(b"a") + data))))
    assert first == ("frame 1", b"a")
    assert name == "frame 2"
    assert why in str(told)


def test_empty_lines_are_none_and_names_keep_their_bytes() -> None:
    assert [name for name, _ in paths(pipe(b"\n\n a b \n\r\n/nowhere/\xff.png"))] == [" a b ", os.fsdecode(b"/nowhere/\xff.png")]


@pytest.mark.parametrize("before", [b"", b"a\n"])
@pytest.mark.parametrize("length", [MAX_PATH_BYTES + 1, 5 * MAX_PATH_BYTES])
def test_a_line_without_end_is_said_once_and_kept_nowhere(before: bytes, length: int) -> None:
    found = said(list(paths(pipe(before + b"x" * length + b"\nb"))))
    assert [name for name, _ in found] == [*(["a"] if before else []), "a line", "b"]
    assert "longer than" in str(found[-2][1])
    assert len(list(paths(pipe(before + b"x" * length)))) == len(found) - 1


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_would_be_read_for_ever_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.png")
    assert said(list(paths(pipe(os.fsencode(tmp_path / "a.png"))))) == [(f"{tmp_path}/a.png", f"{tmp_path}/a.png is no file; an image was wanted.")]

"""Frames: what is no frame is refused before it takes memory, and silence is noticed."""

from __future__ import annotations

import ast
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.remote import wire
from edgecnn.remote.connection import SENT
from edgecnn.remote.wire import Broken, Lost, Reader, Writer


def reader(*parts: bytes) -> Reader:
    left: Iterator[bytes] = iter(parts)
    return Reader(lambda size: next(left, b""))


def test_frames_are_read_however_they_are_cut() -> None:
    sent: list[bytes] = []
    writer = Writer(sent.append)
    writer.frame(b"k")
    writer.frame(b"o", b"hello")
    writer.frame(b"k")
    writer.json(b"x", 3)
    whole = b"".join(sent)
    for step in (1, 3, len(whole)):
        found = reader(*(whole[i : i + step] for i in range(0, len(whole), step)))
        assert [found.frame(), found.frame()] == [(b"o", b"hello"), (b"x", b"3")]
        with pytest.raises(Lost):
            found.frame()


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_needs_the_standard_library_and_the_rest_of_it_alone(name: str) -> None:
    """On the device there may be no edgecnn, or another."""
    tree = ast.parse((Path(wire.__file__).parent / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 10))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("edgecnn"):
            sent = {"edgecnn.remote", *(f"edgecnn.remote.{other}" for other in SENT)}
            named = {alias.name for alias in node.names}
            assert node.module in sent or (node.module, named) == ("edgecnn", {"__version__"})
            assert node.module != "edgecnn.remote" or named <= set(SENT)
            # each finds those before it
            top = node in tree.body
            assert not top or all(SENT.index(part) < SENT.index(name) for part in named & set(SENT))


def test_a_length_that_is_too_large_is_refused_at_once() -> None:
    with pytest.raises(Broken):
        reader(struct.pack(">cI", b"o", wire.MOST_FRAME + 1)).frame()


def test_what_a_login_prints_is_passed_over_within_bounds() -> None:
    found = reader(b"Welcome!\n", b"motd" + wire.MAGIC[:3], wire.MAGIC[3:] + struct.pack(">cI", b"h", 2) + b"{}")
    assert found.until(wire.MAGIC, 100) == b"Welcome!\nmotd"
    assert found.frame() == (b"h", b"{}")
    with pytest.raises(Broken):
        reader(*[b"y" * 4096] * 100).until(wire.MAGIC, 1 << 16)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(Broken):
        wire.parsed(content)


def test_silence_is_noticed_and_signs_of_life_are_not_taken_for_it() -> None:
    out, into = os.pipe()
    silent = threading.Event()
    there = Reader(lambda size: os.read(out, size))

    def listen() -> None:
        with pytest.raises(Lost):
            there.frame()

    threading.Thread(target=listen, daemon=True).start()
    over = wire.watch(there, Writer(lambda data: wire.write_all(into, data)), 2.0, silent.set)
    time.sleep(2.5)
    assert not silent.is_set()  # it hears itself
    over.set()
    os.close(into)
    # one that isn't read from isn't silent, though nothing comes: a pager may keep the reader from it
    unread = Reader(lambda size: os.read(out, size))
    idle = wire.watch(unread, Writer(lambda data: None), 0.2, silent.set)
    time.sleep(0.5)
    assert not silent.is_set()
    idle.set()
    out, into = os.pipe()
    quiet = wire.watch(there := Reader(lambda size: os.read(out, size)), Writer(lambda data: None), 0.2, silent.set)
    threading.Thread(target=listen, daemon=True).start()
    assert silent.wait(10)
    quiet.set()
    os.close(into)

"""The one layout, and the names that it allows."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.ziplayout import MANIFEST, MAX_MEMBERS, MODEL, Entry, canonical_order, directory, name_fault, read_directory

GOOD = (MANIFEST, MODEL, "golden/00.png", "golden/inputs.npy", "report.json")


def test_good_names_pass() -> None:
    assert name_fault(GOOD) is None
    assert name_fault((MANIFEST, MODEL)) is None
    assert name_fault((MANIFEST, MODEL, "_a-b.c", "a/b/c/d", "x" * 100)) is None


NAMES = [
    "../x",
    "/x",
    "x/",
    "a//b",
    "a/../b",
    "a/./b",
    ".x",
    "a/.x",
    "C:\\x",
    "a\\b",
    "a\0b",
    "Report.json",
    "a b",
    "ä",
    "",
    "x" * 101,
    "a..b",
    "con:",
    "a\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_bad_names_do_not(name: str) -> None:
    fault = name_fault((MANIFEST, MODEL, name))
    assert fault is not None
    assert fault.isprintable()


FAULTS = {
    "no manifest": ((MODEL,), "no member 'manifest.json'"),
    "no model": ((MANIFEST,), "no member 'model.onnx'"),
    "a name twice": ((MANIFEST, MODEL, "a", "a"), "two members named 'a'"),
    "a file that is also a folder": ((MANIFEST, MODEL, "a", "a/b/c"), "both a member 'a' and one inside it"),
    "the model first": ((MODEL, MANIFEST), "another order"),
    "the rest unsorted": ((MANIFEST, MODEL, "b", "a"), "another order"),
    "too many": (tuple(canonical_order([MANIFEST, MODEL, *map(str, range(MAX_MEMBERS - 1))])), "65 members"),
}


@pytest.mark.parametrize(("names", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_names_that_do_not_belong_together(names: tuple[str, ...], message: str) -> None:
    assert message in (name_fault(names) or "")


@given(st.permutations(GOOD))
def test_there_is_one_order(names: list[str]) -> None:
    assert canonical_order(names) == GOOD


entries = st.lists(
    st.builds(
        Entry,
        name=st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True),
        size=st.integers(0, 2**32 - 1),
        crc=st.integers(0, 2**32 - 1),
        offset=st.integers(0, 2**32 - 1),
    ),
    max_size=5,
)


@given(entries)
def test_a_directory_reads_as_it_was_written(found: list[Entry]) -> None:
    assert read_directory(directory(found), len(found)) == tuple(found)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_are_a_directory_or_refused(data: bytes, count: int) -> None:
    try:
        found = read_directory(data, count)
    except ValueError:
        return
    assert len(found) == count


def test_it_is_the_layout_that_zipfile_writes_for_stored_members() -> None:
    """An independent writer, told the same facts, writes the same bytes."""
    from edgecnn.artifact.pack import canonical_zip

    members = {MANIFEST: b"{}", MODEL: b"graph" * 100, "report.json": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)
    assert b"".join(canonical_zip(members)) == buffer.getvalue()

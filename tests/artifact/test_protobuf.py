"""The wire format: what protobuf writes is read as it was meant, and nothing runs away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact import protobuf
from edgecnn.artifact.protobuf import BYTES, FIXED32, VARINT, Wire, signed, tags
from edgecnn.errors import GraphRejected


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


NAMES = {**tags(VARINT, number=1), **tags(BYTES, text=2), **tags(FIXED32, fixed=3)}


def fields(data: bytes) -> list[tuple[str, int, int]]:
    wire = Wire(data)
    return list(wire.fields(wire.whole, NAMES))


@given(st.integers(0, (1 << 64) - 1))
def test_every_64_bit_number_is_read(value: int) -> None:
    assert fields(b"\x08" + varint(value)) == [("number", value, 0)]


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_negative_numbers_come_back(value: int) -> None:
    assert signed(value & (1 << 64) - 1) == value


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=30))
def test_packed_numbers_are_read_and_counted(values: list[int]) -> None:
    data = b"".join(map(varint, values))
    wire = Wire(data)
    assert list(wire.varints(0, len(data))) == values
    assert wire.count_varints(0, len(data)) == len(values)


def test_a_known_field_of_another_wire_type_is_skipped_as_protobuf_does() -> None:
    data = b"\x0a\x01x" + b"\x08\x05" + b"\x1d\0\0\0\0" + b"\x12\x02hi" + b"\xf8\x07\x01"
    assert fields(data) == [("number", 5, 0), ("fixed", 6, 0), ("text", 12, 14)]


BROKEN = {
    "a tag without a value": b"\x08",
    "a number that never ends": b"\x08" + b"\xff" * 12,
    "a number over 64 bits": b"\x08" + b"\xff" * 9 + b"\x02",
    "a length past the end": b"\x12\x05abc",
    "a length of 2^63": b"\x12" + varint(1 << 63),
    "a fixed number cut short": b"\x1d\0\0",
    "a group": b"\x0b",
    "an unknown wire type": b"\x0e",
    "field number 0": b"\x00\x01",
    "a field number over 2^29": varint(1 << 35) + b"\x01",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_breaks_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(GraphRejected):
        fields(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = fields(data)
    except GraphRejected:
        return
    assert all(0 <= first <= end <= len(data) for name, first, end in found if name == "text")


def test_the_number_of_fields_is_bounded() -> None:
    assert len(fields(b"\x08\x01" * protobuf.MAX_FIELDS)) == protobuf.MAX_FIELDS
    with pytest.raises(GraphRejected, match="more than"):
        fields(b"\x08\x01" * (protobuf.MAX_FIELDS + 1))
    wire = Wire(b"\x01" * (protobuf.MAX_FIELDS + 1))
    with pytest.raises(GraphRejected, match="more than"):
        list(wire.varints(*wire.whole))


def test_the_text_that_is_kept_is_bounded() -> None:
    wire = Wire(b"x" * (protobuf.MAX_TEXT_BYTES + 1))
    with pytest.raises(GraphRejected, match="names and texts"):
        wire.text(*wire.whole)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\0b", "a\u202eb"])
def test_a_name_that_could_forge_what_a_terminal_shows_is_refused(name: str) -> None:
    wire = Wire(name.encode())
    with pytest.raises(GraphRejected, match="can't be printed"):
        wire.name(*wire.whole)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(GraphRejected, match="UTF-8"):
        Wire(b"\xff\xfe").name(0, 2)


def test_a_name_has_a_bound_of_its_own() -> None:
    longest = b"n" * protobuf.MAX_NAME_BYTES
    assert Wire(longest).name(0, len(longest)) == longest.decode()
    with pytest.raises(GraphRejected, match=r"has 2001 bytes, at most 2000 are read; rename it"):
        Wire(longest + b"n").name(0, len(longest) + 1)

"""The protobuf wire format, read with bounds: nothing here knows ONNX.

https://protobuf.dev/programming-guides/encoding/ . A hostile file costs no more than the limits below: they bound how many fields are
looked at and how much text is kept, and skipped data is never copied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from edgecnn.errors import GraphRejected

MAX_FIELDS = 200_000
MAX_TEXT_BYTES = 4_000_000
MAX_NAME_BYTES = 2_000

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Span = tuple[int, int]
"""Where a length-delimited value lies: its first byte and the byte after its last."""

_COUNT_CHUNK = 1 << 20
_CONTINUED = bytes(range(0x80, 0x100))


class Wire:
    """One protobuf message in memory, and what may still be spent on reading it."""

    __slots__ = ("data", "fields_left", "text_left")

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self.fields_left = MAX_FIELDS
        self.text_left = MAX_TEXT_BYTES

    @property
    def whole(self) -> Span:
        return 0, len(self.data)

    def fields(self, span: Span, names: Mapping[int, str]) -> Iterator[tuple[str, int, int]]:
        """The fields of the message at `span` that `names` knows (made by `tags`): (name, number, 0), or (name, first, end) for bytes.

        A field that arrives in another wire type than it should is an unknown one and skipped, as protobuf itself does. Fixed-width
        numbers are given as their position. Raises GraphRejected.
        """
        position, end = span
        while position < end:
            self.spend()
            tag, position = self.varint(position, end)
            if not 8 <= tag < 1 << 32:
                raise GraphRejected(f"a field before byte {position} has a number that protobuf forbids")
            kind = tag & 7
            if kind == VARINT:
                value, position = self.varint(position, end)
                if tag in names:
                    yield names[tag], value, 0
                continue
            if kind == BYTES:
                length, position = self.varint(position, end)
            elif kind in (FIXED32, FIXED64):
                length = 4 if kind == FIXED32 else 8
            else:
                raise GraphRejected(f"the field before byte {position} is of no kind that ONNX uses")
            first, position = position, position + length
            if position > end:
                raise GraphRejected(f"it is cut short: a field at byte {first} wants {length} bytes, {end - first} are there")
            if tag in names:
                yield names[tag], first, position if kind == BYTES else 0

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """(the unsigned 64-bit number at `position`, the position after it)."""
        if position < end and (value := self.data[position]) < 0x80:
            return value, position + 1
        value = shift = 0
        for at in range(position, min(end, position + 10)):
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at + 1
            shift += 7
        raise GraphRejected(f"the number at byte {position} is cut short or longer than 64 bits")

    def spend(self, fields: int = 1) -> None:
        """Take `fields` off the budget. Raises GraphRejected when it is used up."""
        self.fields_left -= fields
        if self.fields_left < 0:
            raise GraphRejected(f"it has more than {MAX_FIELDS} fields; no convolutional classifier needs so many")

    def raw(self, first: int, end: int) -> bytes:
        """A copy of a span, taken off the budget for text. Raises GraphRejected when that is used up."""
        self.text_left -= end - first
        if self.text_left < 0:
            raise GraphRejected(f"its names and texts take more than {MAX_TEXT_BYTES} bytes")
        return bytes(self.data[first:end])

    def text(self, first: int, end: int) -> str:
        """A span as text. Raises GraphRejected where it isn't UTF-8."""
        try:
            return self.raw(first, end).decode()
        except UnicodeDecodeError:
            raise GraphRejected(f"the text at byte {first} isn't UTF-8") from None

    def name(self, first: int, end: int) -> str:
        """A span as a name: text of bounded length without control characters, which could forge what a terminal shows. Raises GraphRejected."""
        if end - first > MAX_NAME_BYTES:
            raise GraphRejected(f"the name at byte {first} has {end - first} bytes, at most {MAX_NAME_BYTES} are read; rename it")
        text = self.text(first, end)
        if not text.isprintable():
            raise GraphRejected(f"the name {text[:40]!r} holds characters that can't be printed; rename it")
        return text

    def varints(self, first: int, end: int) -> Iterator[int]:
        """The numbers of a packed field, unsigned."""
        while first < end:
            self.spend()
            value, first = self.varint(first, end)
            yield value

    def floats(self, first: int, end: int) -> tuple[float, ...]:
        """The float32 numbers of a packed field."""
        count, rest = divmod(end - first, 4)
        if rest:
            raise GraphRejected(f"the list of numbers at byte {first} is cut short")
        self.spend(count)
        return struct.unpack_from(f"<{count}f", self.data, first)

    def count_varints(self, first: int, end: int) -> int:
        """How many numbers a packed field holds, without reading them."""
        chunks = (bytes(self.data[at : min(at + _COUNT_CHUNK, end)]) for at in range(first, end, _COUNT_CHUNK))
        return sum(len(chunk.translate(None, _CONTINUED)) for chunk in chunks)


def tags(wire_type: int, **numbers: int) -> dict[int, str]:
    """Field numbers by name, as the tags (`number << 3 | wire type`) that stand before them on the wire."""
    return {number << 3 | wire_type: name for name, number in numbers.items()}


def signed(value: int) -> int:
    """An unsigned 64-bit number as the int64 that it encodes."""
    return value - (1 << 64) if value >> 63 else value

"""Records to JSON and back, strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.codec import CodecError, canonical_json, decode, encode, strict_json, suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    kind: Literal["a", "b"]
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    ratio: float
    inner: Inner
    many: tuple[Inner, ...] = ()
    choice: str | int | float | bool | None = None
    maybe: Inner | None = None
    table: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ratio < 0:
            raise ValueError("ratio must not be negative")


numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, kind=st.sampled_from(["a", "b"]), size=st.tuples(st.integers(), st.integers()))
outers = st.builds(
    Outer,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    ratio=numbers.map(abs),
    inner=inners,
    many=st.lists(inners, max_size=3).map(tuple),
    choice=st.one_of(st.none(), st.booleans(), st.integers(), numbers, st.text(st.characters(exclude_categories=["Cs"]))),
    maybe=st.none() | inners,
    table=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), numbers),
)


@given(outers)
def test_what_is_written_comes_back_equal_and_in_equal_bytes(value: Outer) -> None:
    data = canonical_json(value)
    back = decode(Outer, strict_json(data))
    assert back == value
    assert type(back.choice) is type(value.choice)
    assert canonical_json(back) == data


def test_json_is_canonical() -> None:
    assert canonical_json({"b": 1, "a": "ü", "c": (1.0, None)}) == '{\n  "a": "ü",\n  "b": 1,\n  "c": [\n    1.0,\n    null\n  ]\n}\n'.encode()
    assert json.loads(canonical_json(Outer(name="x", ratio=1, inner=Inner(kind="a", size=(1, 2))))) == {
        "name": "x",
        "ratio": 1,
        "inner": {"kind": "a", "size": [1, 2]},
        "many": [],
        "table": {},
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_not_written(value: float) -> None:
    with pytest.raises(CodecError):
        canonical_json({"x": value})


def test_what_has_no_json_form_is_not_written() -> None:
    with pytest.raises(TypeError, match="bytes"):
        encode(b"x")


GOOD: dict[str, Any] = {"name": "x", "ratio": 0.5, "inner": {"kind": "a", "size": [1, 2]}}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number for a text": ({"name": 3}, r"document\.name: a text was wanted, 3"),
    "a text for a number": ({"ratio": "3"}, r"document\.ratio: a number was wanted, '3'"),
    "true for a number": ({"ratio": True}, "ratio"),
    "a fraction for a whole number": ({"inner": {"kind": "a", "size": [1, 2.5]}}, r"size\[1\]: a whole number was wanted, 2\.5"),
    "an unknown word": ({"inner": {"kind": "c", "size": [1, 2]}}, "'c' is none of a, b"),
    "too few values": ({"inner": {"kind": "a", "size": [1]}}, "2 values were wanted, 1 were found"),
    "a text for a list": ({"many": "ab"}, "a list was wanted"),
    "a list for a table": ({"inner": []}, "a table was wanted"),
    "null": ({"name": None}, "a text was wanted, None"),
    "infinity": ({"ratio": math.inf}, "no finite number"),
    "a huge whole number for a float": ({"ratio": 10**400}, "too large"),
    "what the record itself refuses": ({"ratio": -1.0}, "ratio must not be negative"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_values_that_do_not_fit_are_refused_with_their_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode(Outer, {**GOOD, **change})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(CodecError, match="recipe: name is missing"):
        decode(Outer, {key: value for key, value in GOOD.items() if key != "name"}, where="recipe")


def test_unknown_fields_are_ignored_or_refused_with_a_guess() -> None:
    extended = {**GOOD, "ration": 3}
    assert decode(Outer, extended) == decode(Outer, GOOD)
    with pytest.raises(CodecError, match="did you mean ratio"):
        decode(Outer, extended, unknown="refuse")


def test_whole_numbers_do_for_floats_only() -> None:
    found = decode(Outer, {**GOOD, "ratio": 2, "choice": 2})
    assert isinstance(found.ratio, float)
    assert isinstance(found.choice, int)


NOT_STRICT = {
    "duplicate keys": (b'{"a": 1, "b": 2, "a": 1}', "^a: .*twice"),
    "duplicate keys deep inside": (b'[{"x": {"k": 1, "k": 2}}]', "^k: .*twice"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "infinity": (b'{"a": -Infinity}', "-Infinity"),
    "a comma too many": (b"[1,]", "no JSON"),
    "two documents": (b"{} {}", "no JSON"),
    "another encoding": ('{"a": "ü"}'.encode("latin-1"), "no JSON"),
    "nothing": (b"", "no JSON"),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "20,000 levels": (b"[" * 20_000 + b"]" * 20_000, "nested too deeply"),
    "too many values": (b"[" + b"0," * 150_001 + b"0]", "more than 150000 values"),
}


@pytest.mark.parametrize(("data", "message"), NOT_STRICT.values(), ids=NOT_STRICT.keys())
def test_json_that_others_read_leniently_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        strict_json(data)


def test_a_duplicate_among_many_keys_is_found_at_once() -> None:
    keys = ",".join(f'"{i}":0' for i in range(100_000))
    with pytest.raises(CodecError, match="99999"):
        strict_json(f'{{{keys},"99999":1}}'.encode())


@given(st.binary(max_size=100))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        value = strict_json(data)
    except CodecError:
        return
    assert json.loads(data) == value


def test_suggestions() -> None:
    assert suggestion("widht", ["width", "height"]) == ", did you mean width?"
    assert suggestion("colour", ["width", "height"]) == ""

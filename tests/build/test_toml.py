"""What is written is what tomllib reads."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.build.toml import to_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
values = st.recursive(
    scalars | st.lists(scalars, max_size=4), lambda inner: st.dictionaries(texts, inner, max_size=4) | st.lists(scalars, max_size=3), max_leaves=12
)


@given(st.dictionaries(texts, values, max_size=5))
def test_whatever_is_written_is_read_back_equal(table):
    assert tomllib.loads(to_toml(table)) == table


@pytest.mark.parametrize("text", ['"', "\\", "\x00", "\x7f", "\r\n", "'''", '"""', "a = 1", "[b]", "#", "\u2028", "\U0001f600", ""])
def test_texts_that_look_like_toml_stay_texts(text):
    assert tomllib.loads(to_toml({text: text, "list": [text], "table": {text: {text: text}}})) == {
        text: text,
        "list": [text],
        "table": {text: {text: text}},
    }


def test_numbers_keep_their_kind():
    read = tomllib.loads(to_toml({"a": 1, "b": 1.0, "c": 1e-05, "d": 1e300, "e": True, "f": -0.0}))
    assert [type(value) for value in read.values()] == [int, float, float, float, bool, float]
    assert math.copysign(1, read["f"]) == -1


@pytest.mark.parametrize("value", [None, {"a": None}, [None], [{"a": 1}], object(), b"x"])
def test_what_has_no_place_is_refused(value):
    with pytest.raises(TypeError, match="no place in TOML"):
        to_toml({"key": value})


def test_a_text_that_utf_8_cannot_hold_is_refused():
    with pytest.raises(UnicodeEncodeError):
        to_toml({"key": "\ud800"})

"""A quantizer's options, read from its source, and values for them as people write them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.build import quantize
from edgecnn.build.quantize._options import Option, as_scalars, complete, declared
from edgecnn.errors import UsageError

OPTIONS = (
    Option(name="equalize", kind="bool", default=False),
    Option(name="ranges", kind="choice", default="minmax", choices=("minmax", "mse")),
    Option(name="percentile", kind="float", default=99.9),
    Option(name="steps", kind="int", default=0),
    Option(name="keep_float", kind="names", default=()),
)
DEFAULTS = {"equalize": False, "ranges": "minmax", "percentile": 99.9, "steps": 0, "keep_float": ()}


@pytest.mark.parametrize("name", quantize.names())
def test_what_is_declared_is_the_signature(name):
    module: Any = quantize._module(name)
    parameters = [value for value in inspect.signature(module.quantize).parameters.values() if value.kind is value.KEYWORD_ONLY]
    assert [(option.name, option.default) for option in quantize.options(name)] == [(value.name, value.default) for value in parameters]
    assert {option.kind for option in quantize.options(name)} <= {"bool", "int", "float", "choice", "names"}


def test_each_kind_of_annotation_is_known(tmp_path: Path) -> None:
    source = tmp_path / "quantizer.py"
    source.write_text(
        "import nothing_that_exists\n"
        "def helper(*, not_an_option=1): ...\n"
        "def quantize(model, calibration=None, *, equalize: bool = False, ranges: Literal['minmax', 'mse'] = 'minmax',\n"
        "             percentile: float = 99.9, steps: int = 0, keep_float: tuple[str, ...] = ()): ...\n"
    )
    assert declared(source) == OPTIONS


@pytest.mark.parametrize(
    ("given_as", "value"),
    [
        ({"equalize": "true"}, {"equalize": True}),
        ({"equalize": " False "}, {"equalize": False}),
        ({"equalize": True}, {"equalize": True}),
        ({"ranges": "mse"}, {"ranges": "mse"}),
        ({"percentile": "99"}, {"percentile": 99.0}),
        ({"percentile": 98}, {"percentile": 98.0}),
        ({"steps": "300"}, {"steps": 300}),
        ({"steps": 300.0}, {"steps": 300}),
        ({"keep_float": "a, b,a"}, {"keep_float": ("a", "b")}),
        ({"keep_float": ["a", "b"]}, {"keep_float": ("a", "b")}),
        ({"keep_float": ""}, {"keep_float": ()}),
        ({"keep_float": ()}, {"keep_float": ()}),
        ({}, {}),
    ],
)
def test_values_are_taken_as_they_are_or_as_text(given_as, value):
    found = complete("int8", OPTIONS, given_as)
    assert found == {**DEFAULTS, **value}
    assert {name: type(entry) for name, entry in found.items()} == {name: type(entry) for name, entry in DEFAULTS.items()}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"equalise": True}, "int8 has no option equalise, did you mean equalize?; there are equalize, ranges, percentile, steps, keep_float."),
        ({"equalize": "yes"}, "equalize is 'yes'; true|false was wanted."),
        ({"equalize": 1}, "equalize is 1; true|false was wanted."),
        ({"ranges": "mze"}, "ranges is 'mze', did you mean mse?; minmax|mse was wanted."),
        ({"ranges": None}, "ranges is None; minmax|mse was wanted."),
        ({"percentile": "nan"}, "percentile is 'nan'; NUMBER was wanted."),
        ({"percentile": True}, "percentile is True; NUMBER was wanted."),
        ({"percentile": []}, r"percentile is \[\]; NUMBER was wanted."),
        ({"steps": "1.5"}, "steps is '1.5'; NUMBER was wanted."),
        ({"steps": "1e400"}, "steps is '1e400'; NUMBER was wanted."),
        ({"keep_float": "a,,b"}, "keep_float is 'a,,b'; NAME,NAME,... was wanted."),
        ({"keep_float": ["a", 3]}, r"keep_float is \['a', 3\]; NAME,NAME,... was wanted."),
        ({"keep_float": 3}, "keep_float is 3; NAME,NAME,... was wanted."),
    ],
)
def test_a_bad_value_is_told_with_what_was_wanted(bad, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?").replace("|", r"\|")):
        complete("int8", OPTIONS, bad)


def test_a_quantizer_without_options_says_so():
    with pytest.raises(UsageError, match="fp16 has no option ranges; it has none"):
        complete("fp16", (), {"ranges": "mse"})


values = st.fixed_dictionaries(
    {
        "equalize": st.booleans(),
        "ranges": st.sampled_from(["minmax", "mse"]),
        "percentile": st.floats(-1e300, 1e300),
        "steps": st.integers(-(10**9), 10**9),
        "keep_float": st.lists(st.text("abc/._0", min_size=1), unique=True).map(tuple),
    }
)


@given(values)
def test_what_a_record_keeps_gives_the_values_again(given_values):
    kept = as_scalars(given_values)
    assert all(isinstance(value, (str, bool, int, float)) for value in kept.values())
    assert complete("int8", OPTIONS, kept) == given_values
    assert complete("int8", OPTIONS, {name: str(value) for name, value in kept.items()}) == given_values


anything = st.one_of(st.text(max_size=8), st.floats(), st.booleans(), st.none(), st.lists(st.none()))


@given(st.dictionaries(st.sampled_from([*DEFAULTS, "other"]), anything))
def test_anything_is_taken_or_refused_in_one_sentence(whatever):
    said = "."
    try:
        assert complete("int8", OPTIONS, whatever).keys() == DEFAULTS.keys()
    except UsageError as error:
        said = str(error)
    assert said.endswith(".")


def test_defaults_are_shown_as_they_are_written():
    assert [option.shown for option in OPTIONS] == ["false", "minmax", "99.9", "0", ""]
    assert [option.values for option in OPTIONS] == ["true|false", "minmax|mse", "NUMBER", "NUMBER", "NAME,NAME,..."]

"""Ticks are round and cover the values, and every value lies on its axis."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.report.charts import Axis, axis, path, tick_text

values = st.lists(st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-9), min_size=1, max_size=20)


def texts(found: Axis) -> list[str]:
    return [text for _, text in found.ticks]


@pytest.mark.parametrize(
    ("given", "keywords", "wanted"),
    [
        ([0, 1], {}, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ([0, 1], {"percent": True, "ticks": 6}, ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
        ([3, 17], {}, ["0", "5", "10", "15", "20"]),
        ([3, 17], {"tight": True}, ["5", "10", "15"]),
        ([1, 3], {"tight": True, "whole": True, "ticks": 6}, ["1", "2", "3"]),
        ([1], {"tight": True, "whole": True}, ["1"]),
        ([0.5, 2], {"zero": True}, ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ([0], {"zero": True}, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ([-1234, 4321], {}, ["-2,000", "0", "2,000", "4,000", "6,000"]),
        ([2e-7, 0, 0.4], {"log": True, "ticks": 9}, ["1e-7", "1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]),
        ([2e-7, 0.4], {"log": True, "ticks": 5}, ["1e-7", "1e-5", "0.001", "0.1"]),
        ([0], {"log": True}, ["0.1", "1", "10"]),
    ],
)
def test_ticks_are_round(given: list[float], keywords: dict[str, bool], wanted: list[str]) -> None:
    assert texts(axis(given, **keywords)) == wanted  # type: ignore[arg-type]


@given(values, st.booleans(), st.booleans(), st.booleans(), st.integers(2, 9))
def test_every_value_lies_on_the_axis_and_in_its_order(found: list[float], zero: bool, tight: bool, whole: bool, ticks: int) -> None:
    made = axis(found, zero=zero, tight=tight, whole=whole, ticks=ticks)
    assert made.low < made.high
    assert made.low <= min(found) + 1e-6 * abs(min(found))
    assert made.high >= max(found) - 1e-6 * abs(max(found))
    assert len(made.ticks) <= ticks + 2
    assert tight or len(made.ticks) >= 2
    marks = [value for value, _ in made.ticks]
    assert marks == sorted(set(marks))
    assert len(set(texts(made))) == len(made.ticks), "two ticks say the same"
    placed = [made.at(value) for value in sorted(found)]
    assert placed == sorted(placed)
    assert all(0 <= place <= 1 for place in placed)
    assert not whole or all(mark == int(mark) for mark in marks)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=9))
def test_a_logarithmic_axis_reaches_from_power_to_power(found: list[float]) -> None:
    made = axis(found, log=True)
    assert made.low <= min(found) * (1 + 1e-6)
    assert made.high >= max(found) * (1 - 1e-6)
    assert all(math.log10(value) == pytest.approx(round(math.log10(value))) for value, _ in made.ticks)
    assert made.at(0) == 0


@pytest.mark.parametrize("found", [[], [math.nan], [1.0, math.inf], [-math.inf]])
@pytest.mark.parametrize("log", [False, True])
def test_what_has_no_place_is_refused(found: list[float], log: bool) -> None:
    with pytest.raises(ValueError, match="finite"):
        axis(found, log=log)
    with pytest.raises(ValueError, match="NaN"):
        axis([0, 1]).at(math.nan)


def test_a_tick_has_the_decimals_of_its_step_and_no_negative_zero() -> None:
    assert [tick_text(value, step) for value, step in ((0.125, 0.125), (2.5, 2.5), (-0.0, 0.1), (1e-9, 0.1), (3e12, 1e12))] == [
        "0.125",
        "2.5",
        "0.0",
        "0.0",
        "3e+12",
    ]


def test_a_path_goes_through_its_points_or_holds_each_level() -> None:
    made = axis([0, 2], tight=True)
    assert path([(0, 0), (1, 2), (2, 1)], made, made) == "M0 1000L500 0L1000 500"
    assert path([(0, 0), (1, 2), (2, 1)], made, made, stairs=True) == "M0 1000H500V0H1000V500"
    assert path([], made, made) == ""
    assert re.fullmatch(r"M[\d.]+ [\d.]+", path([(1, 1)], made, made))

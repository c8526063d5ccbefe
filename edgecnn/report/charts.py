"""The geometry of plots: where ticks stand and where values lie. templates/charts.html.j2 draws what this computes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FULL = 1000.0
"""Plots are drawn on a square of so many units, which the page stretches; text lies over it as HTML, so it keeps its size on a phone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """From values to places. low, high: the values at 0 and at 1; ticks: (value, its text), in ascending order."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Where `value` lies, 0 to 1; what is outside lies at the nearest end. Raises ValueError for NaN."""
        if math.isnan(value):
            raise ValueError("NaN has no place on an axis")
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        if self.log:
            value = math.log10(value) if value > 0 else low
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def x(self, value: float) -> float:
        """`at`, in the units of a plot, from the left."""
        return round(FULL * self.at(value), 2)

    def y(self, value: float) -> float:
        """`at`, in the units of a plot, from the top."""
        return round(FULL * (1 - self.at(value)), 2)


def axis(
    values: Iterable[float], *, log: bool = False, zero: bool = False, ticks: int = 5, tight: bool = False, whole: bool = False, percent: bool = False
) -> Axis:
    """An axis on which all `values` lie, its ticks at 1, 2, 2.5 or 5 times powers of ten (powers of ten where it is logarithmic).

    zero: it starts at 0; tight: it ends at the values rather than at ticks; whole: no tick has a fraction; percent: values are shares, and ticks
    say so. On a logarithmic one, what isn't positive lies at its low end.
    Raises ValueError for values that aren't finite, and for no values.
    """
    found = list(values)
    if not found or not all(abs(value) < 1e300 for value in found):  # NaN isn't either
        raise ValueError("an axis wants values, all of them finite")
    if log:
        return _logarithmic([value for value in found if value > 0] or [1.0], ticks)
    low, high = min(found), max(found)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if not high - low > 1e-300:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low and not zero else (low, low + 1.0)
    step = _nice((high - low) / max(1, ticks - 1))
    if whole:
        step = float(math.ceil(step - 1e-9))
    outside = (math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9))
    first, last = (math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)) if tight else outside
    marks = [number * step for number in range(first, last + 1)]
    ends = (low, high) if tight else (marks[0], marks[-1])
    texts = (f"{tick_text(100 * mark, 100 * step)} %" if percent else tick_text(mark, step) for mark in marks)
    return Axis(low=ends[0], high=ends[1], log=False, ticks=tuple(zip(marks, texts, strict=True)))


def _logarithmic(values: Sequence[float], ticks: int) -> Axis:
    first, last = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    stride = -(-(last - first) // max(1, ticks - 1))
    exponents = range(first, last + 1, stride)
    return Axis(low=10.0**first, high=10.0**last, log=True, ticks=tuple((10.0**e, f"{10.0**e:g}" if -3 <= e <= 4 else f"1e{e}") for e in exponents))


def _nice(step: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is no less than `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= step * (1 - 1e-9))


def tick_text(value: float, step: float) -> str:
    """`value` with as many decimals as its neighbours at `step` need, and with commas; 0 is never negative."""
    decimals = next((count for count in range(7) if abs(step * 10**count - round(step * 10**count)) < 1e-6 * step * 10**count), 7)
    if decimals > 6 or abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value if abs(value) > step / 2 else 0:,.{decimals}f}"


def path(points: Iterable[tuple[float, float]], x: Axis, y: Axis, *, stairs: bool = False) -> str:
    """The `d` of an SVG path through points in ascending order. stairs: each value holds until the next one's x, as a level in time does."""
    steps: list[str] = []
    last = None
    for across, up in points:
        here = (x.x(across), y.y(up))
        if last is None:
            steps.append(f"M{here[0]:g} {here[1]:g}")
        else:
            steps.append((f"H{here[0]:g}V{here[1]:g}") if stairs else f"L{here[0]:g} {here[1]:g}")
        last = here
    return "".join(steps)

"""What a search found, in sentences without their full stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecnn.build.search.records import ALIKE, FLOAT32, Goal, Measure, Trial
from edgecnn.device.statistics import images_needed, least_images


def too_few(count: int, goal: Goal) -> str | None:
    """Why `count` images can show nothing, whatever the answers; None where they can."""
    least = least_images(goal.max_drop)
    if count >= least:
        return None
    return f"inconclusive: {count:,} images can't tell {_points(goal)} apart, even if no answer changes; {two_digits_up(least):,} would"


def inconclusive(trials: Sequence[Trial], goal: Goal, measure: Measure) -> str:
    """What the cheapest of the judged trials leaves open; of several as cheap, the one that the fewest images would settle."""
    least = min(trial.cost(goal.objective) for trial in trials)
    needed = {trial.name: _needed(trial, goal) for trial in trials if trial.cost(goal.objective) <= ALIKE * least}
    first = min((trial for trial in trials if trial.name in needed), key=lambda trial: needed[trial.name])
    assert first.judged is not None
    images = needed[first.name]
    more = f"about {two_digits_up(int(images)):,} would" if images < math.inf else "and perhaps no number can, for just as much was lost"
    bare = "; they have no labels, so every changed decision counts as lost, and with labels fewer may do" if measure == "agreement" else ""
    return f"inconclusive: {first.judged.count:,} images can't tell {_points(goal)} apart, {more} ({changed(first)}){bare}"


def _needed(trial: Trial, goal: Goal) -> float:
    found = images_needed(trial.judged.difference, goal.max_drop) if trial.judged else None
    return math.inf if found is None else found


def _points(goal: Goal) -> str:
    return "1 point" if goal.max_drop == 1 else f"{goal.max_drop:g} points"


def changed(trial: Trial) -> str:
    """ "int8 changed by -0.20 points, 95 % interval -0.60 to +0.20"."""
    assert trial.judged is not None
    seen = trial.judged.difference
    return f"{trial.name} changed by {seen.points:+.2f} points, 95 % interval {seen.low:+.2f} to {seen.high:+.2f}"


def why(winner: Trial, goal: Goal) -> str:
    """Why a candidate that holds won."""
    more, like = ("smaller", "small") if goal.objective == "bytes" else ("faster", "fast")
    reason = f"nothing that is {more} holds {_points(goal)}, and of what is as {like} it is the least noisy that does"
    return f"{winner.name} won: {reason}; {_cost(winner, goal)}; {changed(winner)}"


def nothing_cheaper(trials: Sequence[Trial], goal: Goal) -> str:
    """Why float32 is kept, whatever the accuracy of the others."""
    others = sorted((trial for trial in trials if trial.candidate != FLOAT32), key=lambda trial: trial.cost(goal.objective))
    if goal.objective == "bytes":
        return f"float32 is kept: nothing else is smaller{f' ({others[0].name} has {others[0].bytes:,} bytes)' if others else ''}"
    return f"float32 is kept: nothing else is faster on this machine{f' (the nearest, {others[0].name}: {_cost(others[0], goal)})' if others else ''}"


def nothing_holds(trials: Sequence[Trial], goal: Goal) -> str:
    """Why float32 is kept, although the judged trials are cheaper."""
    cheaper = "smaller" if goal.objective == "bytes" else "faster"
    if not trials:
        return f"float32 is kept: nothing that is {cheaper} could be judged"
    nearest = max(trials, key=_lower_end)
    assert nearest.judged is not None
    kept = nearest.judged.agreeing / nearest.judged.count
    few = f", and {kept:.2%} of its decisions are the source network's, {goal.min_agreement:.2%} were wanted" if kept < goal.min_agreement else ""
    return f"float32 is kept: nothing that is {cheaper} holds {_points(goal)}; the nearest, {changed(nearest)}{few}"


def _lower_end(trial: Trial) -> float:
    return trial.judged.difference.low if trial.judged else -100.0


def _cost(trial: Trial, goal: Goal) -> str:
    if goal.objective == "bytes":
        return f"{trial.bytes:,} bytes"
    if trial.latency is None:
        return "not timed"
    return f"{trial.latency.ratio:.2f} of float32's time, 95 % interval {trial.latency.low:.2f} to {trial.latency.high:.2f}"


def two_digits_up(number: int) -> int:
    """A round number that is at least as large: 2,341 -> 2,400."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit

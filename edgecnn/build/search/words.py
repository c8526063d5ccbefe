"""What a search found, in sentences without their full stop."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.build.search.records import FLOAT32, Goal, Trial
from edgecnn.device.statistics import images_needed, least_images


def too_few(count: int, goal: Goal) -> str | None:
    """Why `count` images can show nothing, whatever the answers; None where they can."""
    least = least_images(goal.max_drop)
    if count >= least:
        return None
    return f"inconclusive: {count:,} images can't tell {goal.max_drop:g} points apart, even if no answer changes; {two_digits_up(least):,} would"


def inconclusive(trials: Sequence[Trial], goal: Goal) -> str:
    """What the one of the judged trials that is nearest to holding leaves open."""
    nearest = max(trials, key=_lower_end)
    assert nearest.judged is not None
    seen = nearest.judged.difference
    needed = images_needed(seen, goal.max_drop)
    more = f"about {two_digits_up(needed):,} would" if needed else "and no number may, for as much was lost"
    return f"inconclusive: {seen.count:,} images can't tell {goal.max_drop:g} points apart, {more} ({changed(nearest)})"


def changed(trial: Trial) -> str:
    """ "int8 changed by -0.20 points, 95 % interval -0.60 to +0.20"."""
    assert trial.judged is not None
    seen = trial.judged.difference
    return f"{trial.name} changed by {seen.points:+.2f} points, 95 % interval {seen.low:+.2f} to {seen.high:+.2f}"


def why(winner: Trial, goal: Goal) -> str:
    """Why a candidate that holds won."""
    more, like = ("smaller", "small") if goal.objective == "bytes" else ("faster", "fast")
    reason = f"nothing that is {more} holds {goal.max_drop:g} points, and of what is as {like} it is the least noisy that does"
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
    return f"float32 is kept: nothing that is {cheaper} holds {goal.max_drop:g} points; the nearest, {changed(nearest)}{few}"


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

"""`--quantize auto`: of all quantizers and their options, the fastest (or smallest) graph that keeps the accuracy.

Staged, so that it is cheap: first what is faster than float32 at all; then, of the fastest, the options that only change numbers, ranked by
their noise on the calibration images and judged in that order on the validation images until one holds; then the next fastest. Where none
of the fastest holds, the layers that hurt most go back to float one at a time.

Accuracy is compared on the same images through the source network and the graph. The interval that a verdict rests on is that of one comparison:
the more candidates fall short before one holds, the less its holding says. The ranking, which doesn't look at the validation images, keeps
them few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecnn.build.search.candidates import KEEPS_FLOAT, LAST_RESORTS, REFINEMENTS, last_resorts, refinements, schemes, takes
from edgecnn.build.search.lab import Lab, Task
from edgecnn.build.search.layers import most_sensitive
from edgecnn.build.search.records import FLOAT32, Candidate, Goal, Search
from edgecnn.build.search.speed import Race
from edgecnn.build.search.words import inconclusive, nothing_cheaper, nothing_holds, too_few, why
from edgecnn.errors import AccuracyFailed

__all__ = ["Search", "demand_enough", "search"]

TOGETHER = 4
"""Candidates that share a pass over the validation images."""

Tier = tuple[Candidate, ...]


def search(task: Task) -> Search:
    """The best way to quantize the task's graph under its goal.

    Raises AccuracyFailed where no candidate that could win holds and the images are too few to say that all fail; whatever reading the images
    raises; KeyboardInterrupt on Ctrl-C.
    """
    demand_enough(len(task.validation), task.goal)
    lab = Lab(task)
    wanted = schemes(batch=task.spec.batch)
    most = len(wanted) + sum(len(values) for name in REFINEMENTS for _, values in refinements(name))
    lab.plan.expect(make=most, time=len(wanted), rank=most, judge=most)
    made = lab.make(wanted)[1:]
    tiers = list(_tiers(lab, made, lab.time(made)))
    if not tiers:
        return _done(lab, FLOAT32, nothing_cheaper(lab.trials, task.goal))
    held, place = None, -1
    while held is None and place + 1 < len(tiers):
        place += 1
        held = _of_equals(lab, tiers[place], to_the_last=place == 0)
    dearer = tiers if held is None else tiers[:place]
    held = _with_layers_in_float(lab, dearer, than=held or FLOAT32) or held
    return _none_holds(lab) if held is None else _done(lab, held, why(lab.trial(held), task.goal))


def demand_enough(count: int, goal: Goal) -> None:
    """Raises AccuracyFailed where `count` validation images can't show that the goal holds, whatever the answers."""
    hopeless = too_few(count, goal)
    if hopeless:
        raise AccuracyFailed(f"{hopeless}; give as many with --validation, or a larger --max-drop. Nothing was written.")


def _done(lab: Lab, winner: Candidate, sentence: str) -> Search:
    notes = (*lab.notes, *lab.jury.notes)
    return Search(goal=lab.task.goal, measure=lab.jury.measure, trials=lab.trials, winner=winner, why=sentence, notes=notes)


def _tiers(lab: Lab, candidates: Sequence[Candidate], times: Race) -> Iterator[Tier]:
    """Those that beat float32 in what the goal wants, the best first; together those that can't be told apart in it."""
    left = sorted((candidate for candidate in candidates if lab.cheaper(candidate)), key=lab.cost)
    while left:
        first = left[0]
        if lab.task.goal.objective == "bytes":
            alike = [candidate for candidate in left if lab.cost(candidate) == lab.cost(first)]
        else:
            alike = [candidate for candidate in left if candidate is first or not times.slower(candidate.name, first.name)]
        yield tuple(alike)
        left = [candidate for candidate in left if candidate not in alike]


def _of_equals(lab: Lab, tier: Tier, *, to_the_last: bool) -> Candidate | None:
    """Of a tier's candidates, refined, the first in their ranking that holds."""
    ranked = _refined(lab, tier)
    lab.plan.expect(make=0, time=0, rank=0, judge=len(ranked))
    held = _first_that_holds(lab, ranked)
    training = getattr(lab.task.calibration, "training", None) is not None
    resorts = last_resorts(ranked[0].quantizer, training=training) if ranked and to_the_last else ()
    for option, value in resorts:
        if held is None:
            last = lab.make([ranked[0].with_option(option, value)])
            lab.lend_latency(ranked[0], last)
            held = _first_that_holds(lab, lab.rank(last))
    return held


def _refined(lab: Lab, tier: Tier) -> Tier:
    """The tier's candidates, and the best of them with one option more after the other, each kept where it lessens the noise; ranked."""
    found = lab.rank(tier)
    for option, values in refinements(found[0].quantizer) if found else ():
        new = lab.make([found[0].with_option(option, value) for value in values])
        lab.lend_latency(found[0], new)
        found = lab.rank((*found, *new))
    return found


def _first_that_holds(lab: Lab, ranked: Tier) -> Candidate | None:
    for start in range(0, len(ranked), TOGETHER):
        group = ranked[start : start + TOGETHER]
        lab.judge(group)
        held = next((candidate for candidate in group if lab.finding(candidate) == "holds" and lab.cheaper(candidate)), None)
        if held is not None:
            return held
    return None


def _with_layers_in_float(lab: Lab, tiers: Sequence[Tier], *, than: Candidate) -> Candidate | None:
    """The least noisy candidate of the first of the tiers that can have layers in float, with as few as hold; None where it is no better than
    `than` by then."""
    families = {candidate.quantizer for tier in tiers for candidate in tier if takes(candidate.quantizer, KEEPS_FLOAT)}
    resorts = {option for options in LAST_RESORTS.values() for option, _ in options}
    tried = [trial.candidate for trial in lab.trials if trial.candidate.quantizer in families and resorts.isdisjoint(trial.candidate.config)]
    ranked = lab.rank([candidate for candidate in tried if lab.finding(candidate) is not None])
    layers = most_sensitive(lab, ranked[0])[:-1] if ranked else ()  # with all of them it would be float32
    lab.plan.expect(make=len(layers), time=len(layers), rank=len(layers), judge=len(layers))
    for start in range(0, len(layers), TOGETHER):
        counts = range(start + 1, min(start + TOGETHER, len(layers)) + 1)
        steps = lab.make([ranked[0].with_option(KEEPS_FLOAT, layers[:count]) for count in counts])
        if not steps:
            continue
        lab.rank(steps)
        lab.judge(steps)
        held = next((step for step in steps if lab.finding(step) == "holds"), None)
        last = held or steps[-1]
        lab.time([last] if than is FLOAT32 else [last, than])
        better = lab.cheaper(last) and lab.cost(last) < lab.cost(than)
        if held is not None or not better:  # more layers in float won't make it better
            return held if better else None
    return None


def _none_holds(lab: Lab) -> Search:
    """float32 is kept where all that is cheaper lost too much; where some can't be told, nothing is."""
    goal = lab.task.goal
    cheaper = [trial for trial in lab.trials if trial.judged is not None and lab.cheaper(trial.candidate)]
    unclear = [trial for trial in cheaper if lab.finding(trial.candidate) == "inconclusive"]
    if unclear:
        raise AccuracyFailed(
            f"{inconclusive(unclear, goal, lab.jury.measure)}; give more with --validation, or a larger --max-drop. Nothing was written."
        )
    return _done(lab, FLOAT32, nothing_holds(cheaper, goal))

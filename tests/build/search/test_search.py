"""Which candidate wins, on facts that are made up: what each costs, how noisy it is and how many images it loses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import search as package
from edgecnn.build.quantize import Quantized
from edgecnn.build.search import candidates, lab, search
from edgecnn.build.search.lab import Task
from edgecnn.build.search.records import Goal, Judged
from edgecnn.build.search.speed import Race
from edgecnn.device.statistics import paired_difference
from edgecnn.errors import AccuracyFailed, SourceRejected, UsageError

COUNT = 5000
LAYERS = ("a", "b", "c", "d", "e", "f", "g")


@dataclass
class World:
    """ratio: times of float32; noise: dB; lost: images. Each by a candidate's name, then its quantizer's."""

    ratio: dict[str, float] = field(default_factory=lambda: {"float32": 1.0, "fp16": 1.0, "dynamic": 1.0, "int8": 0.5})
    decibels: dict[str, float] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=lambda: {"float32": 4000, "fp16": 2000, "dynamic": 3900, "int8": 1000})
    count: int = COUNT
    measure: str = "top-1"
    broken: frozenset[str] = frozenset()
    made: list[str] = field(default_factory=list)
    passes: list[list[str]] = field(default_factory=list)
    raced: list[list[str]] = field(default_factory=list)

    def of(self, table, name, default):
        return table.get(name, table.get(name.split()[0], default))


class Sized(bytes):
    """A graph's name, as long as the graph is said to be."""

    def __new__(cls, name, length):
        self = super().__new__(cls, name.encode())
        self.length = length
        return self

    def __len__(self):
        return self.length


@pytest.fixture
def world(monkeypatch):
    world = World()

    def quantize(name, model, calibration, **config):
        candidate = candidates.Candidate(quantizer=name, config=config)
        world.made.append(candidate.name)
        if candidate.name in world.broken:
            raise SourceRejected("it can't be done.")
        return Quantized(model=Sized(candidate.name, world.of(world.bytes, candidate.name, 1000)))

    def race(models, spec, x, *, threads, progress):
        world.raced.append(list(models))
        return Race(rounds={name: tuple(1e6 * world.of(world.ratio, name, 1.0) * (1 + 0.001 * (i % 3)) for i in range(15)) for name in models})

    class Jury:
        notes = ()

        def __init__(self, network, validation, spec):
            self.measure = world.measure

        def judge(self, models, progress):
            world.passes.append([str(bytes(model), "ascii") for model in models])
            return tuple(map(judged, world.passes[-1]))

    def judged(name):
        right = np.ones(world.count, dtype=bool)
        changed = right.copy()
        changed[: 0 if name == "float32" else world.of(world.lost, name, 0)] = False
        return Judged(correct=int(changed.sum()), agreeing=int(changed.sum()), difference=paired_difference(right, changed))

    def sqnr(reference, models, spec, calibration):
        return tuple(world.of(world.decibels, str(bytes(model), "ascii"), 20.0) for model in models)

    for name, value in {"quantize": quantize, "race": race, "Jury": Jury, "sqnr": sqnr, "_operators": lambda model: []}.items():
        monkeypatch.setattr(lab, name, value)
    monkeypatch.setattr(candidates, "takes", lambda quantizer, option: quantizer == "int8")
    monkeypatch.setattr(package, "takes", lambda quantizer, option: quantizer == "int8")
    monkeypatch.setattr(package, "most_sensitive", lambda lab, candidate: LAYERS)
    return world


def run(world, max_drop=0.5, **goal):
    task = Task(
        network=None,
        model=Sized("float32", world.bytes["float32"]),
        spec=make_spec(name="net", labels=("a", "b"), preprocess=Preprocess(size=(8, 8))),
        calibration=lambda: iter(()),
        calibration_images=300,
        validation=range(world.count),
        example=None,
        goal=Goal(max_drop=max_drop, **goal),
    )
    return search(task)


@pytest.fixture
def two_refinements(monkeypatch):
    """One more option of int8 to build upon the first."""
    monkeypatch.setitem(candidates.REFINEMENTS, "int8", (*candidates.REFINEMENTS["int8"], ("equalize", (False,))))


def test_the_least_noisy_of_the_fastest_wins(world, two_refinements):
    world.decibels = {"int8 ranges=mse": 25, "int8 ranges=mse equalize=false": 28}
    found = run(world)
    assert found.winner.name == "int8 ranges=mse equalize=false"
    assert found.why == (
        "int8 ranges=mse equalize=false won: nothing that is faster holds 0.5 points, and of what is as fast it is the least noisy that does; "
        "0.50 of float32's time, 95 % interval 0.50 to 0.50; "
        "int8 ranges=mse equalize=false changed by +0.00 points, 95 % interval -0.08 to +0.08"
    )
    assert found.trials[0].name == "float32"


def test_candidates_are_judged_in_their_ranking_until_one_holds_and_the_source_answers_in_the_first_pass(world):
    world.decibels = {"int8": 1, "int8 per_channel=false": 2, "int8 activation_type=int8": 27}
    first, second = "int8 activation_type=int8 ranges=mse", "int8 activation_type=int8 ranges=entropy"
    world.decibels |= {first: 30, second: 29, "int8 activation_type=int8 ranges=percentile": 28}
    world.lost = {first: 100}
    found = run(world)
    assert found.winner.name == second
    (judged,) = world.passes  # in one pass
    assert judged[:3] == ["float32", first, second]
    assert len(judged) == 1 + package.TOGETHER


def test_an_option_that_adds_noise_is_not_built_upon(world, two_refinements):
    world.decibels = {f"int8 ranges={method}": 3 for method in ("percentile", "entropy", "mse")}
    run(world)
    assert "int8 ranges=mse" in world.made
    assert "int8 equalize=false" in world.made
    assert not any("ranges=" in name and "equalize=false" in name for name in world.made)


def test_what_is_slower_by_more_than_noise_is_tried_only_after_the_fastest(world):
    world.ratio |= {"int8": 0.6, "int8 activation_type=int8": 0.5}
    world.lost = {"int8 activation_type=int8": 100}
    world.lost |= dict.fromkeys(refined("int8 activation_type=int8"), 100)
    found = run(world)
    assert found.winner.name == "int8"


def refined(base):
    return [f"{base} {options}" for options in ("ranges=percentile", "ranges=entropy", "ranges=mse", "rounding=adaptive")]


def test_float32_is_kept_at_once_where_nothing_is_faster(world):
    world.ratio["int8"] = 1.2
    found = run(world)
    assert found.winner.name == "float32"
    assert found.why == (
        "float32 is kept: nothing else is faster on this machine (the nearest, dynamic: 1.00 of float32's time, 95 % interval 1.00 to 1.00)"
    )
    assert world.passes == []
    assert len(world.made) == len(candidates.schemes(batch=1)) - 1


def test_float32_is_kept_where_all_that_is_faster_loses_too_much_and_the_nearest_is_named(world):
    world.lost = {"int8": 200, "int8 ranges=mse": 60}
    world.lost |= {f"int8 keep_float={n}": 60 for n in range(1, 7)}
    found = run(world)
    assert found.winner.name == "float32"
    assert found.why.startswith("float32 is kept: nothing that is faster holds 0.5 points; the nearest, int8")
    assert "changed by -1.20 points, 95 % interval -1.5" in found.why


def test_layers_go_back_to_float_one_at_a_time_until_it_holds(world):
    world.lost = {"int8": 100, "int8 keep_float=3": 0, "int8 keep_float=4": 0}
    found = run(world)
    assert found.winner.name == "int8 keep_float=3"
    assert found.winner.config["keep_float"] == ("a", "b", "c")
    assert found.winner.name in found.front


def test_layers_in_float_that_make_it_no_faster_than_float32_leave_float32(world):
    world.lost = {"int8": 100, "int8 keep_float=6": 0}
    world.ratio["int8 keep_float=4"] = 1.1
    found = run(world)
    assert found.winner.name == "float32"
    assert "int8 keep_float=5" not in world.made


def test_layers_in_float_are_weighed_against_a_slower_candidate_that_holds(world):
    world.lost = {"int8": 100, "int8 keep_float=2": 0}
    world.ratio |= {"dynamic": 0.8, "int8 keep_float=2": 0.6}
    assert run(world).winner.name == "int8 keep_float=2"
    world.ratio["int8 keep_float=2"] = 0.9
    world.made.clear()
    assert run(world).winner.name == "dynamic"


def test_adaptive_rounding_comes_last(world):
    world.lost = {"int8": 100, "int8 rounding=adaptive": 0}
    assert run(world).winner.name == "int8 rounding=adaptive"
    world.lost = {}
    world.made.clear()
    run(world)
    assert "int8 rounding=adaptive" not in world.made


def test_the_smallest_wins_where_bytes_are_wanted(world):
    world.ratio["int8"] = 3.0
    assert run(world, objective="bytes").winner.name == "int8"
    world.lost = {"int8": 200} | {f"int8 keep_float={n}": 200 for n in range(1, 7)}
    found = run(world, objective="bytes")
    assert found.winner.name == "fp16"
    assert found.why.startswith(
        "fp16 won: nothing that is smaller holds 0.5 points, and of what is as small it is the least noisy that does; 2,000 bytes"
    )


def test_layers_in_float_for_bytes_stop_where_half_precision_is_smaller(world):
    world.lost = {"int8": 200, "int8 keep_float=6": 0}
    world.bytes |= {f"int8 keep_float={n}": 1000 + 400 * n for n in range(1, 7)}
    assert run(world, objective="bytes").winner.name == "fp16"
    world.lost["int8 keep_float=2"] = 0
    world.made.clear()
    assert run(world, objective="bytes").winner.name == "int8 keep_float=2"


def test_too_few_images_to_tell_is_no_pass(world):
    world.count, world.lost = 1000, {"int8": 3} | {f"int8 keep_float={n}": 3 for n in range(1, 7)}
    with pytest.raises(
        AccuracyFailed, match=r"^inconclusive: 1,000 images can't tell 0\.5 points apart, about [\d,]+ would \(int8.* changed by -0\.30"
    ) as info:
        run(world)
    assert str(info.value).endswith("Nothing was written.")


def test_the_fastest_that_is_open_is_named_with_the_images_that_it_needs(world):
    world.count, world.lost = 1000, {"int8": 4, "int8 ranges=mse": 2, "dynamic": 1} | {f"int8 keep_float={n}": 3 for n in range(1, 8)}
    world.ratio["dynamic"] = 0.8
    with pytest.raises(AccuracyFailed, match=r"about ([\d,]+) would \(int8 ranges=mse changed by -0\.20 points") as info:
        run(world)
    assert "labels" not in str(info.value)
    world.measure = "agreement"
    with pytest.raises(AccuracyFailed, match="they have no labels, so every changed decision counts as lost"):
        run(world)


def test_so_few_images_that_none_could_tell_are_refused_before_any_work(world):
    world.count = 300
    with pytest.raises(AccuracyFailed, match=r"300 images can't tell 0\.5 points apart, even if no answer changes; 770 would"):
        run(world)
    assert world.made == []


def test_a_graph_that_keeps_too_few_decisions_fails_whatever_its_accuracy(world):
    world.lost = {"int8": 100} | {f"int8 keep_float={n}": 100 for n in range(1, 7)}
    assert run(world, max_drop=5).winner.quantizer == "int8"
    found = run(world, max_drop=5, min_agreement=0.99)
    assert found.winner.name == "float32"
    assert "98.00% of its decisions are the source network's, 99.00% were wanted" in found.why


def test_what_cannot_be_made_or_answers_nan_is_left_out_and_said(world):
    world.broken, world.decibels = frozenset({"int8"}), {"int8 per_channel=false": -np.inf}
    found = run(world)
    assert found.winner.name.startswith("int8 activation_type=int8")
    assert found.notes == (
        "int8 was left out: it can't be done",
        "int8 per_channel=false was left out: it answers NaN or infinity to a calibration image",
    )


@pytest.mark.parametrize("drop", [0, -1, 100, float("nan"), float("inf")])
def test_a_goal_that_means_nothing_is_refused(drop):
    with pytest.raises(UsageError, match="is no goal"):
        Goal(max_drop=drop)


def test_an_unknown_objective_is_refused():
    with pytest.raises(UsageError, match="no objective speed; give latency or bytes"):
        Goal(max_drop=1, objective="speed")

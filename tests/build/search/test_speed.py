"""Ratios round by round: what slows all alike cancels out, what slows one is seen."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.search import speed
from edgecnn.build.search.speed import Race, race
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.measure import Subject
from tests.fixtures.onnx_nets import COLORS, color_net

SPEC = make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16)))
X = np.zeros((1, 3, 16, 16), dtype=np.float32)


def test_a_machine_that_slows_down_does_not_change_the_ratio():
    slowdown = [1 + round_ / 3 for round_ in range(15)]
    found = Race(rounds={"float32": tuple(2e6 * s for s in slowdown), "int8": tuple(1e6 * s for s in slowdown)}).latency("int8", "float32")
    assert (found.ratio, found.low, found.high) == (0.5, 0.5, 0.5)
    assert found.faster
    assert found.rounds == 15


def test_what_is_as_fast_but_for_noise_is_not_faster_nor_slower():
    noise = np.random.default_rng(1).normal(1, 0.05, (2, 15))
    found = Race(rounds={"float32": tuple(noise[0]), "int8": tuple(noise[1])})
    assert not found.latency("int8", "float32").faster
    assert not found.slower("int8", "float32")


def test_two_percent_less_than_float32_is_not_worth_a_quantized_graph():
    rounds = {"float32": (1.0,) * 15, "a": (0.98,) * 15, "b": (0.96,) * 15}
    assert not Race(rounds=rounds).latency("a", "float32").faster
    assert Race(rounds=rounds).latency("b", "float32").faster


def test_two_percent_more_is_no_difference_to_choose_by():
    rounds = {"a": (1.0,) * 15, "b": (1.02,) * 15, "c": (1.05,) * 15}
    assert not Race(rounds=rounds).slower("b", "a")
    assert Race(rounds=rounds).slower("c", "a")


def test_too_few_rounds_tell_nothing():
    assert not Race(rounds={"float32": (2.0,) * 5, "int8": (1.0,) * 5}).latency("int8", "float32").faster


def test_each_round_has_a_burst_of_each_graph_and_starts_with_the_next_one(monkeypatch):
    orders = []

    def measure_all(subjects, *, progress, **limits):
        orders.append([subject.name for subject in subjects])
        for _ in subjects:
            progress(0.0)
        return [report(subject.name) for subject in subjects]

    monkeypatch.setattr(speed, "measure_all", measure_all)
    told = []
    found = race(dict.fromkeys("abc", color_net()), SPEC, X, progress=lambda done, total: told.append((done, total)))
    assert orders[:4] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    assert told[-1] == (speed.ROUNDS, speed.ROUNDS)
    assert [len(times) for times in found.rounds.values()] == [speed.ROUNDS] * 3


def report(name: str) -> BenchReport:
    return BenchReport(
        name=name,
        batch=1,
        provider="CPU",
        threads=1,
        load_ns=None,
        first_ns=1,
        process_peak_mib=None,
        warmup=1,
        min_seconds=0,
        min_runs=10,
        interrupted=False,
        samples_ns=(1000,) * 10,
    )


@pytest.mark.parametrize("moment", [1, 3, 15, 25, 70])
def test_ctrl_c_is_not_swallowed_whenever_it_comes(monkeypatch, moment):
    """While a graph is warmed up, in its burst, or in the last burst of a round, which has all the runs that it needs."""
    runs = 0

    def run():
        nonlocal runs
        runs += 1
        time.sleep(0.002)
        if runs == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(speed, "_subject", lambda name, *_: Subject(name=name, run=run, provider="CPU", threads=1))
    with pytest.raises(KeyboardInterrupt):
        race(dict.fromkeys("ab", b""), SPEC, X)


def test_real_graphs_are_timed(monkeypatch):
    monkeypatch.setattr(speed, "ROUNDS", 1)
    found = race({"float32": color_net()}, SPEC, X).latency("float32", "float32")
    assert 0 < found.ms < 1000
    assert found.ratio == 1

"""The time that is left is known as soon as it can be, and goes down."""

from __future__ import annotations

import pytest

from edgecnn.build.search import progress
from edgecnn.build.search.progress import Plan


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(plan, clock, kind, count, seconds):
    with plan.job(kind, count):
        clock[0] += seconds


def test_what_was_done_tells_how_long_the_rest_takes(clock):
    plan = Plan(images=10)
    plan.expect(make=4)
    assert plan.seconds_left is None
    work(plan, clock, "make", 1, 2.0)
    assert plan.seconds_left == 6
    work(plan, clock, "make", 1, 4.0)
    assert plan.seconds_left == 6


def test_ranking_and_judging_are_guessed_from_making_until_they_were_done(clock):
    plan = Plan(images=10)
    plan.expect(make=1, rank=1, judge=2)
    work(plan, clock, "make", 1, 2.0)
    assert plan.seconds_left == 2 + 2 * 10
    work(plan, clock, "rank", 1, 1.0)
    assert plan.seconds_left == 2 * 5
    work(plan, clock, "judge", 1, 3.0)
    assert plan.seconds_left == 3


def test_nothing_left_takes_no_time(clock):
    plan = Plan(images=1)
    plan.expect(make=2, judge=0)
    work(plan, clock, "make", 3, 1.0)
    assert plan.seconds_left == 0

"""Results come in order whoever makes them and whatever takes how long; a helper that ends, or never begins, costs nothing but its help."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device import side_by_side
from edgecnn.device.side_by_side import Helper, helpers_for, in_order

SCRIPT = Path(__file__).with_name("helper_child.py")
TIMES = 10

Result = tuple[int, int]
"""What came of an item, and the process that made it."""


def work(items: list[int]) -> list[Result]:
    return [(item * TIMES, os.getpid()) for item in items]


def slow(items: list[int]) -> list[Result]:
    time.sleep(0.001 * len(items))
    return work(items)


@contextlib.contextmanager
def helping(*kinds: str) -> Iterator[list[Helper]]:
    """Helpers of these kinds, which were told all, and those that will be ready are."""
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(Helper(SCRIPT, kind)) for kind in kinds]
        for helper in helpers:
            helper.tell(TIMES)
        for helper, kind in zip(helpers, kinds, strict=True):
            if kind not in ("dead", "never ready"):
                assert helper.pipe.poll(60)
        yield helpers


def results(items: int, helpers: list[Helper], work: Callable[[list[int]], list[Result]] = slow) -> list[Result]:
    pairs = [pair for some in in_order(range(items), work, helpers=helpers) for pair in some]
    assert [item for item, _ in pairs] == list(range(items))
    assert [result[0] for _, result in pairs] == [item * TIMES for item in range(items)]
    return [result for _, result in pairs]


@given(
    st.lists(st.integers(min_value=0, max_value=3), max_size=200),
    st.lists(st.sampled_from(["good", "leaves some", "dead", "never ready"]), max_size=2),
    st.sets(st.integers(0, 199)),
)
@settings(max_examples=15, deadline=None)
def test_results_come_in_the_order_of_the_items(pauses: list[int], kinds: list[str], own: set[int]) -> None:
    def call(items: list[int]) -> list[Result]:
        time.sleep(sum(pauses[item] for item in items) / 10_000)
        return work(items)

    with helping(*kinds) as helpers:
        pairs = [pair for some in in_order(range(len(pauses)), call, helpers=helpers, here=lambda item: item in own) for pair in some]
    assert [(item, result[0]) for item, result in pairs] == [(item, item * TIMES) for item in range(len(pauses))]
    assert {result[1] for item, result in pairs if item in own} <= {os.getpid()}


def test_helpers_do_their_share() -> None:
    with helping("good", "good") as helpers:
        makers = [maker for _, maker in results(2000, helpers)]
    assert len(set(makers)) == 3
    assert makers.count(os.getpid()) < 1500


def test_without_helpers_all_is_done_here() -> None:
    assert {maker for _, maker in results(50, [])} == {os.getpid()}


@pytest.mark.parametrize("kind", ["dead", "never ready", "dies", "stuck", "cut short"])
def test_a_helper_that_fails_is_done_without(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_MESSAGE_S", 0.5)
    with helping(kind) as helpers:
        found = results(1000, helpers)
    assert {maker for _, maker in found[-30:]} == {os.getpid()}


def test_what_a_helper_leaves_is_done_here() -> None:
    with helping("leaves some") as helpers:
        found = results(600, helpers)
    assert len({maker for _, maker in found}) == 2
    assert {maker for result, maker in found if result // TIMES % 3} == {os.getpid()}


def test_what_is_raised_comes_out_and_ends_the_helpers() -> None:
    def call(items: list[int]) -> list[Result]:
        if max(items) >= 100:
            raise ValueError(items[0])
        return slow(items)

    with helping("never ready") as helpers, pytest.raises(ValueError, match=r"^[0-9]+$"):
        list(in_order(range(500), call, helpers=helpers))
    assert all(helper.ended for helper in helpers)


def test_work_stays_a_bounded_way_ahead_and_stops_with_whoever_takes_it() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100_000:
            yield taken
            taken += 1

    done = 0
    with helping("good") as helpers:
        for some in in_order(items(), work, helpers=helpers):
            done += len(some)
            assert taken - done < 1500
            if done > 20_000:
                break
    assert taken < 22_000


def test_a_process_that_cannot_be_started_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no room")

    with helpers_for(1, SCRIPT, "good") as helpers:
        assert helpers == []
    monkeypatch.setattr(subprocess, "Popen", fail)
    with helpers_for(4, SCRIPT, "good") as helpers:
        assert helpers == []


def test_the_longest_paths_fit_through() -> None:
    names = [f"{number:04}".ljust(1000, "x") for number in range(2000)] + [f"{number:04}".ljust(4095, "x") for number in range(400)]

    def call(items: list[str]) -> list[tuple[str, int]]:
        time.sleep(0.0002 * len(items))
        return [(item * TIMES, os.getpid()) for item in items]

    with helping("good") as helpers:
        pairs = [pair for some in in_order(names, call, helpers=helpers) for pair in some]
    assert [(item, result[0]) for item, result in pairs] == [(name, name * TIMES) for name in names]
    assert len({result[1] for _, result in pairs[1000:]}) == 2


def test_helpers_that_ended_leave_nothing(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with helping("good", "never ready") as helpers:
        results(100, helpers)
        processes = [helper._process for helper in helpers]
    assert set(os.listdir("/proc/self/fd")) == before
    assert all(process.returncode is not None for process in processes)

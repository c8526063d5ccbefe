"""Results come in order whatever takes how long, errors in their turn, and no more is begun than whoever takes results can use soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.device.side_by_side import in_order


@given(st.lists(st.integers(min_value=0, max_value=3), max_size=200), st.integers(min_value=1, max_value=5))
@settings(max_examples=50, deadline=None)
def test_results_come_in_the_order_of_the_items(items: list[int], threads: int) -> None:
    def slow(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 10_000)
        return item[0]

    numbered = list(enumerate(items))
    assert list(in_order(iter(numbered), lambda: slow, threads=threads)) == [(item, item[0]) for item in numbered]


def test_each_thread_has_a_worker_of_its_own_and_several_work_at_once() -> None:
    met = threading.Barrier(3, timeout=30)  # passes only where three are in it together

    def worker() -> Callable[[int], tuple[int, int]]:
        owner = threading.get_ident()

        def call(item: int) -> tuple[int, int]:
            if item < 3:
                met.wait()
            return owner, threading.get_ident()

        return call

    found = [result for _, result in in_order(range(300), worker, threads=3)]
    assert all(isinstance(result, tuple) and result[0] == result[1] for result in found)
    assert len({result for result in found if isinstance(result, tuple)}) == 3


def test_what_one_raises_comes_in_its_turn_and_the_others_go_on() -> None:
    def call(item: int) -> int:
        if item % 7 == 3:
            raise ValueError(item)
        return item

    found = list(in_order(range(50), lambda: call, threads=2))
    assert [item for item, _ in found] == list(range(50))
    assert [item for item, result in found if isinstance(result, ValueError)] == list(range(3, 50, 7))


def test_work_stays_a_bounded_way_ahead_and_stops_with_whoever_takes_it() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100_000:
            yield taken
            taken += 1

    found = in_order(items(), lambda: lambda item: item, threads=2)
    for number in range(1000):
        assert next(found)[0] == number
        assert taken - number < 150
    found.close()  # type: ignore[attr-defined]
    assert taken < 1200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgecnn")]


def test_a_worker_that_cannot_be_made_is_told() -> None:
    def worker() -> Callable[[int], int]:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        list(in_order(range(3), worker, threads=2))

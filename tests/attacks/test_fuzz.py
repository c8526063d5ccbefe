"""The fuzzer's harness, without the fuzzer, so that it works when somebody starts it: good seeds are accepted, mutated ones only ever refused."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from edgecnn.device.engines import open_graph
from tests.attacks.fuzz import SLOTS, check, good_members, many_operators, seeds
from tests.attacks.make import archive, sorted_files

SEEDS = list(seeds())


@pytest.mark.parametrize("slot", [slot for slot in SLOTS if slot != "names"])
def test_the_small_artifact_s_own_members_are_accepted_in_their_places(slot: str) -> None:
    content = archive(sorted_files(good_members())) if slot == "file" else good_members()[slot]
    assert check(bytes([SLOTS.index(slot)]) + content) == "accepted"


def test_every_slot_has_seeds_and_all_of_them_run() -> None:
    outcomes = {(SLOTS[seed[0]], check(seed)) for seed in SEEDS}
    assert {slot for slot, _ in outcomes} == set(SLOTS)
    assert ("names", "ArtifactRejected") in outcomes
    assert len([slot for slot, outcome in outcomes if outcome == "accepted"]) == len(SLOTS) - 1


def test_the_seed_of_many_operators_is_a_graph_that_runs_and_is_accepted() -> None:
    assert check(bytes([SLOTS.index("model.onnx")]) + many_operators()) == "accepted"
    assert open_graph(many_operators(), threads=1).run_one(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 3)


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_mutated_seeds_raise_nothing_unforeseen(seed: int) -> None:
    draw, found = random.Random(seed), Counter[str]()
    for _ in range(30):
        data = bytearray(SEEDS[seed])
        for _ in range(draw.choice((1, 2, 10))):
            at = draw.randrange(len(data))
            data[at : at + draw.choice((0, 1, 1, 5))] = draw.randbytes(draw.choice((0, 1, 1, 5)))
        found[check(bytes(data))] += 1
    assert sum(found.values()) == 30
    assert len(found) > 1 or "accepted" not in found


@pytest.mark.parametrize("data", [b"", b"\0", b"\1", b"\2", b"\xff", bytes(100)])
def test_next_to_nothing_is_refused(data: bytes) -> None:
    assert check(data) != "accepted"

"""No mutated graph kills, hangs or bloats the process that checks it: each is accepted, or refused in a sentence."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnx

from edgecnn.artifact.bundle import open_bundle
from edgecnn.device.whole import check_whole
from tests.attacks.campaign import KINDS, good_artifacts, hostile, run
from tests.attacks.make import archive, listed, sorted_files
from tests.attacks.mutate import CHANGES, RAW, mutant, parse, serialize


def test_mutants_are_refused_or_accepted_and_nothing_else(tmp_path: Path, memory_bounded: None, campaign: Callable[..., int]) -> None:
    """300 of them, 10,000 with --full, each through what `verify --deep` does; every thirtieth in a child as the product starts it."""
    count = campaign(sample=300, full=10_000)
    found: Counter[str] = Counter()
    for judged in run(range(count), tmp_path, own_process_each=30):
        found[judged.by] += 1
        assert judged.by == "accepted" or judged.message.startswith(str(tmp_path)), judged
        assert judged.message.isprintable()
        assert len(judged.message) < 1000
    assert sum(found.values()) == count
    assert found.keys() <= {"accepted", "reader", "other", *KINDS}
    # the mutants are neither all absurd nor all harmless, so that reader and child both had their work
    assert found["reader"] > count / 10
    assert count - found["reader"] > count / 10
    assert found["accepted"] < count / 2


def test_an_artifact_is_accepted_when_nothing_was_mutated(tmp_path: Path) -> None:
    """So what is refused above is refused for its graph."""
    for members in good_artifacts():
        model = serialize(parse(members["model.onnx"]))
        assert model == members["model.onnx"]
        path = tmp_path / "same.edgecnn"
        path.write_bytes(archive(sorted_files(listed({**members, "model.onnx": model}))))
        with open_bundle(path) as bundle:
            check_whole(bundle)


def test_a_seed_gives_one_mutant_and_every_kind_of_change_is_drawn() -> None:
    members = good_artifacts()
    assert hostile(members, 5) == hostile(members, 5)
    names = [name for seed in range(300) for name in mutant(members[0]["model.onnx"], random.Random(seed))[0].split(" + ")]
    assert set(names) == {*CHANGES, *RAW}


def test_mutants_of_the_graph_are_still_protobuf() -> None:
    """Most changes must get past the wire format, or only that would be tested."""
    models, parsed = [members["model.onnx"] for members in good_artifacts()], 0
    for seed in range(200):
        with suppress(Exception):
            onnx.load_from_string(mutant(models[seed % 2], random.Random(seed))[1])
            parsed += 1
    assert 100 < parsed < 200

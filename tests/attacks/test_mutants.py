"""No mutated graph kills, hangs or bloats the process that checks it: each is accepted, or refused in a sentence."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import onnx
import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.device.whole import check_whole
from tests.artifact.samples import pack_sample
from tests.attacks.campaign import KINDS, good_artifacts, hostile, run
from tests.attacks.make import ATTACKS, archive, listed, sorted_files
from tests.attacks.mutate import CHANGES, RAW, mutant, parse, serialize

MOST_GROWTH = 50_000_000


@pytest.fixture
def memory_bounded() -> Iterator[None]:
    """This process's memory never stands more than 50 MB over where it stood before the test, not even for a moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    before = _status("VmRSS")
    yield
    assert _status("VmHWM") - before < MOST_GROWTH


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


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


def test_the_whole_list_of_attacks_leaves_memory_alone(tmp_path: Path, memory_bounded: None) -> None:
    """tracemalloc sees what Python allocates; this is what the system sees, over all of them in one process."""
    pack_sample(tmp_path / "good.edgecnn")
    # in a process of its own: making the files takes memory that isn't the reader's
    command = [sys.executable, "-m", "tests.attacks.make", str(tmp_path / "good.edgecnn"), str(tmp_path / "hostile")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    paths = sorted((tmp_path / "hostile").iterdir())
    assert len(paths) == len(ATTACKS)
    for path in paths:
        with pytest.raises(Exception, match="hostile"), open_bundle(path) as bundle:
            check_whole(bundle)

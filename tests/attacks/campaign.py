"""What becomes of seeded mutants of shipped graphs, each inside an artifact that is right in every other respect.

    python -m tests.attacks.campaign COUNT [FIRST]

prints, for seeds FIRST (0) and on, how many the reader refused, how many were tried in a child, and what came of those.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

from edgecnn.artifact.bundle import open_bundle
from edgecnn.device import trial
from edgecnn.device.whole import check_whole
from edgecnn.errors import ArtifactRejected, ModelRejected
from tests.attacks.fork_server import ForkServer
from tests.attacks.make import Members, archive, listed, members_of, sorted_files
from tests.attacks.mutate import mutant

ROOT = Path(__file__).parents[2]
SHIPPED = ("resnet8-cifar10", "simplecnn-fashion")
TRIAL_S = 20.0
HANG_S = 60

KINDS = {
    "crash": "killed by SIG",
    "time": "longer than",
    "memory": "ran out of memory",
    "answers": "falls short|holds NaN|not finite",
    "load": "can't load the graph",
    "run": "fails on this input|doesn't take this input",
    "edges": "the graph's (input|output)|answered",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """by: "accepted", "reader" or the child's kind of failure (a key of KINDS, or "other"); change: what made the mutant."""

    seed: int
    change: str
    by: str
    message: str


def good_artifacts() -> list[Members]:
    """The members of small shipped artifacts, int8 graphs of convolutions with and without residual additions."""
    return [members_of(next((ROOT / "models" / name).glob("*.edgecnn")).read_bytes()) for name in SHIPPED]


def hostile(members: Sequence[Members], seed: int) -> tuple[str, bytes]:
    """(what was changed, an artifact of a mutated graph, whose digests and sizes are right)."""
    draw = Random(seed)
    base = members[seed % len(members)]
    change, model = mutant(base["model.onnx"], draw)
    return change, archive(sorted_files(listed({**base, "model.onnx": model})))


def judge(path: Path, *, seed: int, change: str) -> Judged:
    """What `edgecnn verify --deep` does with the file."""
    by, message = "accepted", ""
    try:
        with open_bundle(path) as bundle:
            check_whole(bundle)
        trial.try_model(path, timeout_s=TRIAL_S)
    except ModelRejected as error:
        message = str(error)
        by = next((kind for kind, words in KINDS.items() if re.search(words, message)), "other")
    except ArtifactRejected as error:
        by, message = "reader", str(error)
    return Judged(seed=seed, change=change, by=by, message=message)


@contextmanager
def no_hang(seconds: int) -> Iterator[None]:
    """The block ends within `seconds`, or TimeoutError is raised in it."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(seeds: Sequence[int], folder: Path, *, own_process_each: int = 0) -> Iterator[Judged]:
    """Each seed's mutant, judged: by forked children, but every `own_process_each`-th as the product does it."""
    members, path = good_artifacts(), folder / "mutant.edgecnn"
    with ForkServer() as server:
        for seed in seeds:
            change, data = hostile(members, seed)
            path.write_bytes(data)
            with ExitStack() as stack:
                if not own_process_each or seed % own_process_each:
                    stack.enter_context(mock.patch.object(trial, "run_limited", server.run))
                stack.enter_context(no_hang(HANG_S))
                yield judge(path, seed=seed, change=change)


def main(count: int, first: int = 0) -> None:
    totals: Counter[str] = Counter()
    changes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for judged in run(range(first, first + count), Path(folder)):
            totals[judged.by] += 1
            changes[judged.by, judged.change if "+" not in judged.change else "several"] += 1
            if judged.by in ("crash", "time", "memory", "other", "edges"):
                print(f"seed {judged.seed}: {judged.change}: {judged.message.partition(': ')[2]}", flush=True)
    print(f"{count} mutants: " + ", ".join(f"{by} {number}" for by, number in totals.most_common()))
    for by in totals:
        print(f"  {by}: " + ", ".join(f"{change} {number}" for (what, change), number in changes.most_common() if what == by))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

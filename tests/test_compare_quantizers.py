"""tools/compare_quantizers says that a goal is reached only where one of our rows reaches all of it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecnn.build.quantize import configure

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "compare_quantizers"


@pytest.fixture(scope="module")
def goals() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from quantizer_comparison import goals

        yield goals
    finally:
        sys.path.pop(0)


def row(quantizer: str, *, points: float = 0.0, sqnr_db: float | None = 30.0, share: float = 0.25) -> dict[str, Any]:
    return {"quantizer": quantizer, "points": points, "sqnr_db": sqnr_db, "share": share, "bytes": round(3_000_000 * share)}


FLOAT32 = row("float32", share=1.0, sqnr_db=None)


def test_accuracy_and_bytes_may_be_two_rows_but_bytes_without_accuracy_count_for_nothing(goals):
    goal = goals.Goal(points=0.3)
    bad, large, good = row("edgecnn", points=-0.4), row("edgecnn, large", share=0.29), row("edgecnn, small", points=-0.3)
    assert goals.verdicts([FLOAT32, bad, large, good], goal) == [
        (True, "accuracy reached by edgecnn, large"),
        (True, "bytes reached by edgecnn, small"),
    ]
    assert goals.verdicts([FLOAT32, bad, large], goal) == [
        (True, "accuracy reached by edgecnn, large"),
        (False, "bytes missed: edgecnn changes by -0.40 points, not -0.3; edgecnn, large has 0.290 of float32's bytes, not 0.28"),
    ]


def test_a_small_graph_may_take_a_greater_share(goals):
    source = {**FLOAT32, "bytes": 900_000}
    assert goals.verdicts([source, row("edgecnn", share=0.32)], goals.Goal())[1][0]
    assert not goals.verdicts([source, row("edgecnn", share=0.34)], goals.Goal())[1][0]


def test_nobody_may_be_ahead_where_that_is_the_goal(goals):
    rows = [FLOAT32, row("edgecnn", points=0.1), row("nncf", points=0.12)]
    assert goals.verdicts(rows, goals.Goal(points=0.3))[0][0]
    assert goals.verdicts(rows, goals.Goal(points=0.3, ahead=True))[0] == (False, "accuracy missed: edgecnn lies behind nncf")
    rows = [FLOAT32, row("edgecnn", sqnr_db=23.0), row("onnxruntime", sqnr_db=22.9)]
    assert goals.verdicts(rows, goals.Goal(sqnr_db=22.0, ahead=True))[0][0]
    assert not goals.verdicts(rows, goals.Goal(sqnr_db=23.5))[0][0]


@pytest.mark.parametrize("name", ["points", "sqnr_db", "share"])
def test_what_is_not_a_number_falls_short(goals, name):
    found = goals.verdicts([FLOAT32, {**row("edgecnn"), name: math.nan}], goals.Goal(points=0.3, sqnr_db=22.0))
    assert not all(reached for reached, _ in found)


def test_no_row_of_ours_reaches_nothing(goals):
    assert [reached for reached, _ in goals.verdicts([FLOAT32, row("nncf")], goals.Goal())] == [False, False]


def test_its_own_configurations_are_options_that_there_are():
    source = TOOL.read_text(encoding="utf-8")
    corrected = next(line.split('"')[1] for line in source.splitlines() if line.startswith("CORRECTED"))
    found = configure("int8", dict(pair.split("=") for pair in corrected.split(",")))
    assert (found["ranges"], found["equalize"], found["rounding"], found["correct_bias"]) == ("mse", True, "adaptive", True)


def test_every_network_has_a_goal(goals):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from quantizer_comparison.networks import NETWORKS
    finally:
        sys.path.pop(0)
    assert NETWORKS.keys() == goals.GOALS.keys()


def test_an_unknown_network_is_a_usage_error():
    done = subprocess.run([sys.executable, str(TOOL), "resnet9"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "resnet9" in done.stderr

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


def test_one_row_must_reach_all_of_it(goals):
    goal = goals.Goal(points=0.3)
    small, good, both = row("edgecnn", points=-0.4), row("edgecnn, slow", share=0.29), row("edgecnn, best", points=-0.3)
    assert goals.verdict([FLOAT32, small, good, both], goal) == (True, "reached by edgecnn, best")
    reached, said = goals.verdict([FLOAT32, small, good], goal)
    assert not reached
    assert said == "missed: edgecnn changes by -0.40 points, not -0.3; edgecnn, slow has 0.290 of float32's bytes, not 0.28"


def test_a_small_graph_may_take_a_greater_share(goals):
    source = {**FLOAT32, "bytes": 900_000}
    assert goals.verdict([source, row("edgecnn", share=0.32)], goals.Goal())[0]
    assert not goals.verdict([source, row("edgecnn", share=0.34)], goals.Goal())[0]


def test_nobody_may_be_ahead_where_that_is_the_goal(goals):
    rows = [FLOAT32, row("edgecnn", points=0.1), row("nncf", points=0.12)]
    assert goals.verdict(rows, goals.Goal(points=0.3))[0]
    assert goals.verdict(rows, goals.Goal(points=0.3, ahead=True)) == (False, "missed: edgecnn lies behind nncf")
    rows = [FLOAT32, row("edgecnn", sqnr_db=23.0), row("onnxruntime", sqnr_db=22.9)]
    assert goals.verdict(rows, goals.Goal(sqnr_db=22.0, ahead=True))[0]
    assert not goals.verdict(rows, goals.Goal(sqnr_db=23.5))[0]


@pytest.mark.parametrize("name", ["points", "sqnr_db", "share"])
def test_what_is_not_a_number_falls_short(goals, name):
    assert not goals.verdict([FLOAT32, {**row("edgecnn"), name: math.nan}], goals.Goal(points=0.3, sqnr_db=22.0))[0]


def test_no_row_of_ours_reaches_nothing(goals):
    assert not goals.verdict([FLOAT32, row("nncf")], goals.Goal())[0]


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

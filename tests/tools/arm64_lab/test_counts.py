"""Instruction counts: what is read, what is a failure, and that the kept figures are whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.arm64_lab.counts import Count, faults, parse, read_kept
from tools.arm64_lab.machine import CORES, HERE, ROOT

KEPT: dict[str, Any] = {"versions": {"onnxruntime": "1.31.1"}, "instructions": {"cortex-a53": {"net int8": 1_000_000}}}


def counted(*runs: int, net: str = "net int8", core: str = "cortex-a53") -> dict[str, dict[str, Count]]:
    return {core: {net: Count(runs=runs)}}


@pytest.mark.parametrize("runs", [(1_000_000, 1_000_000), (1_019_000, 1_019_500), (981_000, 980_100)])
def test_less_than_two_percent_is_no_change(runs: tuple[int, ...]) -> None:
    assert faults(counted(*runs), KEPT) == ()


@pytest.mark.parametrize(("runs", "change"), [((1_020_000, 1_020_000), "+2.0%"), ((979_000, 979_000), "-2.1%"), ((2_000_000, 2_000_000), "+100.0%")])
def test_two_percent_is_a_failure_that_names_the_model_and_the_core(runs: tuple[int, ...], change: str) -> None:
    (fault,) = faults(counted(*runs), KEPT)
    assert fault.startswith("net int8 on cortex-a53: ")
    assert f"{change} from the 1,000,000 that are kept (counted with onnxruntime 1.31.1)" in fault


def test_a_count_that_is_not_exact_means_nothing() -> None:
    (fault,) = faults(counted(1_000_000, 1_006_000), KEPT)
    assert "runs differ by 0.60%" in fault


def test_a_net_without_a_figure_and_a_figure_without_a_net_are_failures() -> None:
    first, second = faults(counted(5, 5, net="another int8"), KEPT)
    assert "no figure is kept" in first
    assert "nothing was counted" in second
    assert len(faults(counted(1_000_000, core="cortex-a72"), KEPT)) == 2
    assert faults({}, KEPT)


def test_marks_are_read_from_between_other_words() -> None:
    said = "edgecnn: a note\ninstructions 0 1000\ninstructions 1 1500\nx instructions 2 9\ninstructions 2 2010\n"
    found = parse(said)
    assert found is not None
    assert found.runs == (500, 510)
    assert parse("Traceback: no plugin") is None
    assert parse("instructions 0 1000\n") is None


def test_figures_are_kept_for_every_artifact_and_its_twin_on_every_core() -> None:
    wanted = {f"{path.parent.name} {precision}" for path in (ROOT / "models").glob("*/*.edgecnn") for precision in ("int8", "float32")}
    figures = read_kept()["instructions"]
    assert set(figures) == set(CORES)
    assert all(set(nets) == wanted for nets in figures.values())
    assert all(figures["cortex-a76"][net] < figures["cortex-a72"][net] for net in wanted if net.endswith("int8"))  # it has dot products


def test_the_benchmarks_tell_the_kept_figures() -> None:
    document = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    rows = {
        tuple(cells[:2]): cells[2:]
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in document.splitlines())
        if len(cells) > 4
    }
    figures = read_kept()["instructions"]
    for net in figures["cortex-a53"]:
        name, precision = net.rsplit(" ", 1)
        assert rows[(name, f"edgecnn {precision}")][:3] == [f"{figures[core][net] / 1e6:.2f}" for core in ("cortex-a53", "cortex-a72", "cortex-a76")]


def test_the_script_that_is_counted_sets_a_mark_before_and_after_each_run(tmp_path: Path) -> None:
    """The marks are system calls; here they are written down instead."""
    script = f"""
import os, sys
sys.path.insert(0, {str(HERE / "on_device")!r})
import mark
said = []
def getpgid(number):
    said.append(mark.FIRST_MARK - number)
    raise ProcessLookupError
os.getpgid = getpgid
mark.count_runs(lambda: said.append("run"))
print(said)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "['run', 'run', 0, 'run', 1, 'run', 2]"


def test_python_and_the_plugin_agree_on_the_marks() -> None:
    first = {int(re.search(r"FIRST_MARK = (-[\d_]+)", (HERE / name).read_text())[1].replace("_", "")) for name in ("counter.c", "on_device/mark.py")}  # type: ignore[index]
    assert len(first) == 1

"""tools/compare_runtimes: bursts take turns, a contender that fails is a named cell, threads and answers are checked, and a lost cell is said."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "compare_runtimes"
CONTENDERS = sorted(path.stem for path in (ROOT / "tools" / "runtime_comparison" / "contenders").glob("[!_]*.py"))


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import environments
        from runtime_comparison import nets, race, table

        yield SimpleNamespace(race=race, table=table, nets=nets, environments=environments)
    finally:
        sys.path.pop(0)


class Fake:
    """A runner of a known speed. fails_at: the burst that fails; order: all bursts of all runners, as they came."""

    def __init__(
        self, name: str, order: list[str], error: type[Exception], *, ns: int = 1000, cores: float = 1.0, fails_at: int | None = None
    ) -> None:
        self.name, self.order, self.error, self.ns, self.cores, self.fails_at = name, order, error, ns, cores, fails_at
        self.count = 0

    def burst(self, runs: int) -> Mapping[str, int]:
        self.count += 1
        self.order.append(self.name)
        if self.count == self.fails_at:
            raise self.error("it is gone")
        return {"runs": runs, "wall_ns": self.ns * runs, "cpu_ns": round(self.ns * runs * self.cores)}


def test_bursts_take_turns_in_changing_order(tool: Any) -> None:
    order: list[str] = []
    runners = {name: Fake(name, order, tool.race.Failed, ns=ns) for name, ns in (("a", 1000), ("b", 3000), ("c", 2000))}
    times, out = tool.race.race(runners, seconds=0.1)
    assert out == {}
    assert {name: time.wall for name, time in times.items()} == pytest.approx({"a": 1e-6, "b": 3e-6, "c": 2e-6})
    assert [time.cores for time in times.values()] == pytest.approx([1, 1, 1])
    rounds = [tuple(order[start : start + 3]) for start in range(6, len(order), 3)]
    assert all(sorted(some) == ["a", "b", "c"] for some in rounds)
    assert len(set(rounds)) > 3


def test_one_that_fails_on_the_way_drops_out_and_the_others_go_on(tool: Any) -> None:
    order: list[str] = []
    runners = {"a": Fake("a", order, tool.race.Failed), "b": Fake("b", order, tool.race.Failed, fails_at=4), "c": Fake("c", order, tool.race.Failed)}
    times, out = tool.race.race(runners, seconds=0.1)
    assert out == {"b": "it is gone"}
    assert times.keys() == {"a", "c"}


def cell(tool: Any, runtime: str, micros: float | None, *, cores: float = 1.0, threads: int = 1, **more: Any) -> Any:
    seconds = None if micros is None else micros / 1e6
    return tool.table.Cell(net="n", precision="int8", threads=threads, runtime=runtime, seconds=seconds, cores=cores, **more)


def test_a_cell_is_lost_by_more_than_5_percent_to_our_better_engine(tool: Any) -> None:
    cells = [cell(tool, "edgecnn", 100), cell(tool, "edgecnn_auto", 80), cell(tool, "openvino", 77), cell(tool, "mnn", 68)]
    assert [(ours.runtime, other.runtime, round(share, 3)) for ours, other, share in tool.table.lost(cells)] == [("edgecnn_auto", "mnn", 0.15)]
    assert "mnn takes 15% less than edgecnn auto" in "\n".join(tool.table.lines(cells, ("edgecnn", "edgecnn_auto", "openvino", "mnn")))


def test_who_takes_more_cores_than_threads_is_marked_and_wins_nothing(tool: Any) -> None:
    cells = [cell(tool, "edgecnn", 100), cell(tool, "executorch", 50, cores=1.9)]
    said = "\n".join(tool.table.lines(cells, ("edgecnn", "executorch")))
    assert "| 50 (0.50)! |" in said
    assert "executorch on n int8 kept 1.90 cores busy with 1 threads" in said
    assert "no other runtime is more than 5 % ahead" in said


def test_other_threads_are_another_cell(tool: Any) -> None:
    assert tool.table.lost([cell(tool, "edgecnn", 100), cell(tool, "mnn", 50, threads=2)]) == []


def test_a_missing_figure_has_its_reason_below_the_table(tool: Any) -> None:
    said = tool.table.lines(
        [cell(tool, "edgecnn", 100), cell(tool, "ncnn", None, reason="it can't be installed here (no wheel)")], ("edgecnn", "ncnn")
    )
    assert said[2] == "| n | int8 | 1 | 100 | -- |"
    assert "-- ncnn int8, n: it can't be installed here (no wheel)" in said


def test_another_network_is_none_of_ours(tool: Any) -> None:
    expected = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    other = tool.table.another_network
    assert other(expected, expected + np.float32(1e-4), "float32") == ""
    assert "off by" in other(expected, expected + np.float32(0.1), "float32")
    assert other(expected, expected + np.float32(0.1), "int8") == ""
    assert "dB" in other(expected, -expected, "int8")
    assert "dB" in other(expected, np.repeat(expected[:1], 8, axis=0), "int8")  # one answer to everything
    assert "NaN" in other(expected, expected * np.nan, "int8")
    assert "[8, 9]" in other(expected, expected[:, :9], "int8")


WORKER = """
import json, sys, time
if "dead" in sys.argv: sys.exit(3)
if "refused" in sys.argv: print(json.dumps({"error": "ValueError: why"}), flush=True); sys.exit()
print(json.dumps({"ready": 0.5, "note": "noted"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "silent" in sys.argv: time.sleep(60)
    print(json.dumps({"runs": asked["burst"], "wall_ns": 10, "cpu_ns": 10}), flush=True)
"""


@pytest.mark.parametrize(("how", "said"), [("dead", "it ended with 3"), ("refused", "ValueError: why")])
def test_a_child_that_does_not_load_says_why(tool: Any, tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(tool.race.Failed, match=said):
        tool.race.Child([sys.executable, "-c", WORKER, how], environment={}, log=tmp_path / "log")


def test_a_child_runs_bursts_and_one_that_hangs_is_given_up(tool: Any, tmp_path: Path) -> None:
    child = tool.race.Child([sys.executable, "-c", WORKER], environment={}, log=tmp_path / "log")
    assert (child.note, child.burst(7)["runs"]) == ("noted", 7)
    child.close()
    child = tool.race.Child([sys.executable, "-c", WORKER, "silent"], environment={}, log=tmp_path / "log", timeout=1)
    try:
        with pytest.raises(tool.race.Failed, match="no answer within 1 s"):
            child.burst(1)
    finally:
        child._process.kill()
        child.close()


def test_the_child_serves_the_artifact_of_a_network(tool: Any, tmp_path: Path) -> None:
    from tests.fixtures.artifacts import color_artifact

    color_artifact(tmp_path / "float32.edgecnn")
    np.save(tmp_path / "inputs.npy", np.ones((2, 3, 8, 8), np.float32))
    words = tool.race.command(sys.executable, "edgecnn", "serve", tmp_path, "float32", "1")
    child = tool.race.Child(words, environment=tool.race.surroundings(sys.executable, 1), log=tmp_path / "log")
    try:
        assert child.note == "CPUExecutionProvider"
        assert child.burst(5)["wall_ns"] > 0
        assert child.answers(tmp_path / "answers.npy").shape == (2, 3)
    finally:
        child.close()


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_can_be_asked_for_its_packages_without_its_runtime(name: str) -> None:
    """They are pinned, and nothing heavy is imported before it is used."""
    tree = ast.parse((ROOT / "tools" / "runtime_comparison" / "contenders" / f"{name}.py").read_text())
    found = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert {module.partition(".")[0] for module in found} <= {"__future__", "pathlib", "typing", "subprocess", "sys", "runtime_comparison"}
    assigned = {target.id: node.value for node in tree.body for target in targets(node) if isinstance(target, ast.Name)}
    packages = ast.literal_eval(assigned["PACKAGES"])
    assert all("==" in package or package == "numpy" for package in packages)
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} | assigned.keys() >= {"convert", "load", "NOT"}


def targets(node: ast.stmt) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) and node.value else []


def test_every_contender_is_offered() -> None:
    source = TOOL.read_text(encoding="utf-8")
    (line,) = [line for line in source.splitlines() if line.startswith("RUNTIMES")]
    assert sorted(ast.literal_eval(line.partition("=")[2].strip())) == CONTENDERS


def test_an_environment_that_pip_cannot_make_is_said(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(tool.environments.NotInstalled, match=r"no-such\.whl"):
        tool.environments.environment(tmp_path / "venv", [str(tmp_path / "no-such.whl")])


def test_unknown_names_are_usage_errors() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--runtimes", "edgecnn,tensorrt"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tensorrt isn't known" in done.stderr


def test_a_cell_is_plain_json(tool: Any) -> None:
    facts = json.loads(json.dumps(cell(tool, "edgecnn", 100, cores=1.5).to_json_dict()))
    assert (facts["schema"], facts["too_many_cores"], facts["seconds"]) == (1, True, 1e-4)

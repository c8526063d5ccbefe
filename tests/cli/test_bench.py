"""`edgecnn bench`: what it prints, when it calls its own figures INVALID, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgecnn.cli import main
from edgecnn.cli._bench_text import number
from edgecnn.device import measure
from edgecnn.device.bench import conditions, startup
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.graphs import color_classifier

MS = 1_000_000


def _run(*arguments: object) -> int:
    return main([str(argument) for argument in ("bench", *arguments, "--threads", 1)])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[int], int]]:
    """Files by name with the latency in nanoseconds of each of their runs, on a clock that only they move."""
    latencies: dict[str, Callable[[int], int]] = {}
    now = 0

    def opened(path: Path, *, threads: int | None, scenario: str, **_: Any) -> measure.Subject:
        count = 0

        def run() -> None:
            nonlocal now, count
            now += latencies[path.name](count)
            count += 1

        return measure.Subject(name=str(path), run=run, provider="CPUExecutionProvider", threads=threads or 2, load_ns=12 * MS)

    monkeypatch.setattr(measure, "open_subject", opened)
    monkeypatch.setattr(measure, "measure_all", partial(measure.measure_all, clock=lambda: now))
    monkeypatch.setattr(startup, "measure_startup", lambda *_, **__: None)
    monkeypatch.setattr(conditions, "ROOT", Path("/nowhere"))
    return latencies


def test_a_steady_file_is_valid_and_its_figures_are_shown(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"] = lambda run: 2 * MS
    assert _run("a.edgecnn") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["a.edgecnn"]
    assert ["p50", "2.000", "ms"] in lines
    assert ["p99", "2.000", "ms"] in lines
    assert ["throughput", "500.0", "images/s"] in lines
    assert ["runs", "5000"] in lines  # 10 seconds
    assert ["threads", "1"] in lines
    assert ["provider", "CPUExecutionProvider"] in lines
    assert ["load", "12.00", "ms"] in lines
    assert ["verdict", "VALID"] in lines
    assert "peak memory" in out
    assert err == ""


def test_a_percentile_without_ten_samples_beyond_it_is_not_shown(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"] = lambda run: 100 * MS
    assert _run("a.edgecnn", "--min-seconds", 1) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["p90", "100.0", "ms"] in lines
    assert ["p99", "too", "few", "runs"] in lines


def test_too_few_runs_are_invalid_with_exit_code_1(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["slow.edgecnn"] = lambda run: 500 * MS
    assert _run("slow.edgecnn", "--min-seconds", 1, "--min-runs", 3) == 1
    out, err = capsys.readouterr()
    assert "INVALID" in out
    assert err == "edgecnn: slow.edgecnn is INVALID: 10 runs are too few, at least 100 are needed.\n"


def test_a_file_that_slows_down_is_invalid_and_the_other_is_not(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["steady.edgecnn"] = lambda run: MS
    staged["hot.onnx"] = lambda run: MS + run * 200
    assert _run("steady.edgecnn", "hot.onnx", "--min-seconds", 1) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["steady.edgecnn", "hot.onnx"]
    assert ["verdict", "VALID", "INVALID"] in [line.split() for line in out.splitlines()]
    assert "hot.onnx: latency drifted by +" in out
    assert "hot.onnx is INVALID" in err
    assert "steady.edgecnn is" not in err


def test_files_of_one_name_are_told_apart_by_their_folders(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.onnx"] = lambda run: MS
    assert _run("x/a.onnx", "y/a.onnx", "--min-seconds", 0) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["x/a.onnx", "y/a.onnx"]


def test_ctrl_c_prints_what_there_is_marked_so_and_exits_with_130(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    def latency(run: int) -> int:
        if run == 500:
            signal.raise_signal(signal.SIGINT)
        return MS

    staged["a.edgecnn"] = latency
    assert _run("a.edgecnn") == 130
    out, err = capsys.readouterr()
    assert ["verdict", "INTERRUPTED"] in [line.split() for line in out.splitlines()]
    assert "interrupted after 479 runs" in out  # less the first, the warm-up and the one that was under way
    assert "interrupted" in err


def test_json_marks_an_interrupted_measurement(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    def latency(run: int) -> int:
        if run == 5:
            raise KeyboardInterrupt
        return MS

    staged["a.edgecnn"] = latency
    assert _run("a.edgecnn", "--json") == 130
    facts = json.loads(capsys.readouterr().out)
    assert (facts["interrupted"], facts["valid"], facts["samples_ns"]) == (True, False, [])


def test_real_files_side_by_side_as_json(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "colors.onnx"
    bare.write_bytes(color_classifier())
    code = _run(artifact, bare, "--min-seconds", 0, "--min-runs", 100, "--warmup", 3, "--json")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [first["file"], second["file"]] == [str(artifact), str(bare)]
    for facts in (first, second):
        assert facts["schema"] == 2
        assert len(facts["samples_ns"]) == facts["runs"] >= 100
        assert 0 < facts["ms"]["min"] <= facts["ms"]["p50"] <= facts["ms"]["p90"]
        assert (facts["threads"], facts["provider"], facts["warmup"]) == (1, "CPUExecutionProvider", 3)
        assert facts["load_ms"] > 0
        assert facts["process_peak_mib"] > 10
        assert facts["host"]["cores"] >= 1
    assert code == (0 if first["valid"] and second["valid"] else 1)


def test_real_files_as_text(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--min-seconds", 0) in (0, 1)  # a busy machine may make it INVALID
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["colors.edgecnn"]
    assert "CPUExecutionProvider" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "FILE"),
        (("gone.edgecnn",), 3, "gone.edgecnn"),
        (("gone.onnx",), 3, "gone.onnx"),
        (("ARTIFACT", "--min-seconds", "nan"), 2, "can't be measured"),
        (("ARTIFACT", "--min-runs", "0"), 2, "can't be measured"),
        (("ARTIFACT", "--warmup", "-1"), 2, "can't be measured"),
        (("ARTIFACT", "--min-runs", "many"), 2, "many"),
    ],
)
def test_impossible_requests_are_one_sentence(
    artifact: Path, arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*(artifact if argument == "ARTIFACT" else argument for argument in arguments)) == code
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_benchmarking_loads_neither_torch_nor_onnx_nor_rich(artifact: Path) -> None:
    code = "import sys; from edgecnn.cli import main; main(sys.argv[1:]); print([n for n in ('torch', 'onnx', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, "bench", artifact, "--min-seconds", "0"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_numbers_keep_four_digits_and_never_powers_of_ten() -> None:
    assert [number(value) for value in (None, 0.0, 0.04123, 2.0, 12.346, 123.46, 1234.6, 123456.7)] == [
        "-", "0", "0.04123", "2.000", "12.35", "123.5", "1235", "123457",
    ]  # fmt: skip

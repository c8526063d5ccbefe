"""`edgecnn bench`: what it prints, when it calls its own figures INVALID, and what Ctrl-C leaves."""

from __future__ import annotations

import errno
import json
import os
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
from edgecnn.device.bench import conditions, profile, startup
from edgecnn.errors import OutputNotWritable
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.graphs import color_classifier, one_node

MS = 1_000_000


def _run(*arguments: object, threads: str = "1") -> int:
    return main([str(argument) for argument in ("bench", *arguments, "--threads", threads)])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[int], int]]:
    """Files by name with the latency in nanoseconds of each of their runs, on a clock that only they move."""
    latencies: dict[str, Callable[[int], int]] = {}
    now = 0

    def opened(path: Path, *, threads: int | None, **more: Any) -> measure.Subject:
        count = 0

        def run() -> None:
            nonlocal now, count
            now += latencies[path.name](count)
            count += 1

        return measure.Subject(
            name=str(path),
            run=run,
            provider="CPUExecutionProvider",
            asked_provider=more["provider"],
            threads=threads or 2,
            load_ns=12 * MS,
        )

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


def test_single_stream_is_judged_by_p90_with_its_interval(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"] = lambda run: (2 + run % 3) * MS
    assert _run("a.edgecnn") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["p90", "95", "p50"]
    assert lines[2].split() == ["95", "%", "of", "p90", "4.000", "to", "4.000", "ms"]
    assert "other load not known, clock not known, throttling not known" in "\n".join(lines)  # there is neither /proc nor /sys


def test_a_duty_cycle_is_told_and_is_not_for_offline(
    staged: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged["a.edgecnn"] = lambda run: MS
    assert _run("a.edgecnn", "--idle-ms", 0.1, "--min-seconds", 0) == 0
    assert ["scenario", "single-stream,", "0.1", "ms", "idle"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert _run("a.edgecnn", "--idle-ms", 1, "--scenario", "offline") == 2
    assert "offline there is always work" in capsys.readouterr().err


def test_each_file_is_timed_on_each_number_of_threads(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"] = staged["b.edgecnn"] = lambda run: MS
    assert _run("a.edgecnn", "b.edgecnn", "--min-seconds", 0, threads="1,2,1") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["a.edgecnn", "x1", "a.edgecnn", "x2", "b.edgecnn", "x1", "b.edgecnn", "x2"]
    assert ["threads", "1", "2", "1", "2"] in lines


def test_two_files_are_compared_on_each_number_of_threads(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"], staged["b.edgecnn"] = (lambda run: 2 * MS), (lambda run: MS)
    assert _run("a.edgecnn", "b.edgecnn", "--compare", "--min-seconds", 1, threads="1,2") == 0
    out = capsys.readouterr().out
    for threads in (1, 2):
        assert f"b.edgecnn x{threads} takes 0.500 of the time of a.edgecnn x{threads} (95 % interval 0.500 to 0.500" in out
    assert _run("a.edgecnn", "b.edgecnn", "--compare", "--min-seconds", 1, "--json") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "against" not in first
    assert (second["against"]["ratio"], second["against"]["interval"], second["against"]["file"]) == (0.5, [0.5, 0.5], "a.edgecnn")
    assert _run("a.edgecnn", "--compare") == 2
    assert "--compare compares two files, 1 were given" in capsys.readouterr().err


def test_another_provider_than_the_one_asked_for_is_invalid(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["a.edgecnn"] = lambda run: MS
    assert _run("a.edgecnn", "--provider", "cuda", "--min-seconds", 0) == 1
    assert "cuda was asked for, CPUExecutionProvider ran it" in capsys.readouterr().err


def test_a_load_beside_it_makes_it_invalid(staged: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    staged["a.edgecnn"] = lambda run: MS
    monkeypatch.setattr(conditions.Watch, "stop", lambda self: conditions.Conditions(seconds=10, cpus=2, others=0.3, throttled=2))
    assert _run("a.edgecnn", "--min-seconds", 0, "--json") == 1
    out, err = capsys.readouterr()
    assert "others had 30% of the CPUs' time" in err
    assert "the CPU throttled itself 2 times" in err
    assert json.loads(out)["conditions"]["others"] == 0.3


def test_what_the_machine_did_is_said_once_for_all_files(
    staged: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged["a.edgecnn"] = staged["b.edgecnn"] = lambda run: MS
    monkeypatch.setattr(conditions.Watch, "stop", lambda self: conditions.Conditions(seconds=10, cpus=2, others=0.3))
    assert _run("a.edgecnn", "b.edgecnn", "--min-seconds", 0) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("a.edgecnn, b.edgecnn: others had 30%")
    assert err.startswith("edgecnn: a.edgecnn, b.edgecnn are INVALID: others had 30%")
    assert err.count("others had") == 1


def test_a_start_up_that_can_not_be_measured_is_a_note(
    staged: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged["a.edgecnn"] = lambda run: MS
    monkeypatch.setattr(startup, "measure_startup", lambda *_, **__: startup.Failure(reason="it was killed by SIGKILL"))
    assert _run("a.edgecnn", "--min-seconds", 0) == 0
    out, err = capsys.readouterr()
    assert err == "edgecnn: note: the start-up of a.edgecnn can't be measured: it was killed by SIGKILL.\n"
    assert ["load", "12.00", "ms"] in [line.split() for line in out.splitlines()]


def test_offline_is_judged_by_throughput(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--scenario", "offline", "--min-seconds", 0) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == "throughput"
    assert ["scenario", "offline"] in [line.split() for line in lines]


def test_layers_are_timed_and_reported(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--min-seconds", 0, "--profile", "--json") in (0, 1)
    (tmp_path / "bench.json").write_text(capsys.readouterr().out)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {"/fc/Gemm"} <= {layer["name"] for layer in found["layers"]}
    assert found["peak"]["float32_gmacs"] > 0
    assert found["startup"]["total_ms"] > 0
    assert main(["report", str(artifact), "--bench", str(tmp_path / "bench.json"), "--format", "md"]) == 0
    assert "| layer | operator | output | ms |" in " ".join(capsys.readouterr().out.split()).replace("| :-", "|")
    assert _run(artifact, "--min-seconds", 0, "--profile") in (0, 1)
    out = capsys.readouterr().out
    assert "layers of colors.edgecnn" in out
    assert "the peak of this CPU on 1 thread" in out


def test_sizes_that_a_graph_leaves_open_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "open.onnx"
    path.write_bytes(one_node(shape=("batch", 3, "height", "width")))
    assert _run(path, "--min-seconds", 0) == 3
    assert "--shape" in capsys.readouterr().err
    assert _run(path, "--min-seconds", 0, "--shape", "2x3x8x8", "--json") in (0, 1)
    facts = json.loads(capsys.readouterr().out)
    assert facts["batch"] == 2
    assert facts["startup"] is not None


def test_the_page_is_written_whole_also_of_a_part(staged: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def latency(run: int) -> int:
        if run == 500:
            raise KeyboardInterrupt
        return MS

    staged["a.edgecnn"] = latency
    page = tmp_path / "bench.html"
    assert _run("a.edgecnn", "--plot", page) == 130
    assert f"{page}, {page.stat().st_size:,} bytes" in capsys.readouterr().err
    assert "interrupted, partial figures" in page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["bench.html"]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OutputNotWritable("the disk is full."), 4)])
def test_a_profile_that_fails_does_not_take_the_latencies_with_it(
    error: BaseException, code: int, staged: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    staged["a.edgecnn"] = lambda run: MS
    monkeypatch.setattr(profile, "profile_file", failing)
    assert _run("a.edgecnn", "--min-seconds", 0, "--profile") == code
    assert ["p90", "1.000", "ms"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_full_disk_leaves_no_half_of_a_page(
    staged: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    staged["a.edgecnn"] = lambda run: MS
    page = tmp_path / "bench.html"
    page.write_text("the old one")
    monkeypatch.setattr(os, "fsync", full)
    assert _run("a.edgecnn", "--min-seconds", 0, "--plot", page) == 4
    out, err = capsys.readouterr()
    assert "p90" in out  # the figures were not lost
    assert "the disk is full" in err
    assert page.read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["bench.html"]


def test_a_page_that_can_not_be_written_is_told_before_anything_runs(
    staged: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("a.edgecnn", "--plot", tmp_path / "gone" / "bench.html") == 4
    assert "there is no folder" in capsys.readouterr().err
    file = tmp_path / "a.onnx"
    file.write_bytes(color_classifier())
    assert _run(file, "--plot", file) == 2
    assert "is measured and would be replaced" in capsys.readouterr().err
    assert file.read_bytes() == color_classifier()


def test_too_few_runs_are_invalid_with_exit_code_1(staged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    staged["slow.edgecnn"] = lambda run: 500 * MS
    assert _run("slow.edgecnn", "--min-seconds", 1, "--min-runs", 3) == 1
    out, err = capsys.readouterr()
    assert "INVALID" in out
    assert err == "edgecnn: slow.edgecnn is INVALID: 10 runs are too few, at least 100 are needed. See docs/why-is-my-int8-model-slow.md.\n"


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
        (("ARTIFACT", "--idle-ms", "-1"), 2, "can't be slept"),
        (("ARTIFACT", "--scenario", "server"), 2, "single-stream"),
        (("ARTIFACT", "--provider", "cuda"), 4, "has no execution provider cuda; it has"),
        (("ARTIFACT", "--shape", "1x3x8x8"), 2, "states its sizes"),
        (("ARTIFACT", "--shape", "many"), 2, "is no shape"),
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


@pytest.mark.parametrize(
    ("threads", "message"),
    [
        ("0", "0 threads were asked for"),
        ("1,-1", "-1 threads were asked for"),
        ("100000", "100000 threads were asked for"),
        ("1,x", "is no number of"),
        ("", "is no"),
    ],
)
def test_impossible_threads_are_one_sentence(artifact: Path, threads: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, threads=threads) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, len(err.splitlines())) == ("", 1)


def test_benchmarking_loads_neither_torch_nor_onnx_nor_rich(artifact: Path) -> None:
    code = "import sys; from edgecnn.cli import main; main(sys.argv[1:]); print([n for n in ('torch', 'onnx', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, "bench", artifact, "--min-seconds", "0"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_numbers_keep_four_digits_and_never_powers_of_ten() -> None:
    assert [number(value) for value in (None, 0.0, 0.04123, 2.0, 12.346, 123.46, 1234.6, 123456.7)] == [
        "-", "0", "0.04123", "2.000", "12.35", "123.5", "1235", "123457",
    ]  # fmt: skip

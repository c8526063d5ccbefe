"""A benchmark is read back as it was written, is known by its graph, and is refused where anything in it can't be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import InputMissing, RecordRejected
from edgecnn.report.subject import Artifact, read_artifact
from edgecnn.report.timing import course, histogram, read_timing
from tests.fixtures.artifacts import color_artifact, tiny_artifact
from tests.fixtures.bench_reports import bench_report

MS = 1_000_000
HOST = {"processor": "a chip", "machine": "x86_64", "cores": 2, "cores_online": 4, "isa": ["avx2", "vnni"]}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return read_artifact(color_artifact(tmp_path / "colors.edgecnn"))


def bench(artifact: Artifact, **changed: Any) -> dict[str, Any]:
    """As `edgecnn bench --json` writes it."""
    samples = [MS + 1000 * (i % 7) for i in range(200)]
    report = bench_report(samples, name=f"somewhere/{artifact.name}", graph_sha256=artifact.graph_sha256, process_peak_mib=70.5)
    return {**report.to_json_dict(), "host": HOST, **changed}


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "bench.json"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def test_it_is_read_back_as_it_was_written(artifact: Artifact, tmp_path: Path) -> None:
    made = bench(artifact)
    found = read_timing(written(tmp_path, made), artifact)
    assert {**found.report.to_json_dict(), "host": HOST} == made
    assert found.machine == "a chip, 2 of 4 cores, avx2 vnni"
    assert found.layers == {}


def test_what_was_said_of_the_machine_is_judged_again(artifact: Artifact, tmp_path: Path) -> None:
    loaded = {"seconds": 10.0, "cpus": 2, "others": 0.4, "throttled": 0}
    made = bench(
        artifact, conditions=loaded, asked_provider="cuda", scenario="offline", idle_ms=5.0, bursts=[150, 50], cpu_ms=1.5, valid=True, problems=[]
    )
    report = read_timing(written(tmp_path, made), artifact).report
    assert [problem[:10] for problem in report.problems] == ["others had", "cuda was a"]
    assert (report.scenario, report.idle_ms, report.bursts) == ("offline", 5, (150, 50))
    assert report.busy_threads is not None
    assert report.busy_threads == pytest.approx(1.5, rel=0.01)


def test_the_first_schema_is_read_as_ever(artifact: Artifact, tmp_path: Path) -> None:
    new = bench(artifact)
    known = ("file", "graph_sha256", "provider", "threads", "batch", "warmup", "min_seconds", "min_runs", "load_ms", "first_ms", "process_peak_mib")
    old = {key: new[key] for key in (*known, "runs", "interrupted", "samples_ns", "host")}
    report = read_timing(written(tmp_path, {"schema": 1, **old}), artifact).report
    assert (report.scenario, report.conditions, report.cpu_ns) == ("single-stream", None, None)
    assert report.valid


def test_of_several_files_the_artifact_s_own_is_taken(artifact: Artifact, tmp_path: Path) -> None:
    other = bench(artifact, graph_sha256="0" * 64, threads=2)
    assert read_timing(written(tmp_path, other, "\n", bench(artifact, file="renamed.edgecnn")), artifact).report.threads == 1


def test_a_benchmark_without_a_digest_is_known_by_its_file_s_name(artifact: Artifact, tmp_path: Path) -> None:
    old = bench(artifact)
    del old["graph_sha256"], old["host"]
    found = read_timing(written(tmp_path, old), artifact)
    assert (found.report.runs, found.machine) == (200, "")
    with pytest.raises(RecordRejected, match=r"is of other\.edgecnn, and has none of colors\.edgecnn"):
        read_timing(written(tmp_path, {**old, "file": "folder/other.edgecnn"}), artifact)


def test_figures_beside_the_samples_are_not_believed(artifact: Artifact, tmp_path: Path) -> None:
    flattering = bench(artifact, ms={"p50": 0.001}, images_per_second=1e9, valid=True, drift=0.0, samples_ns=[MS] * 50, runs=50)
    found = read_timing(written(tmp_path, flattering), artifact).report
    assert found.to_json_dict()["ms"]["p50"] == 1
    assert found.images_per_second == pytest.approx(1000)
    assert not found.valid


def test_layers_are_taken_where_the_benchmark_times_them(artifact: Artifact, tmp_path: Path) -> None:
    layers = [{"name": "/fc/Gemm", "ms": 0.25}, {"name": "/pool/GlobalAveragePool", "ms": 0}]
    found = read_timing(written(tmp_path, bench(artifact, layers=layers)), artifact)
    assert found.layers == {"/fc/Gemm": 0.25, "/pool/GlobalAveragePool": 0.0}
    more = bench(artifact, layers=layers, others=[{"name": "Transpose", "ms": 0.5}])
    assert read_timing(written(tmp_path, more), artifact).others == {"Transpose": 0.5}
    for wrong, said in (([{"name": "/other", "ms": 1.0}], "'/other', which colors.edgecnn hasn't"), ([{"name": "/fc/Gemm", "ms": -1.0}], "no time")):
        with pytest.raises(RecordRejected, match=said):
            read_timing(written(tmp_path, bench(artifact, layers=wrong)), artifact)


def test_another_model_s_benchmark_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    other = read_artifact(tiny_artifact(tmp_path / "tiny.edgecnn"))
    with pytest.raises(RecordRejected, match=r"is of colors\.edgecnn, and has none of tiny\.edgecnn .*run: edgecnn bench tiny\.edgecnn --json"):
        read_timing(written(tmp_path, bench(artifact)), other)
    with pytest.raises(RecordRejected, match="has 2 measurements"):
        read_timing(written(tmp_path, bench(artifact), bench(artifact)), artifact)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": 3}, "schema: 3 was found, this edgecnn reads 1 and 2"),
        ({"bursts": [100, 99]}, "they hold 199 runs, there are 200 samples; the file was edited"),
        ({"bursts": [200, 0]}, "a burst holds no runs"),
        ({"scenario": "server"}, "is none of single-stream, offline"),
        ({"sessions": 0}, "must be at least 1"),
        ({"cpu_ms": -1.0}, "cpu_ms is -1.0"),
        ({"schema": True}, "schema: True was found"),
        ({"schema": "1"}, "schema: 1 was found"),
        ({"samples_ns": []}, "holds no samples"),
        ({"samples_ns": {}}, "holds no samples"),
        ({"samples_ns": [MS, -1], "runs": 2}, "-1, which is no time"),
        ({"samples_ns": [MS, 1.5], "runs": 2}, "1.5, which is no time"),
        ({"samples_ns": [MS, True], "runs": 2}, "True, which is no time"),
        ({"samples_ns": [10**30], "runs": 1}, "which is no time"),
        ({"runs": 7}, "it says 7, there are 200 samples; the file was edited"),
        ({"threads": 0}, "must be at least 1"),
        ({"batch": "many"}, "a whole number was wanted"),
        ({"load_ms": -3.0}, "load_ms is -3.0"),
        ({"provider": None}, "a text was wanted"),
        ({"interrupted": 1}, "true or false was wanted"),
    ],
)
def test_impossible_values_are_named(artifact: Artifact, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordRejected, match=r"bench\.json can't be used: ") as caught:
        read_timing(written(tmp_path, bench(artifact, **changed)), artifact)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["schema", "file", "samples_ns", "runs", "provider", "threads", "batch", "interrupted", "min_seconds"])
def test_a_key_that_is_missing_is_refused(artifact: Artifact, tmp_path: Path, key: str) -> None:
    less = bench(artifact)
    del less[key]
    with pytest.raises(RecordRejected, match=r"bench\.json can't be used"):
        read_timing(written(tmp_path, less), artifact)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "no json", "[]", "3", "{}", '{"schema": 1}', '{"schema": 1, "schema": 1, "samples_ns": [1]}', "[" * 100_000, "\x00\xff", "{"]
)
def test_what_is_no_benchmark_is_refused(artifact: Artifact, tmp_path: Path, text: str) -> None:
    with pytest.raises(RecordRejected, match=r"bench\.json"):
        read_timing(written(tmp_path, text), artifact)


@pytest.mark.parametrize("place", ["load_ms", "samples_ns"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_refused(artifact: Artifact, tmp_path: Path, place: str, value: float) -> None:
    changed = {place: [value] if place == "samples_ns" else value}
    with pytest.raises(RecordRejected, match="which is no JSON number"):
        read_timing(written(tmp_path, bench(artifact, **changed)), artifact)


def test_what_can_not_be_read_is_named(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="gone"):
        read_timing(tmp_path / "gone.json", artifact)
    with pytest.raises(RecordRejected, match="it is a folder"):
        read_timing(tmp_path, artifact)


def test_a_host_of_the_wrong_kind_is_left_out(artifact: Artifact, tmp_path: Path) -> None:
    odd = {"processor": ["x"], "machine": "m", "cores": "2", "isa": "avx2"}
    assert read_timing(written(tmp_path, bench(artifact, host=odd)), artifact).machine == "m"


# pictures

samples = st.lists(st.integers(0, 10**12), min_size=1, max_size=80)


@given(samples)
def test_a_histogram_loses_no_sample(found: list[int]) -> None:
    drawn = histogram(found)
    assert sum(count for _, _, count in drawn.bins) == len(found)
    assert drawn.bins[0][0] == pytest.approx(min(found) / 1e6)
    assert drawn.slowest == pytest.approx(max(found) / 1e6)
    assert all(low < high for low, high, _ in drawn.bins)
    end = drawn.bins[-1][1]
    assert drawn.beyond == sum(sample / 1e6 > end for sample in found)
    assert drawn.bins[-1][2] >= drawn.beyond


def test_a_long_tail_stands_in_the_last_bar() -> None:
    usual = [MS + i * 1000 for i in range(1000)]
    drawn = histogram([*usual, 900 * MS])
    assert (drawn.beyond, drawn.slowest, drawn.bins[-1][2]) == (1, 900, 1)
    assert drawn.bins[-1][1] < 10


@given(samples)
def test_the_course_ends_with_the_last_run(found: list[int]) -> None:
    drawn = course(found, points=10)
    assert len(drawn) <= 10
    assert drawn[-1][0] == pytest.approx(sum(found) / 1e9)
    assert [across for across, _ in drawn] == sorted(across for across, _ in drawn)
    assert all(min(found) / 1e6 <= up * (1 + 1e-9) and up <= max(found) / 1e6 * (1 + 1e-9) for _, up in drawn)


def test_a_drift_shows() -> None:
    drawn = course([*[MS] * 50, *[2 * MS] * 50], points=4)
    assert [up for _, up in drawn] == [1, 1, 2, 2]
    with pytest.raises(ValueError, match="no samples"):
        histogram([])
    assert np.isfinite(histogram([0, 0]).bins).all()

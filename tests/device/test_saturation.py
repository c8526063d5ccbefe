"""int8 on a CPU that saturates, played by an engine whose answers are off unless its precise mode is asked for.

`tools/x86_without_vnni` shows the same with onnxruntime itself, on an emulated CPU.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecnn
from edgecnn.artifact.bundle import open_bundle
from edgecnn.cli import main
from edgecnn.device import host, remembered
from edgecnn.device.engines import ort
from edgecnn.device.saturation import precise_for
from edgecnn.errors import CpuUnfit
from tests.fixtures.artifacts import encode, solid, tiny_artifact

SEVEN_BITS = {"quantizer": "int8", "reduce_range": True}


class Cpu:
    """The CPU that is played. vnni: whether it adds in 32 bits; off: by how much fast answers are off; precise_off: precise ones; opened: modes."""

    def __init__(self) -> None:
        self.vnni, self.off, self.precise_off = False, 0.5, 0.0
        self.opened: list[bool | None] = []


class Engine:
    def __init__(self, inner: Any, off: float) -> None:
        self._inner, self._off = inner, off
        self.inputs, self.outputs, self.provider, self.threads = inner.inputs, inner.outputs, inner.provider, inner.threads

    def run(self, feeds: Any) -> Any:
        return tuple(answer + np.float32(self._off) for answer in self._inner.run(feeds))

    def run_one(self, x: Any) -> Any:
        return self._inner.run_one(x) + np.float32(self._off)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cpu:
    played = Cpu()
    inner = ort.open_graph

    def open_graph(model: Any, *, precise: bool | None = None, **keywords: Any) -> Any:
        played.opened.append(precise)
        exact = played.vnni or (precise if precise is not None else host.may_saturate())
        off = 0.0 if played.vnni else played.precise_off if exact else played.off
        return Engine(inner(model, precise=False, **keywords), off)

    monkeypatch.setattr(host, "is_x86", lambda: True)
    monkeypatch.setattr(host, "has_vnni", lambda: played.vnni)
    monkeypatch.setattr(host, "processor", lambda: "an Old CPU")
    monkeypatch.setattr(ort, "open_graph", open_graph)
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path / "cache"))
    return played


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(encode(solid("red")))
    return tmp_path / "red.png"


def artifact(folder: Path, name: str = "int8.edgecnn", **keywords: Any) -> Path:
    """Made where nothing saturates, as on a host."""
    return tiny_artifact(folder / name, **{"quantization": "int8", "configuration": {"quantizer": "int8", "reduce_range": False}, **keywords})


@pytest.fixture
def eight_bits(tmp_path: Path) -> Path:
    return artifact(tmp_path)


@pytest.fixture
def seven_bits(tmp_path: Path) -> Path:
    return artifact(tmp_path, "seven.edgecnn", configuration=SEVEN_BITS)


def marks(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in (folder / "cache").rglob("*") if path.is_file())


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    assert main(["run", *map(str, arguments)]) == code
    return tuple(capsys.readouterr())  # type: ignore[return-value]


def test_the_first_start_says_what_was_seen_and_done_and_later_ones_cost_nothing(
    eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, told = run(capsys, eight_bits, picture)
    assert told.count("\n") == 1
    assert f"int8 products saturate on an Old CPU, so {eight_bits} runs in onnxruntime's precise mode, which is slower" in told
    assert "without it, input -> host's outputs: the largest difference is 0.5" in told
    assert "--target x86-64" in told
    assert marks(tmp_path) == ["precise\n"]
    cpu.opened.clear()
    assert run(capsys, eight_bits, picture) == (out, "")
    assert cpu.opened == [True]


def test_the_answers_are_the_host_s(eight_bits: Path, cpu: Cpu, picture: Path) -> None:
    found = edgecnn.load(eight_bits).predict(picture)
    cpu.vnni = True
    assert edgecnn.load(eight_bits).predict(picture).top == found.top


def test_with_vnni_nothing_is_looked_at_or_kept(
    eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu.vnni = True
    assert run(capsys, eight_bits, picture)[1] == ""
    assert cpu.opened == [None]
    assert marks(tmp_path) == []


@pytest.mark.parametrize("quantization", ["none", "fp16"])
def test_a_model_in_floats_is_not_concerned(quantization: str, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu.off = 0.0
    assert run(capsys, artifact(tmp_path, quantization=quantization), picture)[1] == ""
    assert cpu.opened == [None, None, None]  # the fixture's, twice, and the run's
    assert marks(tmp_path) == []


def test_seven_bits_need_no_precise_mode(seven_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu.off = 0.0
    assert run(capsys, seven_bits, picture)[1] == ""
    assert marks(tmp_path) == ["fast\n"]
    cpu.opened.clear()
    assert run(capsys, seven_bits, picture)[1] == ""
    assert cpu.opened == [False]


def test_what_a_record_claims_is_not_believed_against_the_golden_answers(
    seven_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "precise mode" in run(capsys, seven_bits, picture)[1]
    assert marks(tmp_path) == ["precise\n"]


def test_eight_bits_run_precisely_though_the_golden_answers_alone_show_nothing(
    eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu.off = 0.0
    told = run(capsys, eight_bits, picture)[1]
    assert "int8 products may saturate on an Old CPU" in told
    assert "without it" not in told
    assert marks(tmp_path) == ["precise\n"]


def test_where_the_precise_mode_does_not_help_either_it_is_refused(
    eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu.precise_off = 0.25
    out, told = run(capsys, eight_bits, picture, code=4)
    assert (out, told.count("\n")) == ("", 1)
    assert f"{eight_bits} doesn't give its golden answers on an Old CPU" in told
    assert "the largest difference is 0.25" in told
    assert "in float32" in told
    assert marks(tmp_path) == []
    with pytest.raises(CpuUnfit):
        edgecnn.load(eight_bits)


def test_answers_that_are_no_numbers_are_refused(eight_bits: Path, cpu: Cpu) -> None:
    cpu.precise_off = float("nan")
    with pytest.raises(CpuUnfit):
        edgecnn.load(eight_bits)


def test_the_target_that_it_was_exported_for_is_named(cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifact(tmp_path, configuration={"quantizer": "int8", "target": "rpi5"})
    assert f"{path}, exported for rpi5, runs in onnxruntime's precise mode" in run(capsys, path, picture)[1]


def test_python_tells_it_to_the_log_once(eight_bits: Path, cpu: Cpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "edgecnn"):
        edgecnn.load(eight_bits)
        edgecnn.load(eight_bits)
    assert [record.name for record in caplog.records] == ["edgecnn"]
    assert "precise mode" in caplog.text


def test_an_installed_model_is_settled_too(eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgecnn import store

    cpu.vnni = True  # the trial of the installation runs in a process of its own, which plays no part here
    store.install(eight_bits, store=tmp_path / "store")
    cpu.vnni = False
    first, second = (run(capsys, "tiny", picture, "--store", tmp_path / "store")[1] for _ in range(2))
    assert "precise mode" in first
    assert second == ""


@pytest.mark.parametrize("change", ["graph", "version", "cpu"])
def test_another_graph_runtime_or_cpu_is_settled_anew(
    eight_bits: Path, cpu: Cpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    edgecnn.load(eight_bits)
    cpu.opened.clear()
    path = eight_bits
    if change == "graph":
        from tests.fixtures.graphs import tiny_classifier

        cpu.vnni = True
        path = artifact(tmp_path, "other.edgecnn", model=tiny_classifier(seed=7))
        cpu.vnni = False
        cpu.opened.clear()
    elif change == "version":
        monkeypatch.setattr("onnxruntime.__version__", "99.0")
    else:
        monkeypatch.setattr(host, "processor", lambda: "another CPU")
    edgecnn.load(path)
    assert cpu.opened == [False, True]
    assert marks(tmp_path) == ["precise\n", "precise\n"]


@pytest.mark.parametrize("content", ["", "slow", "precise" * 9, "\x00\xff"])
def test_a_broken_mark_counts_for_nothing(eight_bits: Path, cpu: Cpu, tmp_path: Path, content: str) -> None:
    edgecnn.load(eight_bits)
    (mark,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    mark.write_text(content)
    cpu.opened.clear()
    edgecnn.load(eight_bits)
    assert cpu.opened == [False, True]
    assert marks(tmp_path) == ["precise\n"]


def test_without_a_cache_it_is_found_out_each_time(
    eight_bits: Path, cpu: Cpu, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    first, second = (run(capsys, eight_bits, picture) for _ in range(2))
    assert first == second
    assert "precise mode" in first[1]


def test_without_a_home_it_is_found_out_each_time(eight_bits: Path, cpu: Cpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGECNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert edgecnn.load(eight_bits).notes
    assert edgecnn.load(eight_bits).notes


def test_the_cache_does_not_grow_for_ever(eight_bits: Path, cpu: Cpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "KEPT", 2)
    folder = tmp_path / "cache" / "int8"
    folder.mkdir(parents=True)
    for age in range(4):
        (folder / f"old{age}").write_text("fast\n")
        os.utime(folder / f"old{age}", (1000 - age, 1000 - age))
    edgecnn.load(eight_bits)
    assert {path.name for path in folder.iterdir()} > {"old0"}
    assert len(list(folder.iterdir())) == 2


def test_validate_and_bench_take_the_mode_that_run_does(eight_bits: Path, seven_bits: Path, cpu: Cpu) -> None:
    with open_bundle(eight_bits) as eight, open_bundle(seven_bits) as seven:
        assert (precise_for(eight), precise_for(seven)) == (True, False)  # before the first start, by the record
        edgecnn.load(seven_bits)
        assert precise_for(seven) is True  # after it, by what was seen
        cpu.vnni = True
        assert precise_for(eight) is None
    cpu.vnni = False
    assert main(["validate", str(eight_bits)]) == 0

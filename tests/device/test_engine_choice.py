"""`--engine auto`: measured once, checked against the golden answers, remembered, and harmless where it can't be."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgecnn
from edgecnn.artifact.bundle import open_bundle
from edgecnn.cli import main
from edgecnn.device import choice, engines
from edgecnn.device.engines import ort
from edgecnn.errors import ExtraMissing, UsageError
from tests.fixtures.artifacts import color_artifact, encode, solid

HERE = ("openvino", "ort")


class Slowed:
    """onnxruntime under another name, with its speed and its answers as a test wants them."""

    def __init__(self, engine: Any, *, wrong: float = 0.0) -> None:
        self._engine, self._wrong = engine, wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run_one(self, x: np.ndarray) -> np.ndarray:
        return self._engine.run_one(x) + np.float32(self._wrong)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A second engine as a test wants it: .wrong is added to its answers, .fails is raised on opening; .times is what a race would find."""
    wanted = SimpleNamespace(wrong=0.0, fails=None, times={"ort": 2.0, "openvino": 1.0}, races=0)
    module = importlib.import_module("edgecnn.device.engines.openvino")

    def open_graph(model: bytes | Path, **keywords: Any) -> Any:
        if wanted.fails is not None:
            raise wanted.fails
        return Slowed(ort.open_graph(model, **keywords), wrong=wanted.wrong)

    def race(runners: Any) -> dict[str, float]:
        wanted.races += 1
        for run in runners.values():
            run()
        return {name: wanted.times[name] for name in runners}

    monkeypatch.setattr(module, "open_graph", open_graph)
    monkeypatch.setattr(module, "available", lambda: True)
    monkeypatch.setattr(choice, "race", race)
    return wanted


def chosen(artifact: Path, **keywords: Any) -> choice.Choice:
    with open_bundle(artifact) as bundle:
        return choice.choose(bundle, "auto", **keywords)


def test_the_faster_is_taken_said_once_and_remembered(artifact: Path, cache: Path, other: Any) -> None:
    found = chosen(artifact)
    assert found.engine == "openvino"
    assert found.told is not None
    assert "takes openvino on this machine from now on (openvino 1e+03 ms, ort 2e+03 ms)" in found.told
    assert chosen(artifact) == choice.Choice(engine="openvino")
    assert other.races == 1


def test_the_reference_engine_stays_unless_the_other_is_clearly_faster(artifact: Path, cache: Path, other: Any) -> None:
    other.times = {"ort": 1.0, "openvino": 0.96}
    assert chosen(artifact).engine == "ort"
    assert choice.fastest({"ort": 1.0, "openvino": 0.94}) == "openvino"


def test_an_engine_with_other_answers_is_left_out_however_fast(artifact: Path, cache: Path, other: Any) -> None:
    other.wrong = 3.0
    found = chosen(artifact)
    assert (found.engine, other.races) == ("ort", 0)
    assert "openvino was left out (its answers fall short: the largest difference is 3" in str(found.told)


def test_an_engine_that_cannot_open_the_graph_is_left_out(artifact: Path, cache: Path, other: Any) -> None:
    other.fails = edgecnn.errors.GraphRejected("openvino 1 can't load the graph (why).")
    found = chosen(artifact)
    assert found.engine == "ort"
    assert "openvino was left out (openvino 1 can't load the graph (why))" in str(found.told)


@pytest.mark.parametrize("change", ["threads", "version", "cpu", "graph"])
def test_what_was_kept_is_for_this_graph_machine_versions_and_threads(
    change: str, artifact: Path, cache: Path, other: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen(artifact, threads=1)
    keywords: dict[str, Any] = {"threads": 1}
    if change == "threads":
        monkeypatch.setattr(choice, "allowed_threads", lambda threads: threads)
        keywords = {"threads": 2}
    elif change == "version":
        monkeypatch.setattr(choice, "_version", lambda name: f"{name} 99")
    elif change == "cpu":
        monkeypatch.setattr(choice, "cpu", lambda: ("another",))
    else:
        artifact = color_artifact(tmp_path / "more.edgecnn", batch="batch")
    other.times = {"ort": 1.0, "openvino": 2.0}
    assert chosen(artifact, **keywords).engine == "ort"
    assert other.races == 2


@pytest.mark.parametrize("damage", ["garbage", "another name", "a folder", "no place"])
def test_a_cache_that_cannot_be_used_is_done_without(damage: str, artifact: Path, cache: Path, other: Any) -> None:
    if damage == "no place":
        cache.write_text("a file where the folder would be")
    else:
        chosen(artifact)
        (kept,) = (cache / "engine").iterdir()
        if damage == "a folder":
            kept.unlink()
            kept.mkdir()
        else:
            kept.write_bytes(b"\xff\x00garbage" if damage == "garbage" else b"os\n")
    assert chosen(artifact).engine == "openvino"
    assert other.races == (1 if damage == "no place" else 2)


def test_where_one_engine_is_installed_it_runs_and_says_how_to_get_the_other(artifact: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("edgecnn.device.engines.openvino"), "available", lambda: False)
    found = chosen(artifact)
    assert found.engine == "ort"
    assert "pip install 'edgecnn[openvino]'" in str(found.told)
    assert not cache.exists()


def test_threads_beyond_what_is_allowed_are_refused(artifact: Path, cache: Path, other: Any) -> None:
    with pytest.raises(UsageError, match="may use"):
        chosen(artifact, threads=0)


def test_the_commands_say_what_was_chosen_on_standard_error(
    artifact: Path, cache: Path, other: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(encode(solid("red")))
    assert main(["run", str(artifact), str(tmp_path / "red.png"), "--engine", "auto"]) == 0
    first = capsys.readouterr()
    assert "red" in first.out
    assert first.err.startswith("edgecnn: --engine auto takes openvino on this machine from now on")
    assert main(["validate", str(artifact), "--engine", "auto"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bare_graph_has_nothing_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name an engine"):
        choice.engine_for(tmp_path / "net.onnx", "auto")
    assert choice.engine_for(tmp_path / "net.onnx", "openvino").engine == "openvino"


def test_a_race_takes_turns_and_interruptions_do_not_count() -> None:
    now = 0.0
    order: list[str] = []

    def runner(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            nonlocal now
            if not order or order[-1] != name:
                order.append(name)
            now += seconds
            if len(order) % 3 == 0:  # another program has the CPU
                now += 0.05

        return run

    times = choice.race({"a": runner("a", 0.002), "b": runner("b", 0.004)}, clock=lambda: now)
    assert times == pytest.approx({"a": 0.002, "b": 0.004})
    # the second round begins with the second: its bursts stand side by side there
    assert order[:4] == ["a", "b", "a", "b"]
    assert len(order) > choice.LEAST_ROUNDS


def test_a_race_of_slow_networks_ends_soon_but_not_at_once() -> None:
    now = 0.0
    runs = 0

    def run() -> None:
        nonlocal now, runs
        now += 0.5
        runs += 1

    choice.race({"a": run, "b": run}, clock=lambda: now)
    assert runs == 2 * 2 * choice.LEAST_ROUNDS


def test_a_missing_openvino_is_one_sentence_with_the_pip_line(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExtraMissing, match=r"openvino isn't installed, and this needs it; run: pip install 'edgecnn\[openvino\]'"):
        edgecnn.load(artifact, engine="openvino")
    assert main(["validate", str(artifact), "--engine", "openvino"]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_engine_is_a_usage_error_with_those_there_are(artifact: Path) -> None:
    with pytest.raises(UsageError, match="the engines are openvino, ort"):
        edgecnn.load(artifact, engine="tensorrt")
    assert main(["run", str(artifact), "x.png", "--engine", "tensorrt"]) == 2


@pytest.mark.parametrize("arguments", [("--help",), ("run", "{artifact}", "{picture}"), ("validate", "{artifact}")])
def test_the_default_engine_imports_no_openvino(arguments: tuple[str, ...], artifact: Path, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(encode(solid("red")))
    given = [word.format(artifact=artifact, picture=picture) for word in arguments]
    script = "import sys\nfrom edgecnn.cli import main\nmain(sys.argv[1:])\nassert not [name for name in sys.modules if name.startswith('openvino')]"
    done = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_the_option_offers_every_engine_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.names() == HERE
    for command in ("run", "validate", "bench"):
        assert main([command, "--help"]) == 0
        assert "[openvino|ort|auto]" in capsys.readouterr().out

"""`edgecnn export --target`: what comes out is for that device, and says so."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build import pipeline
from edgecnn.build.search import lab
from edgecnn.build.search.speed import Race
from edgecnn.build.simplify import Simplified
from edgecnn.cli import main
from edgecnn.device.host import available_cores
from edgecnn.errors import UsageError
from tests.fixtures.onnx_nets import color_folder, color_net
from tests.fixtures.probes import probe_file, runtime

DESCRIBED = ("--labels", "blue,green,red", "--preprocess", "size=16x16")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 60, seed=2)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without onnxsim's child, which takes seconds."""
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def export(place: Path, output: Path, *options: object) -> int:
    data = ["--calibration", place / "some", "--validation", place / "others"]
    return main(list(map(str, ["export", place / "colors.onnx", "-o", output, *DESCRIBED, *data, *options])))


def stages(path: Path) -> dict[str, dict[str, object]]:
    """Each stage's configuration."""
    with open_bundle(path) as bundle:
        return {stage.name: dict(stage.configuration) for stage in bundle.report().stages}


@pytest.mark.parametrize(("target", "activation_type", "reduce_range"), [("rpi5", "int8", False), ("x86-64", "uint8", True)])
def test_the_artifact_is_quantized_for_its_target_and_says_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, activation_type: str, reduce_range: bool
) -> None:
    path = tmp_path / "a.edgecnn"
    assert export(place, path, "--quantize", "int8", "--target", target) == 0
    found = stages(path)
    assert found["export"]["target"] == target
    assert (found["quantize"]["activation_type"], found["quantize"]["reduce_range"]) == (activation_type, reduce_range)
    capsys.readouterr()
    assert main(["inspect", str(path)]) == 0
    assert f"target      {target}\n" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["configuration"]["target"] == target


def test_without_a_target_none_is_recorded(place: Path, tmp_path: Path) -> None:
    assert export(place, tmp_path / "a.edgecnn") == 0
    assert "target" not in stages(tmp_path / "a.edgecnn")["export"]


def test_a_device_s_own_probe_decides_the_opset(place: Path, tmp_path: Path) -> None:
    probe = probe_file(tmp_path / "probe.json", onnxruntime=runtime(opset=15, ir_version=8))
    assert export(place, tmp_path / "a.edgecnn", "--target", probe) == 0
    with open_bundle(tmp_path / "a.edgecnn") as bundle:
        assert (bundle.manifest.opset, bundle.manifest.ir_version) == (15, 8)
    assert stages(tmp_path / "a.edgecnn")["export"]["target"] == "Raspberry Pi 4 Model B Rev 1.4"  # and not where the file lay


def test_python_takes_a_target_too(place: Path, tmp_path: Path) -> None:
    described = {"labels": ["blue", "green", "red"], "preprocess": "size=16x16"}
    pipeline.export(place / "colors.onnx", output=tmp_path / "a.edgecnn", target="rpi4", **described)
    assert stages(tmp_path / "a.edgecnn")["export"]["target"] == "rpi4"


def test_weights_that_saturate_there_are_refused_before_the_work(place: Path, tmp_path: Path) -> None:
    given = {"labels": ["blue", "green", "red"], "preprocess": "size=16x16", "calibration": place / "some", "config": {"reduce_range": False}}
    with pytest.raises(UsageError, match="saturates on an x86-64 PC"):
        pipeline.export(place / "colors.onnx", output=tmp_path / "a.edgecnn", quantize="int8", target="x86-64", **given)
    assert not (tmp_path / "a.edgecnn").exists()


def test_what_auto_found_for_a_target_is_made_again_with_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raced = []

    def race(models: Iterable[str], *_: object, threads: int, **__: object) -> Race:
        raced.append(threads)
        return Race(rounds={name: (5e5 if name.startswith("int8") else 1e6,) * 15 for name in models})

    monkeypatch.setattr(lab, "race", race)
    recipe = ("--recipe", tmp_path / "r.toml")
    assert export(place, tmp_path / "a.edgecnn", "--quantize", "auto", "--max-drop", 8, *recipe, "--target", "rpi4") == 0
    assert set(raced) == {min(4, available_cores())}
    assert "not on Raspberry Pi 4 Model B" in capsys.readouterr().err
    assert export(place, tmp_path / "b.edgecnn", *recipe) == 0
    assert stages(tmp_path / "b.edgecnn")["export"]["target"] == "rpi4"
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--target", "rpi44"), 2, "did you mean rpi4?"),
        (("--target", "armv7"), 2, "onnxruntime has no wheel for 32-bit Arm (armv7l)"),
        (("--target", "gone.json"), 3, "gone.json doesn't exist"),
        (("--target", "broken.json"), 3, "broken.json is no probe of a device"),
        (("--target", "newer.json"), 3, "upgrade edgecnn here"),
        (("--target", "old.json", "--opset", "20"), 2, "take --opset 15 or lower"),
        (("--target", "ancient.json"), 2, "install a newer onnxruntime there"),
        (("--target", "dead.json"), 2, "killed by SIGILL"),
    ],
)
def test_what_cannot_run_there_is_one_sentence_and_no_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    Path("newer.json").write_text('{"schema": 7}')
    probe_file(Path("old.json"), onnxruntime=runtime(opset=15, ir_version=8))
    probe_file(Path("ancient.json"), onnxruntime=runtime(opset=11, ir_version=6))
    probe_file(Path("dead.json"), onnxruntime=runtime(opset=None, ir_version=None, failure="it was killed by SIGILL"))
    assert export(place, tmp_path / "a.edgecnn", *options) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not (tmp_path / "a.edgecnn").exists()

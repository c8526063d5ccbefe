"""The whole road, as a user walks it: pictures and a recipe become a checkpoint, artifacts, answers; with one label and with several."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecnn.artifact.bundle import open_bundle
from edgecnn.cli import main

Walk = Callable[..., list[str]]

RECIPE = """
name = "road"
task = "{task}"
license = "Apache-2.0"

[net]
name = "simplecnn"
options = {{ channels = [6], hidden = [8] }}

[preprocess]
size = [16, 14]
resize_mode = "shortest-edge"
image_mean = [0.5, 0.5, 0.5]
image_std = [0.25, 0.25, 0.25]

[data]
train = {{ path = "train{suffix}" }}
validation = {{ path = "held-out{suffix}" }}
license = "CC0-1.0"

[augment]
flip = true

[optimizer]
learning_rate = 0.05

[schedule]
epochs = 24
batch_size = 16

[numerics]
weight_averaging = 0.9
seed = 1
"""


def picture(marks: Sequence[int], random: np.random.Generator) -> Image.Image:
    """40 x 30: noise with, for each mark 0, 1 or 2, a third from top to bottom that is brighter by much or by next to nothing."""
    pixels = random.integers(0, 180, (40, 30, 3), dtype=np.uint8)
    for mark in marks:
        pixels[13 * mark : 13 * mark + 13] += random.integers(1, 55, dtype=np.uint8)
    return Image.fromarray(pixels)


def write_folders(folder: Path, count: int, seed: int) -> None:
    """A picture a file, high/, middle/ or low/; every eighth lies in the wrong folder, so that nobody is right about all."""
    random = np.random.default_rng(seed)
    for i in range(count):
        label = (i + (i % 8 == 0)) % 3
        place = folder / ("high", "middle", "low")[label]
        place.mkdir(parents=True, exist_ok=True)
        picture([i % 3], random).save(place / f"{i:03}.png")


def write_table(folder: Path, count: int, seed: int) -> None:
    """The same with any number of marks in each, in FOLDER.csv; every eighth has a label too many or too few."""
    random = np.random.default_rng(seed)
    rows = ["file,labels"]
    (folder.parent / "pictures").mkdir(exist_ok=True)
    for i in range(count):
        marks = [mark for mark in range(3) if i >> mark & 1]
        said = {*marks} ^ ({i % 3} if i % 8 == 3 else set())
        name = f"pictures/{folder.name}-{i:03}.png"
        picture(marks, random).save(folder.parent / name)
        rows.append(f"{name},{';'.join(('high', 'middle', 'low')[label] for label in sorted(said))}")
    folder.with_suffix(".csv").write_text("\n".join(rows) + "\n")


@dataclass(frozen=True, kw_only=True)
class Road:
    """Where a task's data, checkpoint and artifacts lie. said: what each step printed, as JSON lines."""

    place: Path
    task: str
    suffix: str
    said: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def held_out(self) -> str:
        return str(self.place / f"held-out{self.suffix}")

    def artifact(self, quantize: str) -> str:
        return str(self.place / f"{quantize}.edgecnn")


@pytest.fixture(scope="module", params=["single-label", "multi-label"])
def road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Trained and exported, without quantization and to int8."""
    several = request.param == "multi-label"
    road = Road(place=tmp_path_factory.mktemp(request.param), task=request.param, suffix=".csv" if several else "")
    write = write_table if several else write_folders
    for name, count, seed in (("train", 96, 1), ("held-out", 64, 2), ("calibration", 32, 3)):
        write(road.place / name, count, seed)
    recipe = road.place / "recipe.toml"
    recipe.write_text(RECIPE.format(task=road.task, suffix=road.suffix))
    checkpoint = str(road.place / "run" / "model.safetensors")
    steps = {"train": ["train", str(recipe), "-o", str(road.place / "run"), "--threads", "1"]}
    for quantize in ("none", "int8"):
        export = ["export", checkpoint, "-o", road.artifact(quantize), "--validation", road.held_out, "--min-agreement", "0.9"]
        calibration = ["--quantize", "int8", "--calibration", str(road.place / f"calibration{road.suffix}")]
        steps[quantize] = [*export, *(calibration if quantize == "int8" else [])]
    for name, arguments in steps.items():
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main([*arguments, "--json"]) == 0
        road.said[name] = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
    return road


@pytest.fixture
def walk(capsys: pytest.CaptureFixture[str]) -> Walk:
    """walk(*arguments): a command that must succeed and have nothing to remark; its lines."""

    def run(*arguments: object) -> list[str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out.splitlines()

    return run


def test_the_accuracy_that_training_reports_is_the_float32_artifacts_to_the_image(road: Road, walk: Walk) -> None:
    reported = road.said["train"][-1]["validation_accuracy"]
    (line,) = walk("validate", road.artifact("none"), "--data", road.held_out, "--json")
    found = json.loads(line)["accuracy"]
    assert found["count"] == 64
    assert reported == found["correct"] / 64
    assert 32 < found["correct"] < 64  # it learned, and an eighth is labelled wrong


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_export_counts_as_the_device_does(quantize: str, road: Road, walk: Walk) -> None:
    (told,) = road.said[quantize]
    (line,) = walk("validate", road.artifact(quantize), "--data", road.held_out, "--json")
    facts = json.loads(line)
    assert facts["golden"]["passed"]
    assert facts["accuracy"]["correct"] == told["accuracy"]["artifact"]["correct"]
    assert told["accuracy"]["source"]["correct"] == road.said["train"][-1]["validation_accuracy"] * 64
    assert told["validated"]


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_run_says_what_validate_counts(quantize: str, road: Road, walk: Walk) -> None:
    if road.suffix:
        rows = [line.split(",") for line in Path(road.held_out).read_text().splitlines()[1:]]
        wanted = {str(road.place / name): sorted(filter(None, labels.split(";"))) for name, labels in rows}
    else:
        wanted = {str(path): [path.parent.name] for path in Path(road.held_out).rglob("*.png")}
    said = [json.loads(line) for line in walk("run", road.artifact(quantize), *wanted, "--json")]
    assert [line["task"] for line in said] == [road.task] * 64
    right = sum(sorted(line["labels"]) == wanted[line["input"]] for line in said)
    (line,) = walk("validate", road.artifact(quantize), "--data", road.held_out, "--json")
    assert right == json.loads(line)["accuracy"]["correct"]
    assert any(len(line["labels"]) > 1 for line in said) == (road.task == "multi-label")


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_what_is_inside_is_told(quantize: str, road: Road, walk: Walk) -> None:
    facts = json.loads(walk("inspect", road.artifact(quantize), "--json")[0])
    assert facts["spec"]["labels"] == sorted(["high", "middle", "low"])
    assert facts["spec"]["task"] == road.task
    assert facts["licenses"] == {"model": "Apache-2.0", "data": "CC0-1.0"}
    assert [stage["name"] for stage in facts["stages"]] == ["export", "simplify", *(["quantize"] if quantize == "int8" else [])]
    assert facts["validated"]
    assert walk("inspect", road.artifact(quantize))[0].startswith("model")


def test_int8_is_smaller_and_differs_from_float32_by_little(road: Road) -> None:
    with open_bundle(road.artifact("none")) as float32, open_bundle(road.artifact("int8")) as int8:
        assert len(int8.read("model.onnx")) < len(float32.read("model.onnx"))
    accuracy = road.said["int8"][0]["accuracy"]
    assert abs(accuracy["artifact"]["correct"] - accuracy["source"]["correct"]) <= 4


_ON_A_DEVICE = """
import json, sys
from edgecnn.cli import main
codes = [main(arguments) for arguments in json.loads(sys.argv[1])]
loaded = {name.partition(".")[0] for name in sys.modules} & {"torch", "onnx", "onnxscript", "onnxsim", "safetensors", "rich", "lightning_fabric"}
print(json.dumps([codes, sorted(loaded)]))
"""


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_device_needs_neither_torch_nor_onnx_for_it(quantize: str, road: Road) -> None:
    artifact = road.artifact(quantize)
    commands = [
        ["run", artifact, str(next(road.place.rglob("*.png")))],
        ["validate", artifact, "--data", road.held_out],
        ["inspect", artifact],
        ["card", artifact, "--data", road.held_out],
        ["bench", artifact, "--min-seconds", "0.01"],
    ]
    done = subprocess.run([sys.executable, "-c", _ON_A_DEVICE, json.dumps(commands)], capture_output=True, text=True)
    codes, loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded == []
    assert codes[:4] == [0, 0, 0, 0], done.stderr
    assert codes[4] in (0, 1)  # a busy machine may make a benchmark invalid
    assert "provider" in done.stdout

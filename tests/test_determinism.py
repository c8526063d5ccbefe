"""Two exports of the same checkpoint give the same bytes, wherever and whenever they are made, and say what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgecnn import __version__
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.cli import main
from tests.fixtures.onnx_nets import COLORS, color_folder

RECIPE_SHA256 = hashlib.sha256(b"a recipe").hexdigest()
PLACES = {
    "here": ({"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, "022"),
    "else/where": ({"TZ": "XYZ-13:45", "LC_ALL": "C.utf8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "4242"}, "077"),
}


def write_checkpoint(path: Path) -> None:
    import torch

    from edgecnn.train.checkpoint import Checkpoint, Header, save_checkpoint
    from edgecnn.train.nets import build_net
    from edgecnn.train.recipe import NetConfig

    torch.manual_seed(0)
    options = {"channels": (4,), "hidden": (6,)}
    weights = build_net("simplecnn", num_classes=3, in_channels=3, input_size=(16, 16), options=options).state_dict()
    header = Header(
        spec=make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16))),
        net=NetConfig(name="simplecnn", options=options),
        epoch=1,
        epochs=1,
        steps_per_epoch=1,
        threads=1,
        recipe_sha256=RECIPE_SHA256,
        seed=0,
        license="Apache-2.0",
        data_license="CC0-1.0",
    )
    save_checkpoint(path, Checkpoint(header=header, weights=weights))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The artifacts of two processes, each with a folder, a home, a time zone, a locale, a hash seed and a umask of its own."""
    root = tmp_path_factory.mktemp("determinism")
    write_checkpoint(root / "model.safetensors")
    color_folder(root / "images", 24, seed=1)
    running = []
    for name, (environment, umask) in PLACES.items():
        place = root / name
        place.mkdir(parents=True)
        (place / "home").mkdir()
        shutil.copy(root / "model.safetensors", place)
        files = sorted((root / "images").rglob("*.png"), reverse=name == "here")  # so that the folders list them in another order
        for file in files:
            target = place / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        command = "import os, sys; os.umask(int(sys.argv.pop(1), 8)); from edgecnn.cli import main; sys.exit(main(sys.argv[1:]))"
        arguments = ["export", "model.safetensors", "-o", "net.edgecnn", "--quantize", "int8", "--calibration", "images", "--min-agreement", "0"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "TZ", "PYTHON"))}
        settled = {**kept, **environment, "HOME": str(place / "home"), "TMPDIR": str(place), "PYTHONPATH": str(Path(__file__).parents[1])}
        running.append(
            subprocess.Popen([sys.executable, "-c", command, umask, *arguments], cwd=place, env=settled, stderr=subprocess.PIPE, text=True)
        )
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    return [root / name / "net.edgecnn" for name in PLACES]


def test_another_folder_home_zone_locale_seed_and_umask_give_the_same_bytes(exports: list[Path]) -> None:
    first, second = exports
    assert first.read_bytes() == second.read_bytes()


def test_what_it_was_made_from_is_told_in_words_and_in_json(exports: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(exports[0]), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    versions = {name: metadata.version(name) for name in ("torch", "onnx", "onnxruntime", "onnxsim")}
    assert {name: facts["tools"][name] for name in versions} == versions
    assert facts["edgecnn_version"] == __version__
    assert facts["licenses"] == {"model": "Apache-2.0", "data": "CC0-1.0"}
    made = {key: value for stage in facts["stages"] for key, value in stage["configuration"].items()}
    assert made["recipe_sha256"] == RECIPE_SHA256
    assert made["calibration_images"] == 24
    assert main(["inspect", str(exports[0])]) == 0
    text = capsys.readouterr().out
    for name, version in (*versions.items(), ("edgecnn", __version__)):
        assert f"{name} {version}" in text
    for said in (RECIPE_SHA256, made["calibration_sha256"], "calibration_images 24", "model Apache-2.0", "data CC0-1.0"):
        assert said in text


def test_nothing_of_where_it_was_made_is_inside(exports: list[Path]) -> None:
    data = exports[0].read_bytes()
    for place in (*exports, Path(__file__).parent):
        assert str(place.parent).encode() not in data

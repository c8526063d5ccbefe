"""What never ends, or has more bytes than anything honest, in the place of each file that a command reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.bad_input.conftest import Refused
from tests.fixtures.signing import make_keys

DESCRIBED = ["--labels", "blue,green,red", "--preprocess", "size=16x16", "-o", "o.edgecnn"]
READ = {
    "an artifact to run": ["run", "x.edgecnn", "IMAGE"],
    "an image": ["run", "old.edgecnn", "x.png"],
    "an array": ["run", "old.edgecnn", "x.npy"],
    "a trusted key": ["run", "SIGNED", "IMAGE", "--key", "x.pem"],
    "a signature": ["verify", "x.sig", "--key", "PUB"],
    "an artifact to inspect": ["inspect", "x.edgecnn"],
    "a graph to inspect": ["inspect", "x.onnx"],
    "a graph to time": ["bench", "x.onnx"],
    "an artifact to install": ["store", "install", "x.edgecnn", "--store", "nowhere"],
    "a key to sign with": ["sign", "old.edgecnn", "--key", "x.pem"],
    "a card's recipe": ["card", "old.edgecnn", "--recipe", "x.toml"],
    "a card's text": ["card", "old.edgecnn", "--about", "x.md"],
    "a training's recipe": ["train", "x.toml", "-o", "run"],
    "a graph to export": ["export", "x.onnx", *DESCRIBED],
    "a checkpoint": ["export", "x.safetensors", "-o", "o.edgecnn"],
    "weights": ["export", "NET:build", "--weights", "x.safetensors", *DESCRIBED],
    "labels": ["export", "GRAPH", "--labels", "x.txt", "--preprocess", "size=16x16", "-o", "o.edgecnn"],
    "a preprocessing": ["export", "GRAPH", "--labels", "blue,green,red", "--preprocess", "x.toml", "-o", "o.edgecnn"],
    "an export's recipe": ["export", "GRAPH", *DESCRIBED, "--recipe", "x.toml", "--calibration", "IMAGE"],
}
ENDLESS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """So that a command which waits fails its test."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it is still reading")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize("read", READ)
def test_it_is_refused_and_not_waited_for(read: str, how: str, tmp_path: Path, made: Path, refused: Refused) -> None:
    (name,) = (argument for argument in READ[read] if argument.startswith("x."))
    (tmp_path / "net.py").write_text("import torch\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3))\n")
    signed = tmp_path / "signed.edgecnn"
    signed.write_bytes((made / "colors.edgecnn").read_bytes())
    hostile = tmp_path / "signed.edgecnn.sig" if name == "x.sig" else tmp_path / name
    if name != "x.sig":
        (tmp_path / "signed.edgecnn.sig").write_bytes(b"{}")
    ENDLESS[how](hostile)
    places = {
        name: signed if name == "x.sig" else hostile,
        "SIGNED": signed,
        "PUB": make_keys(tmp_path).public,
        "IMAGE": sorted((made / "some").rglob("*.png"))[0],
        "GRAPH": made / "colors.onnx",
        "NET:build": f"{tmp_path / 'net.py'}:build",
    }
    assert hostile.name in refused(*(places.get(argument, argument) for argument in READ[read]), code=3)

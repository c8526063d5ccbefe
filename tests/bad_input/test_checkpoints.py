"""Checkpoints that are another net's, damaged, a pickle, or not finite; and weights that a callable is given."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.train.checkpoint import Checkpoint, Header, save_checkpoint
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig
from tests.bad_input.conftest import Refused

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint of a simplecnn: 12 x 12 pictures, two labels."""
    options = {"channels": (3,), "hidden": ()}
    torch.manual_seed(0)
    net = build_net("simplecnn", num_classes=2, in_channels=3, input_size=(12, 12), options=options)
    spec = make_spec(name="tiny", labels=("above", "below"), preprocess=Preprocess(size=(12, 12)))
    net_config = NetConfig(name="simplecnn", options=options)
    header = Header(spec=spec, net=net_config, epoch=1, epochs=1, steps_per_epoch=1, threads=1, recipe_sha256="0" * 64, seed=0)
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    save_checkpoint(path, Checkpoint(header=header, weights=net.state_dict()))
    return path.read_bytes()


def edited(checkpoint: bytes, edit: Edit) -> bytes:
    """The checkpoint with another header and the same tensors."""
    (length,) = struct.unpack("<Q", checkpoint[:8])
    outer = json.loads(checkpoint[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["edgecnn"])
    edit(header)
    outer["__metadata__"]["edgecnn"] = json.dumps(header)
    text = json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + checkpoint[8 + length :]


def another(**net: Any) -> Edit:
    return lambda header: header["net"].update(net)


def labels(*names: str) -> Edit:
    return lambda header: header["spec"].update(labels=list(names))


def export(*arguments: object) -> list[object]:
    return ["export", *arguments, "-o", "old.edgecnn"]


def test_the_tool_of_these_tests_leaves_a_good_checkpoint_good(good: bytes, workplace: Path) -> None:
    from edgecnn.train.checkpoint import load_checkpoint

    (workplace / "c.safetensors").write_bytes(edited(good, lambda header: None))
    assert load_checkpoint(workplace / "c.safetensors").module()(torch.zeros(1, 3, 12, 12)).shape == (1, 2)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (another(name="resnet8", options={}), "which resnet8 needs: these are another net's weights"),
        (another(options={"channels": [3, 4], "hidden": []}), "which simplecnn needs: these are another net's weights"),
        (another(options={"channels": [5], "hidden": []}), r"has shape [3, 3, 3, 3] in the checkpoint, simplecnn needs [5, 3, 3, 3]"),
        (another(options={"channels": [3], "hidden": [7]}), "another net's weights"),
        (another(name="simplecn"), "did you mean simplecnn?"),
        (another(options={"chanels": [3]}), "did you mean channels?"),
        (another(options={"channels": "many"}), "channels"),
        (another(options={"channels": [0]}), "channels"),
        (another(options={"channels": [10**12], "hidden": [10**12]}), "a network that can't be made"),
        (another(options={"channels": [3], "hidden": [10_000] * 1000}), "another net's weights"),  # 400 GB, layer by layer
        (another(options={"channels": [10**30]}), "a network that can't be made"),
        (another(options={"channels": [3] * 9}), "images are too small for simplecnn"),
        (lambda header: header["spec"]["preprocess"].update(size=[3, 3]), "doesn't match preprocess"),
        (lambda header: header["spec"]["preprocess"].update(size=[-1, 3]), "size"),
        (lambda header: header.pop("spec"), "spec"),
        (lambda header: header.update(format_version=9), "upgrade edgecnn"),
        (lambda header: header.update(epoch="first"), "epoch"),
    ],
)
def test_a_checkpoint_of_another_net(edit: Edit, says: str, good: bytes, workplace: Path, refused: Refused) -> None:
    (workplace / "c.safetensors").write_bytes(edited(good, edit))
    assert says in refused(*export("c.safetensors"), code=3)


@pytest.mark.parametrize("edit", [labels("above", "below", "beside"), labels("one"), labels("above", "above"), labels()])
def test_a_checkpoint_whose_labels_do_not_match_its_outputs(edit: Edit, good: bytes, workplace: Path, refused: Refused) -> None:
    (workplace / "c.safetensors").write_bytes(edited(good, edit))
    refused(*export("c.safetensors"), code=3)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.99])
def test_a_checkpoint_cut_short(share: float, good: bytes, workplace: Path, refused: Refused) -> None:
    (workplace / "c.safetensors").write_bytes(good[: int(share * len(good))])
    assert "c.safetensors is no whole safetensors file" in refused(*export("c.safetensors"), code=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_checkpoint_with_weights_that_are_no_numbers(value: float, good: bytes, workplace: Path, refused: Refused) -> None:
    data = good[:-4] + struct.pack("<f", value)  # the last weight of the last tensor
    (workplace / "c.safetensors").write_bytes(data)
    assert "holds NaN or infinite weights" in refused(*export("c.safetensors"), code=3)


class Trap:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


def pickled(path: Path, kind: str) -> None:
    if kind == "torch.save":
        torch.save({"weight": torch.zeros(1)}, path)
    elif kind == "old torch.save":
        torch.save({"weight": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Trap(), protocol=int(kind)))


PICKLES = ["torch.save", "old torch.save", "0", "2", "4", "5"]


@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_instead_of_a_checkpoint_is_never_run(kind: str, workplace: Path, refused: Refused) -> None:
    pickled(workplace / "c.safetensors", kind)
    said = refused(*export("c.safetensors"), code=3)
    assert kind == "0" or "is a pickle, which can run code" in said
    (workplace / "c.safetensors").rename(workplace / "c.pth")
    assert "give the network, with these weights: file.py:callable --weights c.pth --allow-pickle" in refused(*export("c.pth"), code=3)


# weights for code

NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))
"""


@pytest.fixture
def code(workplace: Path) -> list[object]:
    (workplace / "net.py").write_text(NETWORK)
    return [*export("net.py:Net", "--input-size", "8x8"), "--weights"]


@pytest.mark.parametrize("kind", PICKLES)
def test_weights_that_are_a_pickle_are_read_on_request_only_and_their_code_never_runs(
    kind: str, code: list[object], workplace: Path, refused: Refused
) -> None:
    pickled(workplace / "w.pth", kind)
    said = refused(*code, "w.pth", code=3)
    assert kind == "0" or "--allow-pickle" in said
    said = refused(*code, "w.pth", "--allow-pickle", code=3)
    assert ("another net's weights" if "torch" in kind else "w.pth") in said


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"conv.weight": torch.zeros(2, 3, 3, 3)}, "has no conv.bias, which Net needs"),
        ({"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}, "has shape [4, 3, 3, 3] in the checkpoint, Net needs [2, 3, 3, 3]"),
        ({"conv.weight": torch.zeros(2, 3, 3, 3), "conv.bias": torch.tensor([0, torch.nan])}, "conv.bias holds NaN"),
        ({"conv.weight": torch.zeros(2, 3, 3, 3), "conv.bias": torch.zeros(2), "fc.bias": torch.zeros(1)}, "has fc.bias, which Net doesn't know"),
    ],
)
def test_weights_of_another_net(weights: dict[str, torch.Tensor], says: str, code: list[object], workplace: Path, refused: Refused) -> None:
    save_file(weights, workplace / "w.safetensors")
    assert says in refused(*code, "w.safetensors", code=3)
    torch.save(weights, workplace / "w.pth")
    assert says in refused(*code, "w.pth", "--allow-pickle", code=3)


def test_weights_that_are_missing_or_nothing(code: list[object], workplace: Path, refused: Refused) -> None:
    assert "gone.safetensors can't be read" in refused(*code, "gone.safetensors", code=3)
    (workplace / "empty").write_bytes(b"")
    assert "no whole safetensors" in refused(*code, "empty", code=3)
    assert "can't be read" in refused(*code, ".", code=3)


# a run to go on with


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        ("a pickle", 3, "last.safetensors is a pickle"),
        ("cut short", 3, "last.safetensors is no whole safetensors file"),
        ("another recipe's", 2, "run holds a run of another recipe"),
    ],
)
def test_a_run_that_can_not_be_resumed_stays_as_it_is(
    damage: str, code: int, says: str, good: bytes, workplace: Path, refused: Refused, recipe_file: Callable[..., Path]
) -> None:
    (workplace / "run").mkdir()
    last = workplace / "run" / "last.safetensors"
    (workplace / "run" / ".lock").touch()
    if damage == "a pickle":
        pickled(last, "torch.save")
    else:
        last.write_bytes(good[:-1] if damage == "cut short" else good)
    assert says in refused("train", recipe_file(), "-o", "run", "--resume", code=code)

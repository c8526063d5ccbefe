"""Networks that come as code: imported from a file or a package, built with arguments, given their weights."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgecnn.build.callables import load_callable, load_into, parse_args
from edgecnn.build.source import open_source
from edgecnn.errors import CheckpointRejected, InputMissing, SourceRejected, UsageError

CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, labels=2, names=("a",)):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, width, 3), nn.Linear(width, labels)
        self.names = names

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

    @classmethod
    def wide(cls):
        return cls(width=32)

def make_net(width, *, labels=3):
    return Net(width, labels)

ready = Net()
answer = 42

def broken():
    raise KeyError("no such layer")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brought.py").write_text(CODE)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "brought" in name or name.startswith("_edgecnn_source"):
            del sys.modules[name]


@pytest.mark.parametrize("source", ["brought.py:Net", "brought:Net", "brought.py:ready", "brought.py:Net.wide"])
def test_classes_instances_and_methods_give_networks(source: str) -> None:
    assert isinstance(load_callable(source, {}), nn.Module)


def test_arguments_are_python_literals_or_text() -> None:
    assert parse_args({"a": "3", "b": "[1, 2]", "c": "True", "d": "relu", "e": "None", "f": "1e-3"}) == {
        "a": 3,
        "b": [1, 2],
        "c": True,
        "d": "relu",
        "e": None,
        "f": 1e-3,
    }
    net = load_callable("brought.py:make_net", {"width": "8", "labels": "5"})
    assert (net.conv.out_channels, net.fc.out_features) == (8, 5)
    with pytest.raises(UsageError, match="'not a name' is no Python name"):
        parse_args({"not a name": "1"})


def test_arguments_that_do_not_fit_are_told_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"unexpected keyword argument 'widht', did you mean width\?"):
        load_callable("brought.py:Net", {"widht": "8"})
    with pytest.raises(UsageError, match="missing a required argument: 'width'"):
        load_callable("brought.py:make_net", {})
    with pytest.raises(UsageError, match="takes no arguments; leave out width"):
        load_callable("brought.py:ready", {"width": "8"})


def test_a_package_in_the_working_folder_is_importable_and_the_path_is_restored(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "nets_brought.py").write_text("from package.blocks_brought import Net\n")
    (folder / "package" / "blocks_brought.py").write_text(CODE)
    before = list(sys.path)
    assert isinstance(load_callable("package.nets_brought:Net", {}), nn.Module)
    assert sys.path == before


def test_a_file_elsewhere_may_import_its_neighbours(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "neighbour_brought.py").write_text(CODE)
    (folder / "elsewhere" / "nets_brought.py").write_text("from neighbour_brought import Net\n")
    assert isinstance(load_callable("elsewhere/nets_brought.py:Net", {}), nn.Module)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("gone.py:Net", InputMissing, r"gone\.py doesn't exist"),
        ("gone.package:Net", InputMissing, r"no module gone\.package in the working folder"),
        ("brought.py:Nett", InputMissing, r"has no Nett, did you mean Net\?"),
        ("brought.py:answer", SourceRejected, r"gives a int; a torch\.nn\.Module"),
        ("brought.py:broken", SourceRejected, r"Calling brought\.py:broken raised KeyError: 'no such layer' \(brought\.py, line \d+\)"),
    ],
)
def test_what_can_not_be_loaded_is_told_in_a_sentence(source: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_callable(source, {})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def broken(:", "raised SyntaxError"),
        ("import a_package_that_nobody_has", "raised ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("raise SystemExit(3)", "raised SystemExit"),
        ("1 / 0", r"raised ZeroDivisionError: division by zero \(bad_brought\.py, line 1\)"),
    ],
)
def test_code_that_fails_while_it_is_imported(folder: Path, code: str, words: str) -> None:
    (folder / "bad_brought.py").write_text(code + "\n")
    with pytest.raises(SourceRejected, match=words):
        load_callable("bad_brought.py:Net", {})
    assert "bad_brought" not in sys.modules


def test_a_callable_becomes_a_source(folder: Path) -> None:
    net = load_callable("brought.py:Net", {"labels": "5"})
    save_file(net.state_dict(), folder / "weights.safetensors")
    source = open_source("brought.py:Net", args={"labels": "5"}, weights="weights.safetensors", input_size="16x16")
    assert source.spec.name == "net"
    assert len(source.spec.labels) == 5
    assert torch.equal(source.module.fc.weight, net.fc.weight)  # type: ignore[union-attr]


@pytest.fixture
def net() -> nn.Module:
    return load_callable("brought.py:Net", {})


def other_weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(value, 0.25) for name, value in net.state_dict().items()}


def test_safetensors_are_loaded(net: nn.Module, folder: Path) -> None:
    save_file(other_weights(net), folder / "w.safetensors")
    assert load_into(net, folder / "w.safetensors", allow_pickle=False) == ()
    assert all((value == 0.25).all() for value in net.state_dict().values())


def test_weights_of_another_network_are_named(net: nn.Module, folder: Path) -> None:
    weights = other_weights(net)
    save_file({**weights, "fc.weight": torch.zeros(9, 9)}, folder / "shape.safetensors")
    with pytest.raises(CheckpointRejected, match=r"fc\.weight has shape \[9, 9\] in the checkpoint, Net needs \[2, 4\]"):
        load_into(net, folder / "shape.safetensors", allow_pickle=False)
    del weights["fc.bias"]
    save_file(weights, folder / "less.safetensors")
    with pytest.raises(CheckpointRejected, match=r"no fc\.bias, which Net needs"):
        load_into(net, folder / "less.safetensors", allow_pickle=False)


def test_weights_of_nan_are_named(net: nn.Module, folder: Path) -> None:
    save_file({**other_weights(net), "fc.bias": torch.tensor([1.0, float("nan")])}, folder / "nan.safetensors")
    with pytest.raises(CheckpointRejected, match=r"fc\.bias holds NaN"):
        load_into(net, folder / "nan.safetensors", allow_pickle=False)


def test_a_pickle_is_read_only_on_request(net: nn.Module, folder: Path) -> None:
    torch.save(other_weights(net), folder / "w.pth")
    with pytest.raises(CheckpointRejected, match=r"is a pickle, a format that can run code; .*--allow-pickle"):
        load_into(net, folder / "w.pth", allow_pickle=False)
    load_into(net, folder / "w.pth", allow_pickle=True)
    assert all((value == 0.25).all() for value in net.state_dict().values())


def test_code_in_a_pickle_never_runs(net: nn.Module, folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(folder / "trapped"),)

    torch.save({"fc.weight": Trap()}, folder / "new.pth")
    (folder / "old.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("new.pth", "old.pth"):
        with pytest.raises(CheckpointRejected, match="is damaged or holds more than tensors"):
            load_into(net, folder / name, allow_pickle=True)
    assert not (folder / "trapped").exists()


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_weights_inside_a_training_scripts_checkpoint_are_found(net: nn.Module, folder: Path, wrapper: str) -> None:
    torch.save({wrapper: other_weights(net), "epoch": 3}, folder / "w.pth")
    load_into(net, folder / "w.pth", allow_pickle=True)
    assert (net.fc.bias == 0.25).all()


def test_the_prefix_of_data_parallel_is_taken_off_with_a_note(net: nn.Module, folder: Path) -> None:
    save_file({f"module.{name}": value for name, value in other_weights(net).items()}, folder / "w.safetensors")
    assert "the prefix 'module.' was taken off" in load_into(net, folder / "w.safetensors", allow_pickle=False)[0]
    assert (net.fc.bias == 0.25).all()


@pytest.mark.parametrize("saved", [[1, 2], {"epoch": 3}, torch.zeros(2), {}])
def test_what_is_no_state_dict_is_refused(net: nn.Module, folder: Path, saved: object) -> None:
    torch.save(saved, folder / "w.pth")
    with pytest.raises(CheckpointRejected, match="no state dict"):
        load_into(net, folder / "w.pth", allow_pickle=True)


def test_damaged_and_missing_weights(net: nn.Module, folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(b"\x10" + bytes(30))
    with pytest.raises(CheckpointRejected, match="no whole safetensors file"):
        load_into(net, folder / "w.safetensors", allow_pickle=False)
    with pytest.raises(InputMissing, match=r"gone\.safetensors"):
        load_into(net, "gone.safetensors", allow_pickle=False)

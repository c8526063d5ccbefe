"""Checkpoints come back as they were written, and what isn't one is refused before anything of it runs."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgecnn.artifact.records import EpochMetrics
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.errors import CheckpointRejected, InputMissing, OutputNotWritable
from edgecnn.train.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig


@pytest.fixture
def checkpoint() -> Checkpoint:
    options = {"channels": (3,), "hidden": ()}
    net = build_net("simplecnn", num_classes=2, in_channels=3, input_size=(8, 8), options=options)
    header = Header(
        spec=make_spec(name="tiny", labels=("a", "b"), preprocess=Preprocess(size=(8, 8))),
        net=NetConfig(name="simplecnn", options=options),
        epoch=1,
        epochs=2,
        steps_per_epoch=5,
        threads=1,
        recipe_sha256="0" * 64,
        seed=0,
        history=(EpochMetrics(epoch=1, loss=0.5, accuracy=0.75, learning_rate=0.1),),
    )
    return Checkpoint(header=header, weights=net.state_dict(), momentum={"head.weight": torch.ones(2, 27)})


def test_what_is_saved_is_what_is_loaded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.header == checkpoint.header
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in checkpoint.weights.items())
    assert torch.equal(loaded.momentum["head.weight"], torch.ones(2, 27))
    module = loaded.module()
    assert not module.training
    assert module(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def test_equal_checkpoints_are_equal_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, checkpoint)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap()))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "zip.pt")
    for name in ("plain.pt", "zip.pt"):
        with pytest.raises(CheckpointRejected, match="is a pickle, which can run code"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_foreign_and_damaged_files_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointRejected, match="without edgecnn's header"):
        load_checkpoint(tmp_path / "foreign.safetensors")
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    data = (tmp_path / "c.safetensors").read_bytes()
    for cut in (0, 5, 100, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:cut])
        with pytest.raises(CheckpointRejected, match="no whole safetensors"):
            load_checkpoint(tmp_path / "cut.safetensors")
    with pytest.raises(InputMissing, match="can't be read"):
        load_checkpoint(tmp_path / "none")


def test_a_newer_format_asks_for_an_upgrade(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", replace(checkpoint, header=replace(checkpoint.header, format_version=2)))
    with pytest.raises(CheckpointRejected, match="upgrade edgecnn"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: {**w, "head.weight": w["head.weight"] * torch.nan}, "head.weight holds NaN or infinite"),
        (lambda w: {**w, "extra": torch.zeros(1)}, "has extra, which simplecnn doesn't know"),
        (lambda w: {n: t for n, t in w.items() if n != "head.bias"}, "has no head.bias, which simplecnn needs"),
        (lambda w: {**w, "head.bias": torch.zeros(3)}, r"head.bias has shape \[3\] in the checkpoint, simplecnn needs \[2\]"),
    ],
)
def test_weights_of_another_net_or_not_finite_are_named(checkpoint: Checkpoint, tmp_path: Path, change: object, says: str) -> None:
    save_checkpoint(tmp_path / "c", replace(checkpoint, weights=change(checkpoint.weights)))  # type: ignore[operator]
    with pytest.raises(CheckpointRejected, match=says):
        load_checkpoint(tmp_path / "c").module()


def test_a_folder_that_is_not_there_leaves_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="make it first"):
        save_checkpoint(tmp_path / "no" / "c", checkpoint)
    assert list(tmp_path.iterdir()) == []

"""A run learns, survives being killed to the last bit, and gives the same losses from two processes as from one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.errors import CheckFailed, RecipeError
from edgecnn.train.checkpoint import load_checkpoint
from edgecnn.train.fit import Job, ahead, evaluate, fit, hits_of, loss_of, own_error, synchronise_batch_norm
from edgecnn.train.images import Images
from edgecnn.train.job import collections, load_job_recipe, make_job_spec, prepare_images
from edgecnn.train.progress import JsonReporter

WriteRecipe = Callable[..., Path]


def make_job(path: Path, folder: Path, *, devices: int = 1, resume: bool = False) -> Job:
    recipe = load_job_recipe(path)
    folder.mkdir(exist_ok=True)
    spec = make_job_spec(recipe, collections(recipe, path.parent)[0].labels)
    training, validation = prepare_images(recipe, spec, path.parent, folder / "images", lambda *_: None)
    return Job(
        recipe=recipe,
        spec=spec,
        training=training,
        validation=validation,
        folder=folder,
        threads=1,
        devices=devices,
        resume=resume,
        reporter=JsonReporter,
    )


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def command(path: Path, folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "edgecnn", "train", str(path), "-o", str(folder), "--threads", "1", "--json", *more]


def test_a_run_learns_and_reports_what_its_checkpoint_does(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    job = make_job(recipe_file(**{"epochs = 3": "epochs = 12"}), tmp_path / "run")
    fit(job)
    shipped = load_checkpoint(tmp_path / "run" / "model.safetensors")
    history = shipped.header.history
    assert len(history) == 12
    assert history[-1].loss < history[0].loss
    assert history[-1].validation_accuracy is not None
    assert history[-1].validation_accuracy >= 0.9
    assert evaluate(shipped.module(), job.validation, job.spec) == (history[-1].validation_loss, history[-1].validation_accuracy)


def test_killed_at_any_moment_and_resumed_the_weights_are_the_same_bits(
    recipe_file: WriteRecipe, tmp_path: Path, campaign: Callable[..., int]
) -> None:
    path = recipe_file(**{"epochs = 3": "epochs = 8"})
    subprocess.run(command(path, tmp_path / "whole"), check=True, capture_output=True)
    wanted = (tmp_path / "whole" / "model.safetensors").read_bytes()
    moments = random.Random(7)
    kills = 0
    process = subprocess.Popen(command(path, tmp_path / "killed"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while kills < campaign(sample=2, full=20):
        assert process.stdout is not None
        if not process.stdout.readline():  # it came to its end before we killed it
            break
        time.sleep(moments.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        process = subprocess.Popen(command(path, tmp_path / "killed", "--resume"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.communicate()
    assert kills > 0
    assert process.returncode == 0
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == wanted
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_two_processes_give_the_losses_of_one(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    path = recipe_file(**{"dropout = 0.2": "dropout = 0.0"})
    fit(make_job(path, tmp_path / "one"))
    result = subprocess.run(command(path, tmp_path / "two", "--devices", "2"), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(losses(tmp_path / "two")) == 3
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=0, atol=1e-5)


def test_processes_say_that_their_batch_norms_are_not_shared() -> None:
    class Notes(JsonReporter):
        heard: ClassVar[list[str]] = []

        def note(self, message: str) -> None:
            self.heard.append(message)

    fabric = Fabric(accelerator="cpu", devices=1)
    with_norm, without = torch.nn.Sequential(torch.nn.BatchNorm2d(2)), torch.nn.Sequential(torch.nn.ReLU())
    assert synchronise_batch_norm(fabric, without, Notes()) is without
    assert Notes.heard == []
    assert synchronise_batch_norm(fabric, with_norm, Notes()) is with_norm
    assert "no synchronised batch norm" in Notes.heard[0]


def test_a_diverging_run_stops_with_advice_and_ships_nothing(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    job = make_job(recipe_file(**{"learning_rate = 0.05": "learning_rate = 1e30"}), tmp_path / "run")
    with pytest.raises(CheckFailed, match="lower learning_rate"):
        fit(job)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_an_error_in_another_process_keeps_its_sentence_and_exit_code() -> None:
    text = "\n\n-- Process 1 terminated with the following error:\nTraceback ...\nedgecnn.errors.CheckFailed: The loss became nan in epoch 1.\n"
    found = own_error(RuntimeError(text))
    assert isinstance(found, CheckFailed)
    assert str(found) == "The loss became nan in epoch 1."
    foreign = RuntimeError("-- Process 1\nValueError: something else")
    assert own_error(foreign) is foreign


def test_fewer_images_than_a_batch_are_refused(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"48 training images don't fill one batch of 64; lower schedule\.batch_size"):
        make_job(recipe_file(**{"batch_size = 16": "batch_size = 64"}), tmp_path / "run")


def test_bfloat16_and_channels_last_learn_too(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    job = make_job(
        recipe_file(**{"seed = 3": 'seed = 3\nprecision = "bfloat16"\nchannels_last = true', "epochs = 3": "epochs = 12"}), tmp_path / "run"
    )
    fit(job)
    history = load_checkpoint(tmp_path / "run" / "model.safetensors").header.history
    assert (history[-1].validation_accuracy or 0) >= 0.9


def test_labels_that_hold_together_are_learned_with_a_sigmoid(tmp_path: Path) -> None:
    """Channel k bright means label k: any subset may hold, which no softmax could say."""
    rows = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=np.float32).repeat(8, axis=0)
    pixels = (rows[:, None, None, :] * 200 + np.random.default_rng(0).integers(0, 50, (64, 12, 12, 3))).astype(np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    images = Images(path=tmp_path / "pixels.npy", sha256="0" * 64, targets=rows)
    spec = make_spec(name="tiny", labels=("red", "green", "blue"), preprocess=Preprocess(size=(12, 12)), task="multi-label")
    text = (
        'name="tiny"\ntask="multi-label"\n[net]\nname="simplecnn"\n[net.options]\nchannels=[4]\nhidden=[]\n[preprocess]\nsize=[12,12]\n'
        '[data]\ntrain={path="."}\nheld_out=1\n[optimizer]\nlearning_rate=0.05\n[schedule]\nepochs=15\nbatch_size=16\n'
    )
    (tmp_path / "recipe.toml").write_text(text)
    job = Job(
        recipe=load_job_recipe(tmp_path / "recipe.toml"),
        spec=spec,
        training=images,
        validation=images,
        folder=tmp_path,
        threads=1,
        devices=1,
        resume=False,
        reporter=JsonReporter,
    )
    fit(job)
    shipped = load_checkpoint(tmp_path / "model.safetensors")
    assert shipped.header.history[-1].validation_accuracy == 1.0
    assert shipped.spec.postprocess.thresholds == (0.5, 0.5, 0.5)


def test_losses_are_the_textbook_formulas() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25]])
    softmax = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
    wanted = -(torch.log(softmax[0, 0]) + torch.log(softmax[1, 1])) / 2
    assert float(loss_of(logits, torch.tensor([0, 1]))) == pytest.approx(float(wanted))
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    p = 1 / (1 + torch.exp(-logits))
    wanted = -(targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()
    assert float(loss_of(logits, targets)) == pytest.approx(float(wanted))


def test_a_multi_label_hit_needs_the_whole_set() -> None:
    spec = make_spec(name="t", labels=("a", "b"), preprocess=Preprocess(size=(4, 4)), task="multi-label", thresholds=(0.5, 0.9))
    logits = torch.tensor([[1.0, 1.0], [1.0, 3.0]])  # sigmoid(1) = 0.73 is under 0.9, sigmoid(3) = 0.95 over it
    assert float(hits_of(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), spec)) == 0.5


def test_the_next_batch_is_made_ahead_in_order_and_errors_arrive() -> None:
    assert list(ahead(iter(range(1, 9)))) == list(range(1, 9))

    def broken():  # type: ignore[no-untyped-def]
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(ahead(broken()))


def test_resume_goes_on_with_the_saved_history(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    job = make_job(recipe_file(), tmp_path / "run")
    fit(job)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    fit(replace(job, resume=True))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert len(losses(tmp_path / "run")) == 3

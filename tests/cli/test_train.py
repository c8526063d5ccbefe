"""`edgecnn train` as a user sees it: what it writes, what it says, and how it ends when something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgecnn.cli.train import command
from edgecnn.errors import DataRejected, EdgecnnError, InputMissing, OutputNotWritable, RecipeError, UsageError
from edgecnn.train.checkpoint import load_checkpoint

WriteRecipe = Callable[..., Path]


def train(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)


def refusal(kind: type[EdgecnnError], *arguments: object) -> str:
    result = train(*arguments)
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


def test_a_run_leaves_checkpoints_and_metrics(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(recipe_file(), "-o", out, "--threads", 1)
    assert result.exit_code == 0, result.exception
    assert result.stdout.strip() == str(out / "model.safetensors")
    assert "epoch 3/3" in result.stderr
    assert "validation loss" in result.stderr
    assert [json.loads(line)["epoch"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    shipped, last = load_checkpoint(out / "model.safetensors"), load_checkpoint(out / "last.safetensors")
    assert shipped.spec.labels == ("above", "below")
    assert not shipped.momentum
    assert last.momentum


def test_values_can_be_set_and_json_is_one_line_an_epoch(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    result = train(recipe_file(), "-o", tmp_path / "run", "--set", "schedule.epochs=2", "--json", "--threads", 1)
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    assert [json.loads(line)["epoch"] for line in lines[:2]] == [1, 2]


def test_other_images_than_the_recipes(recipe_file: WriteRecipe, pictures: Path, tmp_path: Path) -> None:
    path = recipe_file(**{'path = "pictures"': 'path = "nowhere"'})
    assert "name them with --train" in refusal(InputMissing, path, "-o", tmp_path / "a")
    assert train(path, "-o", tmp_path / "b", "--train", pictures, "--validation", pictures, "--threads", 1).exit_code == 0


def test_a_run_is_not_overwritten_and_another_recipes_not_resumed(recipe_file: WriteRecipe, pictures: Path, tmp_path: Path) -> None:
    path, out = recipe_file(), tmp_path / "run"
    assert train(path, "-o", out, "--threads", 1).exit_code == 0
    before = (out / "model.safetensors").read_bytes()
    assert "already holds a run; go on with --resume" in refusal(UsageError, path, "-o", out)
    assert "a run of another recipe" in refusal(RecipeError, path, "-o", out, "--resume", "--set", "schedule.epochs=9")
    again = tmp_path / "again"
    shutil.copytree(pictures, again)
    assert train(path, "-o", out, "--resume", "--train", again).exit_code == 0
    for path_above in (again / "above").iterdir():
        path_above.write_bytes((again / "below" / path_above.name).read_bytes())
    assert "began with other training images" in refusal(UsageError, path, "-o", out, "--resume", "--train", again)
    assert (out / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "arguments", "kind", "says"),
    [
        ({}, ["--set", "schedule.epochs"], UsageError, "write --set KEY=VALUE"),
        ({}, ["--threads", "9999"], UsageError, "more than this process may use; give at most"),
        ({}, ["--devices", "3"], UsageError, "can't share batches of 16 evenly"),
        ({'name = "simplecnn"': 'name = "simplecn"'}, [], UsageError, "did you mean simplecnn?"),
        ({"channels = [4]": "chanels = [4]"}, [], UsageError, "did you mean channels?"),
        ({'task = "single-label"': 'task = "multi-label"'}, [], RecipeError, "The images have one label each, the recipe's task is multi-label"),
        ({'task = "single-label"': 'task = "single-label"\nlabels = ["above", "belo"]'}, [], DataRejected, "did you mean belo?"),
        ({"held_out = 16": "held_out = 64"}, [], DataRejected, "choose a number between 1 and 63"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    recipe_file: WriteRecipe,
    tmp_path: Path,
    change: dict[str, str],
    arguments: list[str],
    kind: type[EdgecnnError],
    says: str,
) -> None:
    assert says in refusal(kind, recipe_file(**change), "-o", tmp_path / "run", *arguments)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_folder_that_cannot_be_written(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    assert "choose another folder with -o" in refusal(OutputNotWritable, recipe_file(), "-o", tmp_path / "file" / "run")


def test_two_runs_in_one_folder_are_refused(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    from edgecnn.train.job import run_folder

    with run_folder(tmp_path / "run"):
        assert "Another run writes into" in refusal(UsageError, recipe_file(), "-o", tmp_path / "run")


def test_ctrl_c_says_how_to_go_on_and_the_run_does(recipe_file: WriteRecipe, tmp_path: Path) -> None:
    path, out = recipe_file(**{"epochs = 3": "epochs = 100000"}), tmp_path / "run"
    program = [sys.executable, "-m", "edgecnn", "train", str(path), "-o", str(out), "--threads", "1", "--json"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"go on with: edgecnn train {path} -o {out} --resume" in said
    assert "Traceback" not in said
    done = len([first, *rest.splitlines()])
    saved = load_checkpoint(out / "last.safetensors")
    assert saved.header.epoch in (done, done + 1)
    assert not (out / "model.safetensors").exists()
    assert [path.name for path in out.iterdir() if path.name.endswith(".part")] == []

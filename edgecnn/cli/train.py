"""Train a network from a recipe: images in, a checkpoint out."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli._options import require_extra


@click.command(epilog="Example: edgecnn train models/simplecnn-fashion/recipe.toml -o runs/fashion --set schedule.epochs=3")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the run, e.g. runs/mine.  [default: runs/NAME]")
@click.option("--train", "train_data", type=click.Path(path_type=Path), help="Training images, instead of the recipe's, e.g. photos/train.")
@click.option("--validation", type=click.Path(path_type=Path), help="Validation images, instead of the recipe's, e.g. photos/held-out.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe, e.g. --set schedule.epochs=2.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder; starts it where there is none.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="Processes (one for each device), e.g. 2.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads over all processes, e.g. 2.  [default: all allowed]")
@click.option("--json", "as_json", is_flag=True, help="Print each epoch's metrics as a JSON line.")
def command(
    recipe: Path,
    output: Path | None,
    train_data: Path | None,
    validation: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    devices: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train the network of RECIPE (TOML) and leave model.safetensors, last.safetensors and metrics.jsonl in a folder.

    Images are a folder with a folder for each class, the same inside .tar or .tar.gz, idx files (MNIST and its family, plain or .gz), CIFAR's
    binary version, or a CSV of file and labels where several labels may hold at once.

    A run that was killed goes on with --resume, and ends in the same weights as if it had not been.
    """
    with require_extra("train"):
        from edgecnn.cli._train import run_training

    run_training(
        recipe,
        output=output,
        data={"train": train_data, "validation": validation},
        overrides=overrides,
        resume=resume,
        devices=devices,
        threads=threads,
        as_json=as_json,
    )

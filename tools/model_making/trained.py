"""A model that its recipe trains."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecnn.build.pipeline import export
from edgecnn.data.collection import Collection, Subset, open_collection
from edgecnn.device.model import load
from edgecnn.errors import InputMissing, RecipeError
from edgecnn.train.checkpoint import load_checkpoint
from edgecnn.train.fetch import locate
from edgecnn.train.job import collections
from edgecnn.train.recipe import DataSource, Recipe, load_recipe
from model_making.folders import ROOT, slug, teller, write_card, write_image, write_images

CHECKPOINT = "model.safetensors"
CALIBRATION, VALIDATION = 300, 1000


def make_trained(stage: Path, folder: Path, elsewhere: Path, *, data: Path | None, train: bool) -> None:
    """Checkpoint, calibration and validation images, artifact, samples and card of a network that the recipe trains.

    Images lie in a folder for each class, or plainly where a label can't name one; then no validation images ship.
    """
    recipe = with_data(load_recipe(folder / "recipe.toml"), data)
    shutil.copy2(_trained(recipe, folder) if train else _standing(recipe, folder), stage / CHECKPOINT)
    spec = load_checkpoint(stage / CHECKPOINT).spec
    classed = not any("/" in label for label in spec.labels)
    training, held_out = collections(replace(recipe, labels=spec.labels), folder)
    seed = recipe.numerics.seed
    write_images(draw(training, CALIBRATION, seed=seed), stage / "calibration", classed=classed)
    proof = draw(held_out, VALIDATION, seed=seed)
    if classed:
        write_images(proof, stage / "validation", classed=True)
    float32 = elsewhere / f"{spec.name}-float32.edgecnn"
    artifact = stage / f"{spec.name}-{spec.version}.edgecnn"
    given = stage / "validation" if classed else proof
    export(stage / CHECKPOINT, output=float32, validation=given, on_stage=teller("float32"))
    export(stage / CHECKPOINT, output=artifact, quantize="int8", calibration=stage / "calibration", validation=given, on_stage=teller("int8"))
    write_samples(artifact, Subset(whole=held_out.whole, positions=held_out.positions - proof.positions), stage / "samples")
    if recipe.data.test is None:
        raise RecipeError(f"{folder / 'recipe.toml'} names no test images (data.test), so the card can't tell an accuracy.")
    test = open_collection(locate(recipe.data.test, folder=folder), labels=spec.labels)
    write_card(stage, artifact, float32, test, name=_test_name(recipe, folder))


def _test_name(recipe: Recipe, folder: Path) -> str:
    """As the recipe in the folder calls it, wherever it lies on this machine."""
    named = load_recipe(folder / "recipe.toml").data.test
    return Path(named.path).name if named is not None and named.path else f"{recipe.name}'s test set"


def with_data(recipe: Recipe, data: Path | None) -> Recipe:
    """The recipe with its data sets looked for in the folder `data`, under their own names."""

    def there(source: DataSource | None) -> DataSource | None:
        if data is None or source is None or source.path is None:
            return source
        return replace(source, path=str((data / Path(source.path).name).absolute()))

    sources = recipe.data
    train = there(sources.train)
    assert train is not None
    return replace(recipe, data=replace(sources, train=train, validation=there(sources.validation), test=there(sources.test)))


def _standing(recipe: Recipe, folder: Path) -> Path:
    """The checkpoint in the folder. Raises InputMissing, or RecipeError where another recipe made it."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise InputMissing(f"{path} doesn't exist; leave out --no-train to train it.")
    if load_checkpoint(path).header.recipe_sha256 != recipe.sha256:
        raise RecipeError(f"{path} was trained with another recipe than the one beside it; leave out --no-train to train it again.")
    return path


def _trained(recipe: Recipe, folder: Path) -> Path:
    """The checkpoint of a run in runs/, which goes on where it stopped."""
    run = ROOT / "runs" / recipe.name
    train = recipe.data.train.path
    given = ["--train", train] if train and Path(train).is_absolute() and Path(train).exists() else []
    command = [sys.executable, "-m", "edgecnn", "train", str(folder / "recipe.toml"), "-o", str(run), "--resume", *given]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return run / CHECKPOINT


def draw(collection: Collection, count: int, *, seed: int) -> Subset:
    """`count` items, as many of each class, by a seeded draw that depends on their number and classes alone.

    Raises RecipeError where a class has too few.
    """
    targets = [item.target for item in collection]
    each = count // len(collection.labels)
    taken: dict[tuple[int, ...], list[int]] = {}
    for position in np.random.Generator(np.random.PCG64(seed)).permutation(len(targets)).tolist():
        some = taken.setdefault(targets[position], [])
        if len(some) < each:
            some.append(position)
    if len(taken) < len(collection.labels) or any(len(some) < each for some in taken.values()):
        raise RecipeError(f"{each} images of each class were wanted, the data has fewer of some.")
    chosen = frozenset(position for some in taken.values() for position in some)
    if not isinstance(collection, Subset):
        return Subset(whole=collection, positions=chosen)
    original = sorted(collection.positions)  # a subset of a subset is one of the whole
    return Subset(whole=collection.whole, positions=frozenset(original[position] for position in chosen))


def write_samples(artifact: Path, collection: Collection, folder: Path) -> None:
    """One image of each label that the artifact decides right, in folders named after the labels."""
    model = load(artifact)
    wanted = set(range(len(collection.labels)))
    for item in collection:
        if wanted.isdisjoint(item.target):
            continue
        label = collection.labels[item.target[0]]
        if model.predict(item.source).label == label:
            write_image(item, folder / slug(label))
            wanted.discard(item.target[0])
        if not wanted:
            return

"""From a recipe to a running job: find the images, decode them once, agree on the labels, and train."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edgecnn.artifact.spec import ModelSpec, make_spec
from edgecnn.data.collection import Collection, open_collection, split
from edgecnn.errors import OutputNotWritable, RecipeError, UsageError
from edgecnn.train.checkpoint import Checkpoint, load_checkpoint
from edgecnn.train.fetch import locate
from edgecnn.train.images import Images, prepare
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import DataSource, Recipe, load_recipe

LAST, SHIPPED, METRICS = "last.safetensors", "model.safetensors", "metrics.jsonl"

Counter = Callable[[str, int, int], None]
"""Called with (what, done, total) while images are decoded."""


def load_job_recipe(path: Path, *, overrides: Mapping[str, str] | None = None, data: Mapping[str, Path | None] | None = None) -> Recipe:
    """The recipe with the command line's changes. data: paths that replace data.train and data.validation."""
    recipe = load_recipe(path, overrides=overrides)
    given = {name: DataSource(path=str(place.absolute())) for name, place in (data or {}).items() if place is not None}
    sources = replace(
        recipe.data,
        train=given.get("train", recipe.data.train),
        validation=given.get("validation", recipe.data.validation),
        held_out=None if "validation" in given else recipe.data.held_out,
    )
    return replace(recipe, data=sources)


def collections(recipe: Recipe, folder: Path, *, progress: bool = False) -> tuple[Collection, Collection]:
    """(training, validation). Raises RecipeError where labels or task don't fit the images."""
    training = open_collection(locate(recipe.data.train, folder=folder, progress=progress), labels=recipe.labels)
    if training.multi_label != (recipe.task == "multi-label"):
        found = "several labels" if training.multi_label else "one label"
        raise RecipeError(f"The images have {found} each, the recipe's task is {recipe.task}; change task.")
    if not training.labels:
        raise RecipeError("The training images have no labels; put them into a folder for each class, or list them in a CSV.")
    if recipe.data.validation is None:
        assert recipe.data.held_out is not None
        return split(training, recipe.data.held_out, seed=recipe.numerics.seed)
    path = locate(recipe.data.validation, folder=folder, progress=progress)
    return training, open_collection(path, labels=training.labels)


def make_job_spec(recipe: Recipe, labels: tuple[str, ...]) -> ModelSpec:
    try:
        return make_spec(
            name=recipe.name,
            version=recipe.version,
            sequence=recipe.sequence,
            task=recipe.task,
            labels=labels,
            preprocess=recipe.preprocess,
            thresholds=recipe.thresholds,
        )
    except ValueError as error:
        raise RecipeError(f"The recipe makes no model: {error}.") from None


def prepare_images(recipe: Recipe, spec: ModelSpec, folder: Path, cache: Path, count: Counter, *, progress: bool = False) -> tuple[Images, Images]:
    training, validation = collections(replace(recipe, labels=spec.labels), folder, progress=progress)
    _check_before_decoding(recipe, spec, len(training))
    result = []
    for name, collection in (("training", training), ("validation", validation)):
        total = len(collection)
        images = prepare(
            collection,
            spec.preprocess,
            cache=cache,
            name=name,
            multi_label=spec.task == "multi-label",
            on_image=lambda done, name=name, total=total: count(name, done, total),  # type: ignore[misc]
        )
        result.append(images)
    return result[0], result[1]


def _check_before_decoding(recipe: Recipe, spec: ModelSpec, images: int) -> None:
    """What would only be noticed once all images are decoded, which may take minutes. Raises RecipeError or build_net's UsageError."""
    if images < recipe.schedule.batch_size:
        raise RecipeError(f"{images} training images don't fill one batch of {recipe.schedule.batch_size}; lower schedule.batch_size.")
    build_net(
        recipe.net.name,
        num_classes=len(spec.labels),
        in_channels=spec.preprocess.depth,
        input_size=spec.preprocess.input_size,
        options=recipe.net.options,
    )


def resumable(folder: Path, recipe: Recipe, *, resume: bool) -> Checkpoint | None:
    """The run to go on with, or None to start one. Raises UsageError when a run would be overwritten, RecipeError for another recipe's run."""
    last = folder / LAST
    if not resume:
        if last.exists():
            raise UsageError(f"{folder} already holds a run; go on with --resume, or choose another folder with -o.")
        return None
    if not last.exists():
        return None
    saved = load_checkpoint(last)
    if saved.header.recipe_sha256 != recipe.sha256:
        raise RecipeError(f"{folder} holds a run of another recipe; give the recipe it was started with, or choose another folder with -o.")
    return saved


def check_same_images(saved: Checkpoint | None, training: Images) -> None:
    """Raises UsageError when a run would go on with other training images than it began with."""
    if saved is not None and saved.header.data_sha256 not in (None, training.sha256):
        raise UsageError("The run began with other training images; give those again, or start anew in another folder with -o.")


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """The folder, made if needed and locked: two runs in one folder would overwrite each other's checkpoints."""
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise OutputNotWritable(f"{folder} can't be written ({error.strerror}); choose another folder with -o.") from error
    try:
        _lock(handle, folder)
        yield folder
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system: two runs in one folder are then the user's to avoid
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError(f"Another run writes into {folder}; wait for it, or choose another folder with -o.") from None

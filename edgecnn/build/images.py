"""The images that an export works with: some to measure ranges on, others to prove the result with, never the same ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.codec import encode
from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.build import golden
from edgecnn.build.quantize import Training
from edgecnn.data.collection import Collection, Item, Subset, evenly, open_collection
from edgecnn.device.batches import iterate_inputs
from edgecnn.device.host import available_cores
from edgecnn.device.image import normalize
from edgecnn.errors import DataRejected, UsageError

Given = Collection | Path | str
Origin = Literal["validation", "calibration", "synthetic"]
CALIBRATION_IMAGES = 300
"""Taken of a larger set: more measure hardly other ranges, and take longer."""

_BATCH = 32
_BATCH_BYTES = 64_000_000
_TRAINING_IMAGES, _TRAINING_BYTES = 8192, 256_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """candidates: for golden images, from the first of validation, calibration and synthetic patterns that there is, which `origin` names;
    training: to fine-tune a quantized graph on."""

    calibration: Collection | None
    validation: Collection | None
    candidates: golden.Candidates
    origin: Origin
    training: Collection | None = None


def open_images(
    spec: ModelSpec, calibration: Given | None, validation: Given | None, *, most: int = CALIBRATION_IMAGES, training: Given | None = None
) -> Images:
    """most: how many of the calibration images are taken, spread evenly over them; of training, 8,192, or what 256 MB of pixels hold.

    Raises DataRejected for an empty collection or validation images that are in another, and what open_collection and decoding raise.
    """
    if most < 1:
        raise UsageError(f"--calibration-images is {most}; a number from 1 was wanted, such as {CALIBRATION_IMAGES}.")
    for_ranges = open_collection(calibration) if isinstance(calibration, (str, Path)) else calibration
    for_tuning = open_collection(training) if isinstance(training, (str, Path)) else training
    for_proof = open_collection(validation, labels=spec.labels) if isinstance(validation, (str, Path)) else validation
    for name, collection in (("calibration", for_ranges), ("training", for_tuning), ("validation", for_proof)):
        if collection is not None and not len(collection):
            raise DataRejected(f"the {name} set holds no images; give at least one.")
    if for_ranges is not None:
        for_ranges = spread(for_ranges, most)
    if for_tuning is not None:
        pixels = spec.preprocess.depth * math.prod(spec.preprocess.input_size)
        for_tuning = spread(for_tuning, max(1, min(_TRAINING_IMAGES, _TRAINING_BYTES // pixels)))
    if for_proof is not None:
        _check_apart("calibration", for_ranges, for_proof)
        _check_apart("training", for_tuning, for_proof)
    origin: Origin = "validation" if for_proof is not None else "calibration" if for_ranges is not None else "synthetic"
    best = for_proof if for_proof is not None else for_ranges
    candidates = golden.from_collection(best, spec.preprocess) if best is not None else golden.synthetic(spec.preprocess)
    return Images(calibration=for_ranges, validation=for_proof, candidates=candidates, origin=origin, training=for_tuning)


def spread(collection: Collection, most: int) -> Collection:
    """At most so many of the images, spread evenly over the collection."""
    if len(collection) <= most:
        return collection
    return Subset(whole=collection, positions=frozenset(evenly(len(collection), most)))


def _check_apart(name: str, others: Collection | None, validation: Collection) -> None:
    known = {item.sha256() for item in others} if others is not None else set()
    shared = sum(item.sha256() in known for item in validation) if known else 0
    if shared:
        raise DataRejected(
            f"{shared} of the {len(validation)} validation images are among the {name} images, so they would prove nothing; keep the two apart."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlabelled:
    """A collection's images without what they are said to show: enough to compare decisions."""

    whole: Collection
    labels: tuple[str, ...] = ()
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Item]:
        return (replace(item, target=()) for item in self.whole)


def digest(collection: Collection) -> str:
    """The sha256 of the images' own, in their order: equal for equal images, whatever they are called."""
    whole = hashlib.sha256()
    for item in collection:
        whole.update(item.sha256().encode())
    return whole.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batches:
    """What a quantizer takes for its calibration: a call gives the images in batches, anew each time; see build.quantize.Calibration."""

    collection: Collection
    preprocess: Preprocess
    progress: Callable[[int, int], None]
    training: Training | None = None

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        pre, done = self.preprocess, 0
        size = max(1, min(_BATCH, _BATCH_BYTES // (4 * pre.depth * math.prod(pre.input_size))))
        for group in iterate_inputs(self.collection, pre, batch=size, threads=available_cores()):
            yield normalize(group.pixels, pre)
            done += len(group.names)
            self.progress(done, len(self.collection))

    @property
    def identity(self) -> str:
        """Equal for the same images, prepared in the same way."""
        return f"{digest(self.collection)} {json.dumps(encode(self.preprocess), sort_keys=True)}"


def batches(
    collection: Collection,
    pre: Preprocess,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    training: Training | None = None,
) -> Batches:
    """What a quantizer calls for its calibration inputs: float32 (n, channels, height, width), n so that a batch stays under 64 MB.

    progress is called with (images done, of how many). Reading raises ImageRejected or InputMissing naming an image that can't be read.
    """
    return Batches(collection=collection, preprocess=pre, progress=progress, training=training)


def training_images(collection: Collection, spec: ModelSpec, progress: Callable[[int, int], None] = lambda done, total: None) -> Training:
    """What int8 is fine-tuned on. The images are decoded when they are first asked for, which raises ImageRejected or InputMissing naming one
    that can't be read. progress is called with (steps done, of how many) while it is fine-tuned.
    """
    pre = spec.preprocess

    def pixels() -> NDArray[np.uint8]:
        return np.concatenate([group.pixels for group in iterate_inputs(collection, pre, batch=_BATCH, threads=available_cores())])

    return Training(
        count=len(collection),
        sha256=digest(collection),
        pixels=pixels,
        normalize=lambda chosen: normalize(chosen, pre),
        multi_label=spec.task == "multi-label",
        progress=progress,
    )

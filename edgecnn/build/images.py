"""The images that an export works with: some to measure ranges on, others to prove the result with, never the same ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.build import golden
from edgecnn.data.collection import Collection, Item, open_collection
from edgecnn.device.batches import iterate_inputs
from edgecnn.device.host import available_cores
from edgecnn.device.image import normalize
from edgecnn.errors import DataRejected

Given = Collection | Path | str
Origin = Literal["validation", "calibration", "synthetic"]
_BATCH = 32
_BATCH_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """candidates: for golden images, from the first of validation, calibration and synthetic patterns that there is, which `origin` names."""

    calibration: Collection | None
    validation: Collection | None
    candidates: golden.Candidates
    origin: Origin


def open_images(spec: ModelSpec, calibration: Given | None, validation: Given | None) -> Images:
    """Raises DataRejected for an empty collection or an image that is in both, and what open_collection and decoding raise."""
    for_ranges = open_collection(calibration) if isinstance(calibration, (str, Path)) else calibration
    for_proof = open_collection(validation, labels=spec.labels) if isinstance(validation, (str, Path)) else validation
    for name, collection in (("calibration", for_ranges), ("validation", for_proof)):
        if collection is not None and not len(collection):
            raise DataRejected(f"the {name} set holds no images; give at least one.")
    if for_ranges is not None and for_proof is not None:
        _check_apart(for_ranges, for_proof)
    origin: Origin = "validation" if for_proof is not None else "calibration" if for_ranges is not None else "synthetic"
    best = for_proof if for_proof is not None else for_ranges
    candidates = golden.from_collection(best, spec.preprocess) if best is not None else golden.synthetic(spec.preprocess)
    return Images(calibration=for_ranges, validation=for_proof, candidates=candidates, origin=origin)


def _check_apart(calibration: Collection, validation: Collection) -> None:
    known = {item.sha256() for item in calibration}
    shared = sum(item.sha256() in known for item in validation)
    if shared:
        raise DataRejected(
            f"{shared} of the {len(validation)} validation images are among the calibration images, so they would prove nothing; keep the two apart."
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


def batches(
    collection: Collection, pre: Preprocess, progress: Callable[[int, int], None] = lambda done, total: None
) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """What a quantizer calls for its calibration inputs: float32 (n, channels, height, width), n so that a batch stays under 64 MB.

    progress is called with (images done, of how many). Reading raises ImageRejected or InputMissing naming an image that can't be read.
    """
    size = max(1, min(_BATCH, _BATCH_BYTES // (4 * pre.depth * math.prod(pre.input_size))))

    def read() -> Iterator[NDArray[np.float32]]:
        done = 0
        for group in iterate_inputs(collection, pre, batch=size, threads=available_cores()):
            yield normalize(group.pixels, pre)
            done += len(group.names)
            progress(done, len(collection))

    return read

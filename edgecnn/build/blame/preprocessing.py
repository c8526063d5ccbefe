"""Preprocessing as a stage of its own: the images as the artifact prepares them, against the way that the reference says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import Preprocess
from edgecnn.build.blame.records import StageRow
from edgecnn.build.blame.subject import Reference, Subject
from edgecnn.data.collection import Collection
from edgecnn.device.batches import iterate_inputs
from edgecnn.device.differences import Differences
from edgecnn.device.host import available_cores
from edgecnn.device.image import normalize, to_uint8

TOLERANCE = 1e-5
"""Of the largest input: the same preprocessing, stated otherwise (mean 127 of 255 for 0.498...), rounds otherwise."""


@dataclass(slots=True, kw_only=True)
class InputDifference:
    """How far the two preparations of the images seen so far are apart."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0
    peak: float = 0.0

    def add(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        apart = np.abs(ours.astype(np.float64) - theirs)
        self.largest, self.peak = max(self.largest, float(apart.max())), max(self.peak, float(np.abs(theirs).max()))
        self.total, self.count = self.total + float(apart.sum()), self.count + apart.size

    @property
    def passed(self) -> bool:
        return self.count > 0 and self.largest <= TOLERANCE * self.peak


def comparable(subject: Subject, reference: Reference) -> bool:
    """Whether the reference says how it wants images, and in the artifact's size."""
    theirs, ours = reference.preprocess, subject.float_spec.preprocess
    return theirs is not None and (theirs.depth, theirs.input_size) == (ours.depth, ours.input_size)


def iterate(
    collection: Collection, ours: Preprocess, theirs: Preprocess, *, batch: int = 16
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The images as both prepare them, uint8 (n, height, width, channels) before normalization, each decoded once where that is the same.

    Raises ImageRejected or InputMissing naming an image that can't be read.
    """
    mine = iterate_inputs(collection, ours, batch=batch, threads=available_cores())
    if _pixels(ours) == _pixels(theirs):
        yield from ((group.pixels, group.pixels) for group in mine)
        return
    others = iterate_inputs(collection, theirs, batch=batch, threads=available_cores())
    yield from ((a.pixels, b.pixels) for a, b in zip(mine, others, strict=True))


def _pixels(pre: Preprocess) -> Preprocess:
    """What of it the pixels depend on."""
    return replace(pre, rescale_factor=1.0, image_mean=(0.0,) * pre.depth, image_std=(1.0,) * pre.depth, normalized_by=None)


_OTHER_DECODER = "look at which version of Pillow is here; it decodes or resizes otherwise than the one that the artifact was made with"


def row(subject: Subject, reference: Reference, apart: InputDifference, answers: Differences | None) -> StageRow:
    """answers: the source network's, on images as the artifact prepares them, from those as the reference says."""
    ours, theirs = subject.float_spec.preprocess, reference.preprocess
    elsewhere = list(_golden_failures(subject))
    failures, note, advice = list(elsewhere), None, _OTHER_DECODER
    if theirs is None:
        note = "the reference doesn't say how it wants its images prepared; say it with --preprocess to have this told"
    elif not comparable(subject, reference):
        sizes = [f"{pre.depth} x {pre.input_size[0]} x {pre.input_size[1]}" for pre in (ours, theirs)]
        failures.append(f"the artifact makes inputs of {sizes[0]}, the reference wants {sizes[1]}")
    elif not apart.passed:
        mean = apart.total / max(apart.count, 1)
        failures.append(f"{_otherwise(ours, theirs)}, so inputs differ by up to {apart.largest:.3g} and by {mean:.3g} on average")
    elif _pixels(ours) != _pixels(theirs):
        note = f"{_otherwise(_pixels(ours), _pixels(theirs))}, which makes no difference to these images; give --data in their own sizes to see it"
    if len(failures) > len(elsewhere):
        advice = "export it again with the reference's preprocessing, or say with --preprocess what the reference was trained with"
    return StageRow(
        stage="preprocessing",
        what="the source network on images prepared by the artifact's spec",
        limit=f"inputs within {TOLERANCE:g} of the largest",
        against_source=answers,
        failures=tuple(failures),
        advice=advice if failures else None,
        judged=theirs is not None or bool(failures),
        note=note,
    )


def _otherwise(ours: Preprocess, theirs: Preprocess) -> str:
    names = [field.name for field in fields(Preprocess) if getattr(ours, field.name) != getattr(theirs, field.name)]
    told = [f"{name} is {_shown(getattr(ours, name))} in the artifact and {_shown(getattr(theirs, name))} in the reference" for name in names]
    return ", ".join(told)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _golden_failures(subject: Subject) -> Iterator[str]:
    """Whether the golden images still give the inputs that they gave where the artifact was made."""
    pre = subject.spec.preprocess
    for (name, data), stored in zip(subject.golden.originals, subject.golden.inputs, strict=False):
        found = normalize(to_uint8(data, pre, name=name), pre)
        if not np.array_equal(found, stored):
            apart = float(np.abs(found.astype(np.float64) - stored).max())
            yield f"{name} gives other inputs here than where the artifact was made, by up to {apart:.3g}"
            return

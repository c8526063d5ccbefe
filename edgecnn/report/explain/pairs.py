"""Two artifacts of one network side by side: which stage of one is which of the other, and how far they are apart there."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.differences import sqnr_db
from edgecnn.errors import UsageError
from edgecnn.report.explain.stages import Stage
from edgecnn.report.formulas import Array

_FACTOR, _REST = 0.02, 0.05
"""A channel's factor counts from here on, as a logarithm; and what it leaves is at most such a share of the channel's power."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Apart:
    """One stage's numbers in the other artifact against those here. sqnr_db: signal to noise, None where nothing differs, or where it can't be told
    because of NaN or infinities; largest: the largest difference; most: the largest number here."""

    sqnr_db: float | None
    largest: float
    most: float


def check_comparable(spec: ModelSpec, other: ModelSpec, names: tuple[str, str]) -> None:
    """Raises UsageError unless both take the same image in the same way and answer with the same labels."""
    for what, a, b in (
        ("labels", spec.labels, other.labels),
        ("task", spec.task, other.task),
        ("preprocessing", _prepared(spec), _prepared(other)),
    ):
        if a != b:
            raise UsageError(f"{names[1]} can't be shown beside {names[0]}: its {what} differ; give two artifacts of the same network.")


def _prepared(spec: ModelSpec) -> object:
    """Preprocessing but for who does its last step."""
    from dataclasses import replace

    return replace(spec.preprocess, normalized_by=None)


def pairs(ours: Sequence[Stage], theirs: Sequence[Stage], ours_values: Mapping[str, Array], theirs_values: Mapping[str, Array]) -> dict[int, int]:
    """Which of `theirs` each of `ours` is, by place, as far as that is known.

    The same node by name; else the same tensor by name, which a quantizer keeps where it folds a ReLU into a rounding; else, where each side has as
    many stages left of a role and shape, those in order. Shapes always agree.
    """
    found: dict[int, int] = {}

    def match(key: Callable[[Stage, Mapping[str, Array]], Hashable], *, many: bool = False) -> None:
        left: dict[Hashable, list[int]] = {}
        right: dict[Hashable, list[int]] = {}
        taken = set(found.values())
        for table, stages, values, used in ((left, ours, ours_values, set(found)), (right, theirs, theirs_values, taken)):
            for place, stage in enumerate(stages):
                name = key(stage, values)
                if place not in used and name is not None:
                    table.setdefault((name, values[stage.shown].shape), []).append(place)
        for name, places in left.items():
            others = right.get(name, [])
            if len(places) == len(others) and (many or len(places) == 1):
                found.update(zip(places, others, strict=True))

    match(lambda stage, _: (stage.name, stage.role))
    match(_tensor)
    match(lambda stage, _: "relu" if stage.role in ("relu", "clip", "rounding") else stage.role, many=True)
    return found


def _tensor(stage: Stage, _: Mapping[str, Array]) -> Hashable:
    """The float network's name of what comes out: a quantizer gives it to what it rounds there."""
    return stage.raw


def taken_back(ours: Array, theirs: Array) -> tuple[Array, int]:
    """`theirs` (n, channels, height, width), each channel that is `ours` but for a factor and rounding divided by that, and how many these are.

    An int8 graph's channels were scaled where that makes their weights span alike; the layer behind takes the factor back.
    """
    if ours.ndim != 4 or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return theirs, 0
    a, b = (side.astype(np.float64).swapaxes(0, 1).reshape(side.shape[1], -1) for side in (ours, theirs))
    power, across = (b * b).sum(axis=1), (a * b).sum(axis=1)
    factor = np.divide(across, power, out=np.ones_like(power), where=power > 0)
    rest = ((a - factor[:, np.newaxis] * b) ** 2).sum(axis=1)
    scaled = (factor > 0) & (np.abs(np.log(np.where(factor > 0, factor, 1.0))) > _FACTOR) & (rest < _REST * (a * a).sum(axis=1))
    return theirs * np.where(scaled, factor, 1.0).reshape(1, -1, 1, 1).astype(np.float64), int(scaled.sum())


def apart(ours: Array, theirs: Array) -> Apart:
    """Of two arrays of one shape. Raises ValueError where they hold nothing."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Apart(sqnr_db=None, largest=math.inf, most=math.inf)
    ratio = sqnr_db(a, b)
    return Apart(sqnr_db=ratio if math.isfinite(ratio) else None, largest=float(np.abs(b - a).max()), most=float(np.abs(a).max()))

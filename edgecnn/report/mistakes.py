"""What a model takes for what: the most frequent mistakes, each with the images on which it was surest of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.data.collection import Collection
from edgecnn.device.validate import Evaluation

KINDS, EXAMPLES = 8, 6
"""How many kinds of mistakes are shown, and of each how many images."""

Kind = Literal["confused", "missed", "false alarm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """An image that was decided wrongly: its position and name in the collection, the score that its mistake rests on, and a picture of it as a
    data URI where pictures were asked for."""

    position: int
    name: str
    score: float
    picture: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One kind of mistake: images of `label` that were decided `decided` ("confused"), or of several labels one that was "missed" or set without
    being there ("false alarm"; decided is None for both).

    count: of how many (`of`: images of the label, for a false alarm images without it). The examples' scores are of what was decided, best first;
    of a label that was missed its own, lowest first.
    """

    kind: Kind
    label: str
    decided: str | None
    count: int
    of: int
    examples: tuple[Example, ...]


def mistakes(
    evaluation: Evaluation, scores: NDArray[np.float32], spec: ModelSpec, *, kinds: int = KINDS, examples: int = EXAMPLES
) -> tuple[Mistake, ...]:
    """The most frequent kinds, the most frequent first.

    scores: of the decided label (n,), for multi-label models of each label (n, labels). Raises DataRejected where the collection had no labels,
    ValueError for scores of another length.
    """
    if len(scores) != len(evaluation.names):
        raise ValueError(f"{len(scores)} scores don't fit {len(evaluation.names)} images")
    wrong = ~evaluation.correct
    wanted = np.asarray(evaluation.targets)
    found = _missed(evaluation, wanted, scores, spec) if spec.task == "multi-label" else _confused(evaluation, wanted, wrong, scores, spec)
    most = heapq.nsmallest(kinds, found, key=lambda pair: (-pair[0].count, pair[0].label, pair[0].decided or "", pair[0].kind))
    return tuple(replace(kind, examples=_examples(evaluation, *choose(), examples)) for kind, choose in most)


_Chosen = tuple[NDArray[np.intp], NDArray[np.float32], int]
"""Positions, their scores, and whether the highest (-1) or the lowest (1) come first."""

_Found = Iterator[tuple[Mistake, Callable[[], _Chosen]]]


def _confused(evaluation: Evaluation, wanted: NDArray[Any], wrong: NDArray[np.bool_], scores: NDArray[np.float32], spec: ModelSpec) -> _Found:
    pairs, counts = np.unique(wanted[wrong] * len(spec.labels) + evaluation.decisions[wrong], return_counts=True)
    images = np.bincount(wanted, minlength=len(spec.labels))
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        true, decided = divmod(pair, len(spec.labels))

        def choose(true: int = true, decided: int = decided) -> _Chosen:
            at = np.flatnonzero((wanted == true) & (evaluation.decisions == decided))
            return at, scores[at], -1

        yield Mistake(kind="confused", label=spec.labels[true], decided=spec.labels[decided], count=count, of=int(images[true]), examples=()), choose


def _missed(evaluation: Evaluation, wanted: NDArray[Any], scores: NDArray[np.float32], spec: ModelSpec) -> _Found:
    kinds: tuple[tuple[Kind, NDArray[np.bool_], NDArray[np.bool_], int], ...] = (
        ("missed", wanted & ~evaluation.decisions, wanted, 1),
        ("false alarm", ~wanted & evaluation.decisions, ~wanted, -1),
    )
    for kind, hits, all_of, first in kinds:
        for column, label in enumerate(spec.labels):
            count = int(hits[:, column].sum())
            if not count:
                continue

            def choose(hits: NDArray[np.bool_] = hits, column: int = column, first: int = first) -> _Chosen:
                at = np.flatnonzero(hits[:, column])
                return at, scores[at, column], first

            yield Mistake(kind=kind, label=label, decided=None, count=count, of=int(all_of[:, column].sum()), examples=()), choose


def _examples(evaluation: Evaluation, at: NDArray[np.intp], scores: NDArray[np.float32], first: int, most: int) -> tuple[Example, ...]:
    order = np.argsort(first * scores, kind="stable")[:most]
    return tuple(Example(position=int(at[i]), name=evaluation.names[at[i]], score=float(scores[i])) for i in order)


def with_pictures(found: Sequence[Mistake], collection: Collection) -> tuple[Mistake, ...]:
    """The same mistakes, their examples with small pictures. Raises InputMissing or ImageRejected for an image that can't be read any more."""
    from edgecnn.report.page import thumbnail_uri

    wanted = {example.position for kind in found for example in kind.examples}
    pictures: dict[int, str] = {}
    for position, item in enumerate(collection):
        if len(pictures) == len(wanted):
            break
        if position in wanted:
            pictures[position] = thumbnail_uri(item.source, name=item.name)
    return tuple(replace(kind, examples=tuple(replace(example, picture=pictures[example.position]) for example in kind.examples)) for kind in found)

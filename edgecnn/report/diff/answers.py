"""Two models' answers to the same images: who is right more often, and on which images they part. Memory doesn't grow with the images."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.data.collection import Collection, Item
from edgecnn.device.batches import Batch, iterate_inputs
from edgecnn.device.classify import decide, scores
from edgecnn.device.image import normalize
from edgecnn.device.session import Session
from edgecnn.device.statistics import counted_difference, wilson
from edgecnn.errors import DataRejected
from edgecnn.report.diff.records import Answers, Disagreement, Verdict

SHOWN = 20
"""Images that are named where nobody says otherwise."""

_BATCH = 16
_FIRST: tuple[Verdict, ...] = ("lost", "won", "both wrong", "unlabelled")


@dataclass(slots=True)
class _Count:
    images: int = 0
    agreeing: int = 0
    right_a: int = 0
    right_b: int = 0
    largest: float = 0.0
    kinds: Counter[Verdict] = field(default_factory=Counter)


def compare_answers(
    a: Session,
    b: Session,
    collection: Collection,
    *,
    data: str,
    shown: int = SHOWN,
    pictures: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Each side prepares the images in its own way and decides by its own labels, thresholds and task; decisions are compared by the labels' names.

    An image whose label a side doesn't know is one that it gets wrong. shown: how many disagreements to keep, `pictures` with small pictures.
    Raises DataRejected for images without a label among others, ImageRejected or InputMissing, GraphRejected for answers that are no numbers.
    """
    count, kept = _Count(), _Kept(shown)
    threads = max(a.engine.threads, b.engine.threads)
    same_labels = a.spec.labels == b.spec.labels
    labelled = bool(collection.labels)
    for first, second, items in _batches(collection, a.spec, b.spec, threads):
        logits = [side.logits(normalize(batch.pixels, side.spec.preprocess)) for side, batch in ((a, first), (b, second))]
        decided = [list(_decided(found, side.spec)) for side, found in zip((a, b), logits, strict=True)]
        if same_labels:
            count.largest = max(count.largest, float(np.abs(logits[0].astype(np.float64) - logits[1]).max()))
        for item, target, (x, sure_x), (y, sure_y) in zip(items, first.targets, *decided, strict=True):
            truth = frozenset(collection.labels[index] for index in target) if labelled else None
            if truth is not None and not collection.multi_label and len(truth) != 1:
                raise DataRejected(f"{item.name} has no label or several, the other images have one each; give images with one each.")
            same, right_x, right_y = set(x) == set(y), frozenset(x) == truth, frozenset(y) == truth
            count.images += 1
            count.agreeing += same
            count.right_a += right_x
            count.right_b += right_y
            if not same:
                verdict: Verdict = "unlabelled" if truth is None else "lost" if right_x else "won" if right_y else "both wrong"
                count.kinds[verdict] += 1
                told = None if truth is None else tuple(label for label in collection.labels if label in truth)
                kept.offer(Disagreement(name=item.name, verdict=verdict, truth=told, a=x, b=y, score_a=sure_x, score_b=sure_y), item)
        if progress is not None:
            progress(count.images, len(collection))
    if not count.images:
        raise DataRejected(f"{data} holds no images, so nothing can be told; give at least one.")
    return _answers(count, kept.found(pictures=pictures), data, labelled=labelled, same_labels=same_labels, notes=_notes(a.spec, b.spec, collection))


def _answers(count: _Count, shown: tuple[Disagreement, ...], data: str, *, labelled: bool, same_labels: bool, notes: tuple[str, ...]) -> Answers:
    images = count.images
    return Answers(
        data=data,
        images=images,
        agreeing=count.agreeing,
        right_a=count.right_a if labelled else None,
        right_b=count.right_b if labelled else None,
        interval_a=wilson(count.right_a, images) if labelled else None,
        interval_b=wilson(count.right_b, images) if labelled else None,
        difference=counted_difference(images, only_a=count.kinds["lost"], only_b=count.kinds["won"]) if labelled else None,
        largest=count.largest if same_labels else None,
        kinds=tuple((kind, count.kinds[kind]) for kind in _FIRST if count.kinds[kind]),
        shown=shown,
        notes=notes,
    )


def _batches(collection: Collection, a: ModelSpec, b: ModelSpec, threads: int) -> Iterator[tuple[Batch, Batch, list[Item]]]:
    """The same images as each side wants them, decoded once where both want the same."""
    watched = _Watched(collection)
    first = iterate_inputs(watched, a.preprocess, batch=_BATCH, threads=threads)
    same = _pixels(a.preprocess) == _pixels(b.preprocess)
    second = None if same else iterate_inputs(collection, b.preprocess, batch=_BATCH, threads=threads)
    for batch in first:
        yield batch, batch if second is None else next(second), [watched.seen.popleft() for _ in batch.names]


def _pixels(pre: Preprocess) -> Preprocess:
    """What decides the pixels that are normalized then."""
    return replace(pre, rescale_factor=1.0, image_mean=(0.0,) * pre.depth, image_std=(1.0,) * pre.depth, normalized_by=None)


class _Watched:
    """A collection, and the items that were taken from it and not yet asked for; no more than are decoded ahead."""

    def __init__(self, whole: Collection) -> None:
        self.whole, self.labels, self.multi_label = whole, whole.labels, whole.multi_label
        self.seen: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Item]:
        for item in self.whole:
            self.seen.append(item)
            yield item


def _decided(logits: NDArray[np.float32], spec: ModelSpec) -> Iterator[tuple[tuple[str, ...], float]]:
    """The labels that hold, best first, and the score of the first, or the highest where none holds."""
    table, held = scores(logits, spec), decide(logits, spec)
    for row, found in zip(table, held, strict=True):
        if spec.task == "single-label":
            yield (spec.labels[int(found)],), float(row[int(found)])
        else:
            order = [int(at) for at in np.argsort(-row, kind="stable") if found[at]]
            yield tuple(spec.labels[at] for at in order), float(row[order[0]] if order else row.max())


def _notes(a: ModelSpec, b: ModelSpec, collection: Collection) -> tuple[str, ...]:
    found = []
    for side, spec in (("A", a), ("B", b)):
        unknown = [label for label in collection.labels if label not in spec.labels]
        if unknown:
            found.append(f"{side} doesn't know {_some(unknown)}: it counts as wrong on their images")
    return tuple(found)


def _some(labels: Sequence[str], most: int = 5) -> str:
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


class _Kept:
    """The disagreements that matter most, so many and no more."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.heap: list[tuple[tuple[int, float, int], Disagreement, Item]] = []
        self.number = 0

    def offer(self, found: Disagreement, item: Item) -> None:
        self.number += 1
        entry = ((-_FIRST.index(found.verdict), max(found.score_a, found.score_b), -self.number), found, item)
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, entry)
        elif self.most and entry[0] > self.heap[0][0]:
            heapq.heapreplace(self.heap, entry)

    def found(self, *, pictures: bool) -> tuple[Disagreement, ...]:
        """The worst first: those that a got right, and of these the ones of which a side was surest."""
        best = sorted(self.heap, key=lambda entry: entry[0], reverse=True)
        return tuple(replace(entry[1], picture=_picture(entry[2])) if pictures else entry[1] for entry in best)


def _picture(item: Item) -> str:
    from edgecnn.report.page import thumbnail_uri

    return thumbnail_uri(item.source, name=item.name)

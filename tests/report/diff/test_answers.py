"""Two models on the same images: who is right, where they part, by the labels' names and in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.data.collection import Item
from edgecnn.device.session import Session, open_session
from edgecnn.device.statistics import paired_difference, wilson
from edgecnn.errors import DataRejected, GraphRejected, ImageRejected
from edgecnn.report.diff.answers import compare_answers
from edgecnn.report.diff.records import Answers
from tests.fixtures.artifacts import color_spec, solid
from tests.fixtures.graphs import color_classifier

LABELS = ("cat", "dog", "fish")


@dataclass
class Images:
    """Pictures of 2 x 2 pixels, each of its own number."""

    targets: list[tuple[int, ...]]
    labels: tuple[str, ...] = LABELS
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Item]:
        for at, target in enumerate(self.targets):
            yield Item(name=f"{at}.png", source=np.full((2, 2, 3), (at % 256, at // 256 % 256, 0), dtype=np.uint8), target=target)


class Table:
    """An engine that looks its answers up by the picture's number."""

    threads = 1

    def __init__(self, logits: NDArray[Any]) -> None:
        self.table = np.asarray(logits, dtype=np.float32)

    def run_one(self, x: NDArray[Any]) -> NDArray[np.float32]:
        at = np.rint(x[:, 0, 0, 0]) + 256 * np.rint(x[:, 1, 0, 0])
        return self.table[at.astype(int) % len(self.table)]


def model(logits: Any, **keywords: Any) -> Session:
    spec = make_spec(
        **{"name": "m", "labels": LABELS, "batch": "batch", "preprocess": Preprocess(size=(2, 2), rescale_factor=1.0, channels="RGB"), **keywords}
    )
    return Session(spec=spec, engine=Table(np.asarray(logits)))  # type: ignore[arg-type]


def deciding(decisions: list[int]) -> NDArray[np.float32]:
    return np.eye(3, dtype=np.float32)[decisions] * 3


def answers(a: Session, b: Session, images: Any, **keywords: Any) -> Answers:
    return compare_answers(a, b, images, data="photos", **keywords)


triples = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=60)


@given(triples)
def test_the_counts_are_those_of_plain_comparisons(rows: list[tuple[int, int, int]]) -> None:
    truth, first, second = (np.array(column) for column in zip(*rows, strict=True))
    found = answers(model(deciding(list(first))), model(deciding(list(second))), Images([(int(at),) for at in truth]), shown=1000)
    assert (found.images, found.agreeing) == (len(rows), int(np.sum(first == second)))
    assert (found.right_a, found.right_b) == (int(np.sum(first == truth)), int(np.sum(second == truth)))
    assert found.difference == paired_difference(first == truth, second == truth)
    assert found.interval_a == wilson(int(np.sum(first == truth)), len(rows))
    kinds = dict(found.kinds)
    assert kinds.get("lost", 0) == np.sum((first == truth) & (second != truth))
    assert kinds.get("both wrong", 0) == np.sum((first != second) & (first != truth) & (second != truth))
    assert [row.name for row in sorted(found.shown, key=lambda row: int(row.name[:-4]))] == [f"{at}.png" for at in np.flatnonzero(first != second)]
    for row in found.shown:
        at = int(row.name[:-4])
        assert (row.truth, row.a, row.b) == tuple((LABELS[side[at]],) for side in (truth, first, second))
    assert bool(found) == bool(np.any(first != second))


def test_what_was_lost_comes_first_and_then_the_surest() -> None:
    truth = Images([(0,)] * 6)
    a = np.float32([[1, 0, 0], [5, 0, 0], [0, 1, 0], [0, 9, 0], [3, 0, 0], [1, 0, 0]])
    b = np.float32([[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 3, 0], [1, 0, 0]])
    found = answers(model(a), model(b), truth)
    assert [(row.name, row.verdict) for row in found.shown] == [
        ("1.png", "lost"),
        ("4.png", "lost"),
        ("0.png", "lost"),
        ("2.png", "won"),
        ("3.png", "both wrong"),
    ]
    few = answers(model(a), model(b), truth, shown=2)
    assert [row.name for row in few.shown] == ["1.png", "4.png"]
    assert (few.agreeing, sum(count for _, count in few.kinds)) == (1, 5)
    assert answers(model(a), model(b), truth, shown=0).shown == ()


def test_labels_in_another_order_decide_alike_by_name() -> None:
    rows = deciding([0, 1, 2, 1])
    found = answers(model(rows), model(rows[:, [2, 0, 1]], labels=("fish", "cat", "dog")), Images([(0,), (1,), (2,), (1,)]))
    assert (found.agreeing, found.right_a, found.right_b, found.largest) == (4, 4, 4, None)
    # and where only the labels were put into another order, the answers are other ones
    swapped = answers(model(rows), model(rows, labels=("dog", "cat", "fish")), Images([(0,), (1,), (2,), (1,)]))
    assert (swapped.agreeing, swapped.right_a, swapped.right_b) == (1, 4, 1)


def test_a_label_that_a_side_does_not_know_is_one_that_it_gets_wrong() -> None:
    images = Images([(0,), (3,)], labels=(*LABELS, "bird"))
    b = model(np.eye(4, dtype=np.float32)[[0, 3]], labels=(*LABELS, "bird"))
    found = answers(model(deciding([0, 1])), b, images)
    assert (found.right_a, found.right_b) == (1, 2)
    assert found.notes == ("A doesn't know bird: it counts as wrong on their images",)


def test_several_labels_are_compared_as_sets() -> None:
    keywords = {"task": "multi-label", "thresholds": (0.5, 0.5, 0.9)}
    a = model([[3, 1, -3], [-3, -3, -3], [3, 3, 2]], **keywords)
    b = model([[1, 3, -3], [-3, 3, -3], [3, 3, 3]], **keywords)
    found = answers(a, b, Images([(0, 1), (), (0, 1)], multi_label=True))
    assert (found.agreeing, found.right_a, found.right_b) == (1, 3, 1)
    assert [(row.name, row.truth, row.a, row.b) for row in sorted(found.shown, key=lambda row: row.name)] == [
        ("1.png", (), (), ("dog",)),
        ("2.png", ("cat", "dog"), ("cat", "dog"), ("cat", "dog", "fish")),
    ]


def test_one_label_against_several_is_a_set_of_one() -> None:
    several = model([[3, -3, -3], [3, 3, -3]], task="multi-label")
    found = answers(model(deciding([0, 0])), several, Images([(0,), (0,)]))
    assert (found.agreeing, found.right_a, found.right_b) == (1, 2, 1)


def test_images_without_labels_are_decided_all_the_same() -> None:
    found = answers(model(deciding([0, 1])), model(deciding([0, 2])), Images([(), ()], labels=()))
    assert (found.agreeing, found.right_a, found.difference, found.p_value) == (1, None, None, None)
    assert [(row.verdict, row.truth) for row in found.shown] == [("unlabelled", None)]


def test_the_largest_difference_of_logits() -> None:
    a, b = deciding([0, 1, 2]), deciding([0, 1, 2])
    b[1, 2] += 0.25
    assert answers(model(a), model(b), Images([(0,)] * 3)).largest == 0.25


class Solids:
    """A picture of each colour."""

    labels, multi_label = ("red", "green", "blue"), False

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Item]:
        yield from (Item(name=color, source=solid(color), target=(at,)) for at, color in enumerate(self.labels))


def test_each_side_prepares_the_images_in_its_own_way() -> None:
    def session(**keywords: Any) -> Session:
        spec = make_spec(name="colors", labels=keywords.pop("labels"), preprocess=Preprocess(**{"size": (8, 8), **keywords}))
        return open_session(color_classifier(spec.preprocess.size), spec, threads=1)

    plain = session(labels=("red", "green", "blue"))
    other = session(labels=("blue", "green", "red"), channels="BGR", size=(12, 10))
    assert answers(plain, other, Solids()).agreeing == 3
    mistaken = session(labels=("red", "green", "blue"), channels="BGR")
    found = answers(plain, mistaken, Solids())
    assert [(row.name, row.b) for row in found.shown] == [("red", ("blue",)), ("blue", ("red",))]


def test_pictures_come_with_those_that_are_shown() -> None:
    a = open_session(color_classifier(8), color_spec(8), threads=1)
    b = Session(spec=a.spec, engine=Flipped(a))  # type: ignore[arg-type]
    found = answers(a, b, Solids(), pictures=True)
    assert len(found.shown) == 3
    assert all(row.picture is not None and row.picture.startswith("data:image/") for row in found.shown)
    assert all(row.picture is None for row in answers(a, b, Solids()).shown)


class Flipped:
    threads = 1

    def __init__(self, session: Session) -> None:
        self.engine = session.engine

    def run_one(self, x: NDArray[Any]) -> NDArray[Any]:
        return -self.engine.run_one(x)


def test_what_can_not_be_judged_is_refused() -> None:
    a, b = model(deciding([0, 1])), model(deciding([0, 2]))
    with pytest.raises(DataRejected, match="photos holds no images"):
        answers(a, b, Images([]))
    with pytest.raises(DataRejected, match=r"1\.png has no label or several"):
        answers(a, b, Images([(0,), ()]))
    with pytest.raises(GraphRejected, match="NaN"):
        answers(a, model([[np.nan, 0, 0], [0, 0, 1]]), Images([(0,), (1,)]))

    class Broken(Solids):
        def __iter__(self) -> Iterator[Item]:
            yield Item(name="broken.jpg", source=b"no picture", target=(0,))

    with pytest.raises(ImageRejected, match=r"broken\.jpg"):
        answers(a, b, Broken())


def test_more_images_take_no_more_memory() -> None:
    def peak(count: int) -> int:
        images = Images([(0,)] * count)
        a, b = model(deciding([0, 1])), model(deciding([0, 2]))
        tracemalloc.start()
        found = answers(a, b, images, shown=5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.images == count
        return most

    peak(64)
    assert peak(3000) < peak(200) + 100_000


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    answers(model(deciding([0])), model(deciding([0])), Images([(0,)] * 40), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 40), (32, 40), (40, 40)]

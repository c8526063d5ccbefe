"""The most frequent mistakes come first, each with the images on which the model was surest, and those are the right images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.data.collection import Item
from edgecnn.device.validate import Evaluation
from edgecnn.errors import DataRejected, ImageRejected, InputMissing
from edgecnn.report.mistakes import Mistake, mistakes, with_pictures

SINGLE = make_spec(name="tiny", labels=("a", "b", "c"), preprocess=Preprocess(size=(8, 8)))
SEVERAL = make_spec(name="tiny", labels=("a", "b", "c"), preprocess=Preprocess(size=(8, 8)), task="multi-label")


def answers(decisions: Any, targets: Any) -> Evaluation:
    names = tuple(f"{i}.png" for i in range(len(decisions)))
    return Evaluation(names=names, decisions=np.array(decisions), targets=None if targets is None else np.array(targets))


def shown(found: tuple[Mistake, ...]) -> list[tuple[Any, ...]]:
    return [(one.kind, one.label, one.decided, one.count, one.of, [(e.position, round(e.score, 2)) for e in one.examples]) for one in found]


def test_confusions_by_frequency_with_the_surest_images_first() -> None:
    #                       0  1  2  3  4  5  6  7
    found = answers([1, 1, 1, 0, 2, 0, 1, 2], [0, 0, 0, 0, 1, 1, 1, 2])
    sure = np.array([0.5, 0.9, 0.7, 0.99, 0.6, 0.8, 1, 1], np.float32)
    assert shown(mistakes(found, sure, SINGLE, examples=2)) == [
        ("confused", "a", "b", 3, 4, [(1, 0.9), (2, 0.7)]),
        ("confused", "b", "a", 1, 3, [(5, 0.8)]),
        ("confused", "b", "c", 1, 3, [(4, 0.6)]),
    ]
    assert [one.label for one in mistakes(found, sure, SINGLE, kinds=1)] == ["a"]


def test_labels_that_were_missed_or_set_without_being_there() -> None:
    decisions = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]], bool)
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], bool)
    scores = np.array([[0.9, 0.3, 0], [0.8, 0.1, 0], [0, 0, 0.9], [0.9, 0.9, 0.6]], np.float32)
    assert shown(mistakes(answers(decisions, targets), scores, SEVERAL)) == [
        ("missed", "b", None, 2, 3, [(1, 0.1), (0, 0.3)]),
        ("false alarm", "a", None, 1, 2, [(1, 0.8)]),
        ("false alarm", "c", None, 1, 3, [(3, 0.6)]),
    ]


def test_a_model_without_mistakes_has_none() -> None:
    assert mistakes(answers([0, 1], [0, 1]), np.ones(2, np.float32), SINGLE) == ()


def test_what_can_not_be_judged_is_refused() -> None:
    with pytest.raises(DataRejected, match="no labels"):
        mistakes(answers([0, 1], None), np.ones(2, np.float32), SINGLE)
    with pytest.raises(ValueError, match="3 scores don't fit 2 images"):
        mistakes(answers([0, 1], [0, 1]), np.ones(3, np.float32), SINGLE)


class Pictures:
    """Squares, each of a grey that tells its position; how far they were read is remembered."""

    labels, multi_label = SINGLE.labels, False

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.read = sizes, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Item]:
        for position, size in enumerate(self.sizes):
            self.read = position
            yield Item(name=f"{position}.png", source=np.full((size, 2 * size), 10 * position, np.uint8), target=(0,))


def test_pictures_are_of_the_images_that_were_decided_wrongly_and_small() -> None:
    found = mistakes(answers([1, 0, 1, 0, 0, 0], [0] * 6), np.array([0.9, 1, 0.8, 1, 1, 1], np.float32), SINGLE)
    images = Pictures([4, 4, 300, 4, 4, 4])
    (one,) = with_pictures(found, images)
    pictures = [Image.open(io.BytesIO(base64.b64decode((example.picture or "").partition(",")[2]))) for example in one.examples]
    assert [picture.size for picture in pictures] == [(8, 4), (128, 64)]
    assert [picture.format for picture in pictures] == ["PNG", "JPEG"]
    assert [int(np.median(np.asarray(picture.convert("L")))) for picture in pictures] == [0, 20]
    assert images.read < 5, "nothing is read beyond the last picture that is shown"


def test_an_image_that_is_gone_or_no_picture_any_more_is_named(tmp_path: Path) -> None:
    found = mistakes(answers([1], [0]), np.ones(1, np.float32), SINGLE)

    class Gone(Pictures):
        def __iter__(self) -> Iterator[Item]:
            yield Item(name="0.png", source=tmp_path / "0.png", target=(0,))

    with pytest.raises(InputMissing, match=r"0\.png"):
        with_pictures(found, Gone([1]))
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(ImageRejected, match=r"0\.png"):
        with_pictures(found, Gone([1]))

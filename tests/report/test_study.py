"""A study keeps a number an image, not the images, and refuses what can't be judged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecnn.data.collection import Item
from edgecnn.errors import DataRejected
from edgecnn.report.study import study
from edgecnn.report.subject import read_artifact
from tests.fixtures.artifacts import COLORS, color_artifact, solid


class Endless:
    """Many large pictures, each made when it is asked for: red ones, every third of them called green."""

    labels, multi_label = COLORS, False

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        return (Item(name=f"{n}", source=solid("red", (100, 100)), target=(int(n % 3 == 0),)) for n in range(self.count))


def test_thousands_of_images_are_never_held_together(tmp_path: Path) -> None:
    path, count = color_artifact(tmp_path / "colors.edgecnn"), 1500
    artifact = read_artifact(path)
    study(path, artifact, Endless(50), name="few", threads=1)  # what is loaded once
    seen: list[int] = []
    tracemalloc.start()
    found = study(path, artifact, Endless(count), name="many", threads=1, progress=lambda done, _: seen.append(done))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < count * 100 * 100 * 3 / 10
    assert seen == sorted(seen)
    assert seen[-1] == count
    assert (found.measured.packed.count, found.measured.packed.correct) == (count, count - 500)
    assert [(one.label, one.decided, one.count, len(one.examples)) for one in found.mistakes] == [("green", "red", 500, 6)]
    assert found.reliability[0].count == count


def test_several_labels_are_each_judged(tmp_path: Path) -> None:
    path = color_artifact(tmp_path / "colors.edgecnn", task="multi-label", thresholds=(0.5, 0.5, 0.5))

    class Several(Endless):
        multi_label = True

    found = study(path, read_artifact(path), Several(30), name="several", threads=1)
    assert [(one.kind, one.label, one.count) for one in found.mistakes] == [("missed", "green", 10), ("false alarm", "red", 10)]
    assert [one.count for one in found.reliability] == [30, 30, 30]
    assert [round(one.accuracy, 3) for one in found.reliability] == [0.667, 0.333, 0.0]
    assert found.reliability[0].confidence == pytest.approx(1 / (1 + np.exp(-5)))


@pytest.mark.parametrize(
    ("labels", "several", "said"), [((), False, "no labels"), (("red", "pink", "blue"), False, "'pink'"), (COLORS, True, "multi-label")]
)
def test_data_that_does_not_belong_is_refused(labels: tuple[str, ...], several: bool, said: str, tmp_path: Path) -> None:
    path = color_artifact(tmp_path / "colors.edgecnn")
    data = Endless(3)
    data.labels, data.multi_label = labels, several  # type: ignore[assignment]

    class Bare(Endless):
        def __iter__(self) -> Iterator[Item]:
            return (Item(name=item.name, source=item.source, target=item.target if labels else ()) for item in data)

    bare = Bare(3)
    bare.labels, bare.multi_label = labels, several  # type: ignore[assignment]
    with pytest.raises(DataRejected, match=said):
        study(path, read_artifact(path), bare, name="x", threads=1)

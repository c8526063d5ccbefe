"""Images come in their order, whole, in bounded batches; an unreadable one is named."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecnn.artifact.spec import Preprocess
from edgecnn.data.collection import Item
from edgecnn.device.batches import Batch, iterate_inputs
from edgecnn.device.image import to_uint8
from edgecnn.errors import EdgecnnError, ImageRejected, InputMissing

PRE = Preprocess(size=(6, 5))


@dataclass
class Listed:
    items: list[Item]
    labels: tuple[str, ...] = ("cat", "dog")
    multi_label: bool = False
    taken: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            self.taken += 1
            yield item


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _collection(count: int) -> Listed:
    return Listed([Item(name=f"{i}.png", source=_png(i), target=(i % 2,)) for i in range(count)])


@given(st.integers(0, 20), st.integers(1, 7), st.sampled_from([1, 2, 3]))
def test_every_image_comes_once_in_order_whatever_the_batch_and_threads(count: int, batch: int, threads: int) -> None:
    collection = _collection(count)
    batches = list(iterate_inputs(collection, PRE, batch=batch, threads=threads))
    assert [len(b.names) for b in batches] == [batch] * (count // batch) + [count % batch] * (count % batch > 0)
    assert [name for b in batches for name in b.names] == [item.name for item in collection.items]
    assert [target for b in batches for target in b.targets] == [item.target for item in collection.items]
    for b in batches:
        assert b.pixels.dtype == np.uint8
        assert b.pixels.shape == (len(b.names), 6, 5, 3)
    pixels = [p for b in batches for p in b.pixels]
    for item, found in zip(collection.items, pixels, strict=True):
        assert np.array_equal(found, to_uint8(item.source, PRE))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_unreadable_image_is_named(threads: int, tmp_path: Path) -> None:
    collection = _collection(6)
    collection.items[3] = Item(name="cat/broken.png", source=b"no image")
    with pytest.raises(ImageRejected, match=r"cat/broken\.png"):
        list(iterate_inputs(collection, PRE, batch=2, threads=threads))
    collection.items[3] = Item(name="cat/gone.png", source=tmp_path / "gone.png")
    with pytest.raises(InputMissing, match=r"cat/gone\.png"):
        list(iterate_inputs(collection, PRE, batch=2, threads=threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_unreadable_images_can_be_skipped_and_are_told(threads: int, tmp_path: Path) -> None:
    collection = _collection(6)
    collection.items[0] = Item(name="broken.png", source=_png(0)[:60])
    collection.items[4] = Item(name="gone.png", source=tmp_path / "gone.png")
    told: list[tuple[str, EdgecnnError]] = []
    batches: list[Batch] = list(
        iterate_inputs(collection, PRE, batch=3, threads=threads, unreadable="skip", on_skip=lambda name, error: told.append((name, error)))
    )
    assert [b.names for b in batches] == [("1.png", "2.png", "3.png"), ("5.png",)]
    assert [name for name, _ in told] == ["broken.png", "gone.png"]
    assert all(name in str(error) for name, error in told)


def test_decoding_runs_only_a_little_ahead_of_the_reader() -> None:
    collection = _collection(200)
    batches = iterate_inputs(collection, PRE, batch=4, threads=2)
    next(batches)
    assert collection.taken <= 4 + 2 * 8 + 1
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("batch", "threads"), [(0, 1), (1, 0)])
def test_batches_of_nothing_are_refused(batch: int, threads: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(iterate_inputs(_collection(1), PRE, batch=batch, threads=threads))

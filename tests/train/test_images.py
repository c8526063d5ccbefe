"""Pictures are decoded once, as a device decodes them, and augmented the same way each time an epoch is run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecnn.artifact.spec import Preprocess
from edgecnn.data.collection import open_collection
from edgecnn.device.image import normalize, to_uint8
from edgecnn.errors import ImageRejected
from edgecnn.train.images import Images, augment, encode_targets, prepare, training_batches
from edgecnn.train.recipe import Augment

PRE = Preprocess(size=(12, 12), image_mean=(0.5, 0.5, 0.5), image_std=(0.2, 0.3, 0.4))


def prepared(pictures: Path, cache: Path) -> Images:
    return prepare(open_collection(pictures), PRE, cache=cache, name="training", multi_label=False, on_image=lambda _: None)


def test_cached_pixels_are_those_of_the_device(pictures: Path, tmp_path: Path) -> None:
    images = prepared(pictures, tmp_path / "cache")
    collection = open_collection(pictures)
    assert len(images) == 64
    for pixels, target, item in zip(images.pixels(), images.targets, collection, strict=True):
        assert np.array_equal(pixels, to_uint8(item.source, PRE))
        assert (int(target),) == item.target


def test_a_second_run_decodes_nothing(pictures: Path, tmp_path: Path) -> None:
    first = prepared(pictures, tmp_path / "cache")
    decoded: list[int] = []
    second = prepare(open_collection(pictures), PRE, cache=tmp_path / "cache", name="training", multi_label=False, on_image=decoded.append)
    assert decoded == []
    assert first.path == second.path


def test_other_pixels_of_the_same_size_are_decoded_anew(tmp_path: Path) -> None:
    for name, value in (("a", 10), ("b", 200)):
        (tmp_path / name / "x").mkdir(parents=True)
        Image.new("RGB", (12, 12), (value, value, value)).save(tmp_path / name / "x" / "0.bmp")
    first, second = (prepared(tmp_path / name, tmp_path / "cache") for name in "ab")
    assert (int(first.pixels()[0, 0, 0, 0]), int(second.pixels()[0, 0, 0, 0])) == (10, 200)


def test_another_preprocess_is_decoded_anew(pictures: Path, tmp_path: Path) -> None:
    other = prepare(
        open_collection(pictures), Preprocess(size=(6, 6)), cache=tmp_path / "cache", name="training", multi_label=False, on_image=lambda _: None
    )
    assert prepared(pictures, tmp_path / "cache").path != other.path


def test_a_broken_picture_is_named_and_leaves_no_cache(pictures: Path, tmp_path: Path) -> None:
    (pictures / "above" / "07.png").write_bytes(b"no picture")
    with pytest.raises(ImageRejected, match=r"07\.png is no image"):
        prepared(pictures, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_multi_label_targets_are_rows() -> None:
    rows = encode_targets([(0, 2), (), (1,)], 3, multi_label=True)
    assert rows.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@given(seed=st.integers(0, 99), padding=st.integers(0, 4), mode=st.sampled_from(["reflect", "zeros"]), flip=st.booleans())
def test_augmented_pictures_keep_shape_and_come_from_the_original(seed: int, padding: int, mode: str, flip: bool) -> None:
    pixels = np.random.default_rng(seed).integers(1, 256, size=(6, 8, 9, 3), dtype=np.uint8)
    how = Augment(crop_padding=padding, padding_mode=mode, flip=flip)  # type: ignore[arg-type]
    out = augment(pixels, how, np.random.default_rng(seed))
    again = augment(pixels, how, np.random.default_rng(seed))
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8
    assert np.array_equal(out, again)
    for original, changed in zip(pixels, out, strict=True):
        known = set(map(tuple, original.reshape(-1, 3))) | ({(0, 0, 0)} if mode == "zeros" else set())
        assert set(map(tuple, changed.reshape(-1, 3))) <= known
    if not padding and not flip:
        assert np.array_equal(out, pixels)


def test_epochs_differ_and_repeat_exactly(pictures: Path, tmp_path: Path) -> None:
    images = prepared(pictures, tmp_path / "cache")
    how = Augment(crop_padding=1, flip=True)

    def epoch(number: int) -> list[np.ndarray]:
        return [x for x, _ in training_batches(images, PRE, how, batch_size=20, seed=1, epoch=number)]

    assert len(epoch(0)) == 3
    assert all(np.array_equal(a, b) for a, b in zip(epoch(0), epoch(0), strict=True))
    assert not np.array_equal(epoch(0)[0], epoch(1)[0])


def test_processes_share_each_global_batch(pictures: Path, tmp_path: Path) -> None:
    images = prepared(pictures, tmp_path / "cache")
    how = Augment(crop_padding=1, flip=True)
    whole = list(training_batches(images, PRE, how, batch_size=16, seed=1, epoch=0))
    parts = [list(training_batches(images, PRE, how, batch_size=16, seed=1, epoch=0, rank=rank, processes=2)) for rank in (0, 1)]
    for (x, y), (xa, ya), (xb, yb) in zip(whole, *parts, strict=True):
        assert np.array_equal(x, np.concatenate([xa, xb]))
        assert np.array_equal(y, np.concatenate([ya, yb]))


def test_without_augmentation_an_epoch_holds_each_picture_once(pictures: Path, tmp_path: Path) -> None:
    images = prepared(pictures, tmp_path / "cache")
    seen = np.concatenate([x for x, _ in training_batches(images, PRE, Augment(), batch_size=16, seed=1, epoch=0)])
    wanted = normalize(np.asarray(images.pixels()), PRE)
    assert sorted(x.tobytes() for x in seen) == sorted(x.tobytes() for x in wanted)

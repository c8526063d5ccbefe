from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecnn.artifact.spec import Preprocess
from edgecnn.build import golden
from edgecnn.data.collection import Item
from edgecnn.device.image import normalize, to_input, to_uint8
from edgecnn.errors import ImageRejected

SMALL = Preprocess(size=(32, 32))


@dataclass(frozen=True)
class Pictures:
    """A collection in memory."""

    sources: tuple
    labels: tuple = ()
    multi_label: bool = False

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        return (Item(name=f"{i}.png", source=source) for i, source in enumerate(self.sources))


def picture(seed, height=40, width=30):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_originals_give_the_inputs_exactly_and_are_the_pictures():
    pictures = Pictures(tuple(picture(i) for i in range(5)))
    found = golden.from_collection(pictures, SMALL)
    assert found.inputs.shape == (5, 3, 32, 32)
    for source, data, x in zip(pictures.sources, found.originals, found.inputs, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), source)
        assert np.array_equal(normalize(to_uint8(data, SMALL), SMALL), x)
        assert np.array_equal(to_input(source, SMALL)[0], x)


def test_candidates_are_spread_over_a_sorted_collection():
    plain = Pictures(tuple(np.full((8, 8, 3), i, np.uint8) for i in range(160)))
    found = golden.from_collection(plain, Preprocess(size=(8, 8), rescale_factor=1.0))
    assert len(found.originals) == 16
    assert np.diff(found.inputs[:, 0, 0, 0]).tolist() == [10.0] * 15


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (96, 640), (1200, 900)])
def test_the_budgets_hold_whatever_the_pictures_are(size):
    pre = Preprocess(size=size)
    found = golden.from_collection(Pictures(tuple(picture(i, 700, 900) for i in range(3))), pre)
    kept = golden.choose(np.ones(3, bool), golden.how_many(pre))
    made = golden.members(
        tuple(found.originals[i] for i in kept),
        inputs=found.inputs[list(kept)],
        reference=np.zeros((3, 2), np.float32),
        outputs=np.zeros((3, 2), np.float32),
    )
    assert sum(len(data) for name, data in made.items() if name.endswith(".png")) < golden.MAX_PNG_BYTES
    assert len(made["golden/inputs.npy"]) < golden.MAX_INPUT_BYTES or len(kept) == 1


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 64), st.integers(1, 64), st.sampled_from(["RGB", "BGR", "L"]))
@settings(max_examples=40, deadline=None)
def test_every_picture_and_every_input_size_works(height, width, rows, columns, channels):
    depth = 1 if channels == "L" else 3
    pre = Preprocess(size=(rows, columns), channels=channels, image_mean=(0.5,) * depth, image_std=(0.25,) * depth)
    found = golden.from_collection(Pictures((picture(1, height, width),)), pre)
    assert found.inputs.shape == (1, depth, rows, columns)
    assert np.array_equal(to_input(found.originals[0], pre)[0], found.inputs[0])


def test_a_very_long_picture_and_transparency_are_taken():
    long = np.zeros((9000, 2, 3), np.uint8)
    clear = io.BytesIO()
    Image.new("RGBA", (10, 10), (200, 100, 0, 128)).save(clear, "PNG")
    found = golden.from_collection(Pictures((long, clear.getvalue())), SMALL)
    assert np.array_equal(found.inputs[1], to_input(clear.getvalue(), SMALL)[0])


def test_patterns_are_always_the_same_and_differ_from_each_other():
    first, second = golden.synthetic(SMALL), golden.synthetic(SMALL)
    assert first.originals == second.originals
    assert len(set(first.originals)) == 8
    assert golden.synthetic(Preprocess(size=(5, 7), channels="L", image_mean=(0.0,), image_std=(1.0,))).inputs.shape == (8, 1, 5, 7)


def test_only_images_that_are_decided_alike_are_chosen():
    alike = np.array([False, True, True, False, True])
    assert set(golden.choose(alike, 8)) == {1, 2, 4}
    assert golden.choose(alike, 1) == (2,)
    assert len(golden.choose(np.zeros(3, bool), 8)) == 3  # a packing by force still carries some


def test_arrays_are_plain_npy_files():
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    made = golden.members((b"png",), inputs=x, reference=x[0, 0], outputs=x[0, 0])
    assert list(made) == ["golden/00.png", "golden/inputs.npy", "golden/reference.npy", "golden/outputs.npy"]
    assert np.array_equal(np.load(io.BytesIO(made["golden/inputs.npy"]), allow_pickle=False), x)


def test_an_image_that_is_none_is_named():
    with pytest.raises(ImageRejected, match=r"1\.png is no image"):
        golden.from_collection(Pictures((picture(0), b"no picture")), SMALL)

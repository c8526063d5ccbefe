from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build import images
from edgecnn.data.collection import open_collection
from edgecnn.device.image import to_input
from edgecnn.errors import DataRejected, ImageRejected
from tests.fixtures.onnx_nets import COLORS, color_folder

SPEC = make_spec(name="colors", labels=COLORS, preprocess=Preprocess(size=(16, 16)))


def test_images_in_both_sets_are_refused_with_their_number_whatever_they_are_called(tmp_path):
    first, second = color_folder(tmp_path / "a", 9, seed=1), color_folder(tmp_path / "b", 12, seed=2)
    shutil.copy(first / "red" / "002.png", second / "blue" / "other.png")
    shutil.copy(first / "red" / "005.png", second / "green" / "again.png")
    with pytest.raises(DataRejected, match="2 of the 14 validation images are among the calibration images"):
        images.open_images(SPEC, first, second)


def test_sets_that_differ_are_taken_and_validation_gives_the_golden_candidates(tmp_path):
    first, second = color_folder(tmp_path / "a", 9, seed=1), color_folder(tmp_path / "b", 4, seed=2)
    found = images.open_images(SPEC, first, second)
    assert (found.origin, len(found.candidates.originals)) == ("validation", 4)
    assert images.open_images(SPEC, first, None).origin == "calibration"
    assert images.open_images(SPEC, None, None).origin == "synthetic"


def test_an_empty_collection_is_refused(tmp_path):
    empty = images.Unlabelled(whole=())
    for pair in ((empty, None), (None, empty)):
        with pytest.raises(DataRejected, match="holds no images"):
            images.open_images(SPEC, *pair)


def test_batches_come_anew_each_time_and_are_the_devices_inputs(tmp_path):
    collection = open_collection(color_folder(tmp_path, 40, seed=3))
    seen = []
    read = images.batches(collection, SPEC.preprocess, lambda done, total: seen.append((done, total)))
    first, second = np.concatenate(list(read())), np.concatenate(list(read()))
    assert np.array_equal(first, second)
    assert np.array_equal(first, np.concatenate([to_input(item.source, SPEC.preprocess) for item in collection]))
    assert seen == [(32, 40), (40, 40)] * 2


def test_large_inputs_come_a_few_at_a_time(tmp_path):
    collection = open_collection(color_folder(tmp_path, 3, seed=3))
    assert [len(x) for x in images.batches(collection, Preprocess(size=(2048, 2048)))()] == [1, 1, 1]


def test_an_image_that_is_none_is_named(tmp_path):
    folder = color_folder(tmp_path, 3, seed=3)
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageRejected, match=r"broken\.png"):
        list(images.batches(open_collection(folder), SPEC.preprocess)())


def test_a_digest_speaks_of_contents_and_not_of_names(tmp_path):
    folder = color_folder(tmp_path / "a", 6, seed=3)
    other = shutil.copytree(folder, tmp_path / "b")
    (other / "red" / "002.png").rename(other / "red" / "0020.png")
    assert images.digest(open_collection(folder)) == images.digest(open_collection(other))
    (other / "red" / "0020.png").unlink()
    assert images.digest(open_collection(folder)) != images.digest(open_collection(other))


def test_unlabelled_images_are_the_same_without_targets(tmp_path):
    collection = open_collection(color_folder(tmp_path, 6, seed=3))
    bare = images.Unlabelled(whole=collection)
    assert [item.name for item in bare] == [item.name for item in collection]
    assert {item.target for item in bare} == {()}

"""The idx files of the MNIST family, whole and damaged."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.data.collection import open_collection
from edgecnn.data.idx import read_idx
from edgecnn.errors import DataRejected, InputMissing
from tests.fixtures.collections import idx_bytes, pixels, write_idx


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_and_labels_come_out_as_they_went_in(tmp_path, suffix):
    path = write_idx(tmp_path / "m", [3, 0, 9], suffix=suffix)
    collection = open_collection(path)
    assert np.array_equal([item.source for item in collection], pixels(0, (3, 6, 5)))
    assert [collection.labels[item.target[0]] for item in collection] == ["3", "0", "9"]
    assert [item.name for item in collection][:2] == ["train-images/00000", "train-images/00001"]


def test_plain_files_stay_on_disk(tmp_path):
    path = write_idx(tmp_path / "m", [3, 0, 9])
    assert isinstance(open_collection(path).images, np.memmap)


def test_labels_txt_names_the_numbers(tmp_path):
    path = write_idx(tmp_path / "m", [1, 0])
    (path.parent / "labels.txt").write_text("coat\nshirt\n")
    assert [item.target for item in open_collection(path)] == [(1,), (0,)]
    reordered = open_collection(path, labels=["shirt", "hat", "coat"])
    assert [reordered.labels[item.target[0]] for item in reordered] == ["shirt", "coat"]


def test_labels_may_be_zipped_where_images_are_not(tmp_path):
    path = write_idx(tmp_path / "m", [1, 0])
    labels = path.with_name("train-labels-idx1-ubyte")
    labels.with_suffix(".gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert len(open_collection(path)) == 2


def test_names_with_dots_are_found_too(tmp_path):
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(pixels(0, (1, 4, 4))))
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(np.array([7], dtype=np.uint8)))
    assert len(open_collection(tmp_path)) == 1


def test_a_folder_with_two_parts_asks_which(tmp_path):
    write_idx(tmp_path / "m", [1, 0])
    path = write_idx(tmp_path / "m", [1, 0, 1], stem="t10k")
    with pytest.raises(DataRejected, match=r"t10k-images-idx3-ubyte, train-images-idx3-ubyte\); give the path"):
        open_collection(tmp_path / "m")
    assert len(open_collection(path)) == 3


def test_missing_labels_say_which_file_is_wanted(tmp_path):
    path = write_idx(tmp_path / "m", [1])
    path.with_name("train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputMissing, match="put train-labels-idx1-ubyte into the same folder"):
        open_collection(path)


def test_the_labels_file_is_not_the_images_file(tmp_path):
    path = write_idx(tmp_path / "m", [1])
    with pytest.raises(DataRejected, match="no idx file of images"):
        open_collection(path.with_name("train-labels-idx1-ubyte"))


def test_other_numbers_of_labels_and_images_are_refused(tmp_path):
    path = write_idx(tmp_path / "m", [1, 2])
    path.with_name("train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(DataRejected, match="has 2 images, train-labels-idx1-ubyte has 3 labels"):
        open_collection(path)


def test_too_few_labels_given_are_refused(tmp_path):
    with pytest.raises(DataRejected, match="classes up to number 4, but only 2 of them have names"):
        open_collection(write_idx(tmp_path / "m", [1, 4]), labels=["a", "b"])


def test_an_empty_set_is_refused(tmp_path):
    for suffix in ("", ".gz"):
        with pytest.raises(DataRejected, match="holds no images"):
            open_collection(write_idx(tmp_path / f"m{suffix}", [], suffix=suffix))


GOOD = idx_bytes(pixels(0, (2, 6, 5)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with nothing"),
        (GOOD[:3], "starts with 00 00 08"),
        (GOOD[:15], "starts with 00 00 08 03"),
        (b"\x89PNG" + GOOD[4:], "starts with 89 50 4e 47"),
        (b"\0\0\x0d\x03" + GOOD[4:], "starts with 00 00 0d 03"),
        (b"\0\0\x08\x01" + GOOD[4:], "starts with 00 00 08 01"),
        (GOOD[:-1], "fewer bytes than the 60"),
        (GOOD + b"x", "more bytes than the 60"),
        (GOOD[:4] + struct.pack(">3I", 2, 0, 5) + GOOD[16:], "images of 0 x 5 pixels"),
        (GOOD[:4] + struct.pack(">3I", 2, 60000, 60000) + GOOD[16:], "bytes"),
        (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "bytes"),
    ],
)
def test_a_damaged_header_or_size_is_one_sentence(tmp_path, pack, data, message):
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(pack(data))
    with pytest.raises(DataRejected, match=message):
        read_idx(path, axes=3)


def test_a_damaged_gz_is_refused(tmp_path):
    path = tmp_path / "x-images-idx3-ubyte.gz"
    whole = gzip.compress(GOOD)
    for data in (whole[:-9], whole[:12], whole[:-6] + b"\0\0" + whole[-4:], whole[:15] + b"\xff\xff" + whole[17:]):
        path.write_bytes(data)
        with pytest.raises(DataRejected):
            read_idx(path, axes=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)),
    zipped=st.booleans(),
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
)
def test_whole_files_are_read_exactly_and_changed_headers_never_crash(tmp_path, array, zipped, place, value):
    path = tmp_path / "x-images-idx3-ubyte"
    data = idx_bytes(array)
    pack = gzip.compress if zipped else bytes
    path.write_bytes(pack(data))
    assert np.array_equal(read_idx(path, axes=3), array)
    place %= 16
    changed = data[:place] + bytes([value]) + data[place + 1 :]
    path.write_bytes(pack(changed))
    if changed == data:
        return
    with pytest.raises(DataRejected):
        read_idx(path, axes=3)

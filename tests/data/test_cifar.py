"""CIFAR's binary version as a folder, as the official archive, as one file."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.data.collection import open_collection
from edgecnn.errors import DataRejected
from tests.fixtures.collections import cifar_records, pixels, write_tar, write_tree

META = ("batches.meta.txt", b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
CIFAR10 = [
    ("data_batch_1.bin", cifar_records([6, 9], seed=10)),
    META,
    ("data_batch_2.bin", cifar_records([1], seed=20)),
    ("readme.html", b"<html>"),
    ("test_batch.bin", cifar_records([3, 8, 8], seed=30)),
]
FINE = b"".join(f"fine{i}\n".encode() for i in range(100))
CIFAR100 = [
    ("fine_label_names.txt", FINE),
    ("train.bin", cifar_records([99, 0], coarse=True, seed=40)),
    ("test.bin", cifar_records([5], coarse=True, seed=50)),
    ("coarse_label_names.txt", b"a\nb\n"),
]


def named(collection):
    return [(item.name, collection.labels[item.target[0]]) for item in collection]


def official(tmp_path, files, folder, name):
    return write_tar(tmp_path / name, [(f"{folder}/{file}", data) for file, data in files])


def test_a_folder_and_the_official_archive_give_the_same_training_images(tmp_path):
    folder = write_tree(tmp_path / "cifar-10-batches-bin", CIFAR10)
    archive = official(tmp_path, CIFAR10, "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    expected = [("data_batch_1/00000", "frog"), ("data_batch_1/00001", "truck"), ("data_batch_2/00000", "automobile")]
    for path in (folder, archive):
        collection = open_collection(path)
        assert named(collection) == expected
        assert all(np.array_equal(item.source, pixels(seed)) for item, seed in zip(collection, (10, 11, 20), strict=True))
        assert len(collection.labels) == 10


def test_the_test_part_is_its_own_file(tmp_path):
    folder = write_tree(tmp_path / "c", CIFAR10)
    assert [label for _, label in named(open_collection(folder / "test_batch.bin"))] == ["cat", "ship", "ship"]


def test_a_folder_with_only_the_test_part_gives_that(tmp_path):
    assert len(open_collection(write_tree(tmp_path / "c", [CIFAR10[-1]]))) == 3


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_cifar_100_uses_the_fine_labels(tmp_path, kind):
    path = write_tree(tmp_path / "c", CIFAR100) if kind == "folder" else official(tmp_path, CIFAR100, "cifar-100-binary", "cifar-100-binary.tar.gz")
    collection = open_collection(path)
    assert named(collection) == [("train/00000", "fine99"), ("train/00001", "fine0")]
    assert np.array_equal(next(iter(collection)).source, pixels(40))
    assert len(collection.labels) == 100


def test_the_well_known_names_serve_where_no_file_gives_them(tmp_path):
    path = write_tree(tmp_path / "c", [CIFAR10[0]]) / "data_batch_1.bin"
    assert [label for _, label in named(open_collection(path))] == ["frog", "truck"]


def test_another_set_in_the_same_format_is_named_by_the_labels_given(tmp_path):
    path = write_tree(tmp_path / "c", [("mine.bin", cifar_records([1, 0]))]) / "mine.bin"
    assert open_collection(path).labels == ("0", "1")
    assert [label for _, label in named(open_collection(path, labels=["apple", "pear", "plum"]))] == ["pear", "apple"]


@pytest.mark.parametrize("cut", [1, 3072])
@pytest.mark.parametrize("archived", [False, True])
def test_part_of_a_record_is_refused(tmp_path, cut, archived):
    files = [("data_batch_1.bin", CIFAR10[0][1][:-cut]), META]
    path = official(tmp_path, files, "c", "c.tar.gz") if archived else write_tree(tmp_path / "c", files)
    with pytest.raises(DataRejected, match="no whole number"):
        open_collection(path)


def test_a_class_without_a_name_is_refused(tmp_path):
    path = write_tree(tmp_path / "c", [("data_batch_1.bin", cifar_records([3, 200])), META])
    with pytest.raises(DataRejected, match="classes up to number 200, but only 10"):
        open_collection(path)


def test_a_member_that_stands_twice_is_refused(tmp_path):
    path = write_tar(tmp_path / "c.tar", [("c/data_batch_1.bin", b"odd"), ("c/data_batch_1.bin", CIFAR10[0][1])])
    with pytest.raises(DataRejected, match="twice"):
        open_collection(path)


def test_an_empty_file_is_refused(tmp_path):
    path = write_tree(tmp_path / "c", [("data_batch_1.bin", b"")])
    with pytest.raises(DataRejected, match="holds no images"):
        open_collection(path)


def test_a_cut_archive_is_refused(tmp_path):
    path = official(tmp_path, CIFAR10, "c", "c.tar.gz")
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 12):
        path.write_bytes(whole[:length])
        with pytest.raises(DataRejected):
            list(open_collection(path))

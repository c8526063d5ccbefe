"""Class folders, plain folders and single images."""

from __future__ import annotations

import pytest

from edgecnn.data.collection import open_collection
from edgecnn.errors import DataRejected
from tests.fixtures.collections import TREE, png, write_tree


def names(collection):
    return [item.name for item in collection]


def test_other_files_hidden_files_and_empty_folders_are_passed_over(tmp_path):
    others = ["cat/notes.txt", "cat/.hidden.png", ".git/x.png", "docs/a.pdf", "README.md", "dog/.cache/x.png"]
    root = write_tree(tmp_path / "a", [*TREE, *((name, b"") for name in others)])
    collection = open_collection(root)
    assert collection.labels == ("cat", "dog", "emu")
    assert names(collection) == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/more/2.PNG", "emu/1.png"]


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "JPG"])
def test_all_image_endings_count(tmp_path, ending):
    assert len(open_collection(write_tree(tmp_path / "a", [(f"cat/1.{ending}", b"")]))) == 1


def test_labels_txt_gives_the_order(tmp_path):
    root = write_tree(tmp_path / "a", [*TREE, ("labels.txt", "﻿emu\r\ndog\r\n\r\ncat\r\nyak\r\n".encode())])
    collection = open_collection(root)
    assert collection.labels == ("emu", "dog", "cat", "yak")
    assert [item.target for item in collection] == [(2,), (2,), (1,), (1,), (0,)]
    assert open_collection(root, labels=["cat", "dog", "emu"]).labels == ("cat", "dog", "emu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"cat\ndog\ncat\nemu\n", "names cat twice"),
        (b"\n\n", "names no label"),
        (b"\xff\xfe", "no UTF-8"),
        (b"x" * 1_000_001, "1 MB at most"),
        (b"cat\ndogs\nemu\n", "did you mean dogs"),
    ],
)
def test_a_labels_txt_that_does_not_fit_is_refused(tmp_path, text, message):
    root = write_tree(tmp_path / "a", [*TREE, ("labels.txt", text)])
    with pytest.raises(DataRejected, match=message):
        open_collection(root)


def test_a_plain_folder_has_no_labels(tmp_path):
    root = write_tree(tmp_path / "a", [("b.png", png(1)), ("a.png", png(2)), ("x.txt", b"")])
    collection = open_collection(root, labels=["cat", "dog"])
    assert collection.labels == ()
    assert [(item.name, item.target) for item in collection] == [("a.png", ()), ("b.png", ())]


def test_a_single_image(tmp_path):
    file = write_tree(tmp_path, [("a.png", png(1))]) / "a.png"
    (item,) = open_collection(file)
    assert (item.name, item.target, item.content()) == ("a.png", (), png(1))


def test_images_beside_class_folders_are_refused(tmp_path):
    root = write_tree(tmp_path / "a", [*TREE, ("stray.png", png(1))])
    with pytest.raises(DataRejected, match=r"stray\.png.*beside its class folders"):
        open_collection(root)


@pytest.mark.parametrize("files", [[], [("readme.txt", b"")], [("cat/readme.txt", b"")]])
def test_nothing_to_look_at_is_refused(tmp_path, files):
    with pytest.raises(DataRejected, match="holds no images"):
        open_collection(write_tree(tmp_path / "a", files))


def test_a_class_folder_may_be_a_link_and_a_loop_ends(tmp_path):
    write_tree(tmp_path / "far", [("1.png", png(1))])
    root = write_tree(tmp_path / "a", [("dog/1.png", png(2))])
    (root / "cat").symlink_to(tmp_path / "far")
    (root / "dog" / "again").symlink_to(root)
    assert names(open_collection(root)) == ["cat/1.png", "dog/1.png"]


def test_a_class_name_that_cannot_be_printed_is_refused(tmp_path):
    with pytest.raises(DataRejected, match="can't be printed"):
        open_collection(write_tree(tmp_path / "a", [("c\nat/1.png", png(1))]))

"""Class folders in archives, and archives that mean harm."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile

import pytest

from edgecnn.data.collection import open_collection
from edgecnn.errors import DataRejected
from tests.fixtures.collections import TREE, member, png, tar_bytes, write_tar, write_tree


def names(collection):
    return [item.name for item in collection]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "A.TAR.GZ"])
def test_the_same_with_and_without_compression(tmp_path, name):
    path = tmp_path / name
    data = tar_bytes(TREE)
    path.write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    collection = open_collection(path)
    assert names(collection) == [name for name, _ in TREE]
    assert [item.content() for item in collection] == [data for _, data in TREE]


@pytest.mark.parametrize("wrapper", ["./", "animals/", "./data/animals/", "animals//"])
def test_a_folder_around_everything_is_taken_away(tmp_path, wrapper):
    files = [*TREE, ("labels.txt", b"emu\ndog\ncat\n")]
    collection = open_collection(write_tar(tmp_path / "a.tar", [(wrapper + name, data) for name, data in files]))
    assert collection.labels == ("emu", "dog", "cat")
    assert names(collection) == [name for name, _ in TREE]
    assert next(iter(collection)).target == (2,)


def test_a_single_class_stays_a_class(tmp_path):
    assert open_collection(write_tar(tmp_path / "a.tar", [("x/cat/1.png", png(1)), ("x/cat/2.png", png(2))])).labels == ("cat",)
    nested = write_tar(tmp_path / "b.tar", [("cat/a/1.png", png(1)), ("cat/b/2.png", png(2))])
    assert open_collection(nested, labels=["cat", "dog"]).labels == ("cat", "dog")
    assert [item.target for item in open_collection(nested, labels=["dog", "cat"])] == [(1,), (1,)]


def test_images_without_class_folders_have_no_labels(tmp_path):
    collection = open_collection(write_tar(tmp_path / "a.tar", [("b.png", png(1)), ("a.png", png(2))]))
    assert collection.labels == ()
    assert [(item.name, item.target) for item in collection] == [("b.png", ()), ("a.png", ())]


def test_images_beside_class_folders_are_refused(tmp_path):
    with pytest.raises(DataRejected, match="beside its class folders"):
        open_collection(write_tar(tmp_path / "a.tar", [*TREE, ("stray.png", png(1))]))


def test_links_devices_hidden_and_other_files_are_passed_over(tmp_path):
    extra = [
        (member("cat/link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (member("cat/hard.png", type=tarfile.LNKTYPE, linkname="cat/1.png"), b""),
        (member("cat/pipe.png", type=tarfile.FIFOTYPE), b""),
        (member("zoo", type=tarfile.DIRTYPE), b""),
        ("cat/._1.png", b"x"),
        ("__MACOSX/cat/._1.png", b"x"),
        ("cat/readme.txt", b"x"),
    ]
    collection = open_collection(write_tar(tmp_path / "a.tar", [*extra, *TREE]))
    assert names(collection) == [name for name, _ in TREE]
    assert collection.labels == ("cat", "dog", "emu")


@pytest.mark.parametrize("name", ["../cat/1.png", "/tmp/cat/1.png", "cat/../../1.png"])
def test_a_member_outside_its_folder_is_refused_and_nothing_is_written(tmp_path, name, monkeypatch):
    path = write_tar(tmp_path / "a.tar", [*TREE, (name, png(1))])
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    with pytest.raises(DataRejected, match="outside its own folder"):
        open_collection(path)
    assert os.listdir(inside) == []
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "inside"]


def sized(size: int) -> bytes:
    """A header of a member that says it has `size` bytes."""
    return member("cat/1.png", size=size).tobuf(format=tarfile.GNU_FORMAT)


def test_a_member_above_64_mb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(sized(64 * 1024 * 1024 + 1) + bytes(1024))
    with pytest.raises(DataRejected, match=r"'cat/1.png' of 67108865 bytes, at most 64 MB"):
        open_collection(path)


def test_a_negative_size_ends(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes(TREE)[: len(TREE) * 1024] + sized(-512) + bytes(1024))
    with pytest.raises(DataRejected):
        open_collection(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [1 << 40, -(1 << 20)])
def test_an_extended_header_cannot_ask_for_gigabytes(tmp_path, kind, size):
    header = member("x", size=size, type=kind).tobuf(format=tarfile.GNU_FORMAT)
    path = tmp_path / "a.tar"
    path.write_bytes(header + bytes(2048))
    with pytest.raises(DataRejected):
        open_collection(path)


def test_an_endless_chain_of_long_names_ends(tmp_path):
    header = member("x", size=1, type=tarfile.GNUTYPE_LONGNAME).tobuf(format=tarfile.GNU_FORMAT)
    path = tmp_path / "a.tar"
    path.write_bytes((header + b"y".ljust(512, b"\0")) * 5000 + bytes(1024))
    with pytest.raises(DataRejected):
        open_collection(path)


def test_long_names_are_read_whole(tmp_path):
    name = "cat/" + "n" * 300 + ".png"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            archive.addfile(member(name, size=len(png(1))), io.BytesIO(png(1)))
        assert names(open_collection(path)) == [name]


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_wherever_it_is_cut_it_is_refused(tmp_path, ending):
    whole = write_tar(tmp_path / f"whole.{ending}", TREE).read_bytes()
    content = len(tar_bytes(TREE).rstrip(b"\0")) if ending == "tar" else len(whole)
    path = tmp_path / f"cut.{ending}"
    for length in [*range(0, content, 97), content - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataRejected):
            list(open_collection(path))


def test_damage_never_ends_in_another_error(tmp_path):
    """One changed byte gives a refusal, or a collection that can be walked to its end."""
    whole = bytearray(tar_bytes(TREE))
    draw = random.Random(5)
    path = tmp_path / "a.tar"
    refused = 0
    for _ in range(600):
        changed = bytearray(whole)
        changed[draw.randrange(len(TREE) * 1024)] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            collection = open_collection(path)
            assert len(list(collection)) == len(collection)
        except DataRejected:
            refused += 1
    assert refused > 100


def test_damage_under_gzip_is_noticed(tmp_path):
    whole = gzip.compress(tar_bytes(TREE))
    path = tmp_path / "a.tar.gz"
    for position in range(20, len(whole) - 4, 61):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(DataRejected):
            list(open_collection(path))


def test_no_archive_at_all_is_refused(tmp_path):
    path = write_tree(tmp_path, [("a.tar.gz", b"hello")]) / "a.tar.gz"
    with pytest.raises(DataRejected, match=r"no whole \.tar"):
        open_collection(path)


def test_an_archive_without_images_is_refused(tmp_path):
    with pytest.raises(DataRejected, match="holds no images"):
        open_collection(write_tar(tmp_path / "a.tar", [("readme.txt", b"x")]))


def test_memory_stays_bounded_over_many_members(tmp_path):
    """160 MB of images pass through under a limit of 60 MB above the start."""
    path = tmp_path / "a.tar"
    block = png(1, (64, 64, 3)).ljust(4_000_000, b"\0")
    with tarfile.open(path, "w") as archive:
        for number in range(40):
            archive.addfile(member(f"cat/{number}.png", size=len(block)), io.BytesIO(block))
    code = (
        "import resource, sys; from edgecnn.data.collection import open_collection; import edgecnn.data.tar\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "total = sum(len(item.source) for item in open_collection(sys.argv[1]))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    total, kilobytes = map(int, done.stdout.split())
    assert total == 160_000_000
    assert kilobytes < 60_000

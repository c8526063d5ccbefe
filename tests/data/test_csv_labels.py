"""Multi-label tables of files and labels."""

from __future__ import annotations

import csv
import io
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.data.collection import open_collection
from edgecnn.errors import DataRejected
from tests.fixtures.collections import TREE, png, write_tree


def table(tmp_path, text, files=TREE):
    data = text if isinstance(text, bytes) else text.encode()
    return write_tree(tmp_path / "photos", [*files, ("all.csv", data)]) / "all.csv"


def named(collection):
    return {item.name: {collection.labels[i] for i in item.target} for item in collection}


def test_columns_of_0_and_1(tmp_path):
    path = table(tmp_path, "file, night ,cat\ncat/1.png,1,1\ndog/1.png, 0 ,0\nemu/1.png,1,0\n")
    collection = open_collection(path)
    assert collection.labels == ("night", "cat")
    assert named(collection) == {"cat/1.png": {"night", "cat"}, "dog/1.png": set(), "emu/1.png": {"night"}}
    assert [item.content() for item in collection] == [png(1), png(3), png(5)]


def test_what_spreadsheets_write_is_read(tmp_path):
    path = table(tmp_path, '﻿file,labels\r\n"cat/1.png","cat; night ;"\r\n\r\n.\\dog\\1.png,\r\n')
    assert named(open_collection(path)) == {"cat/1.png": {"cat", "night"}, "dog/1.png": set()}


def test_labels_txt_beside_it_gives_order_and_rare_labels(tmp_path):
    path = table(tmp_path, "file,labels\ncat/1.png,cat\n", [*TREE, ("labels.txt", b"night\ncat\nfog\n")])
    assert open_collection(path).labels == ("night", "cat", "fog")


def test_labels_among_columns_that_were_not_given_are_refused(tmp_path):
    path = table(tmp_path, "file,cat,nite\ncat/1.png,1,0\n")
    with pytest.raises(DataRejected, match=r"'nite' that is not among the model's labels \(cat, night\), did you mean night\?"):
        open_collection(path, labels=["cat", "night"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("image,labels\na,b\n", "`file,labels`"),
        ("file\ncat/1.png\n", "`file,labels`"),
        ("file;labels\ncat/1.png;x\n", "`file,labels`"),
        ("file,labels,cat\ncat/1.png,x,1\n", "others beside it"),
        ("file,cat,cat\ncat/1.png,1,1\n", "two columns cat"),
        ("file,cat,\ncat/1.png,1,1\n", "a column without a name"),
        ("file,cat,file\ncat/1.png,1,1\n", "two columns file"),
        ("file,cat\ncat/1.png\n", r"line 2 of .*all\.csv has 1 columns, its header has 2"),
        ("file,cat\ncat/1.png,yes\n", r"line 2 of .* has 'yes' for cat; 0 or 1"),
        ("file,cat\ncat/1.png,\n", "0 or 1"),
        ("file,labels\ncat/1.png,a;b;a\n", "gives a label twice"),
        ("file,labels\ncat/1.png,a\n\ncat/1.png,b\n", r"line 4 of .* names cat/1\.png a second time"),
        ("file,labels\ncat/1.png,a\n./cat//1.png,b\n", "a second time"),
        ("file,labels\ncat/9.png,a\n", "'cat/9.png', which doesn't exist"),
        ("file,labels\n,a\n", "no image by its extension"),
        ("file,labels\ncat,a\n", "no image by its extension"),
        ("file,labels\nall.csv,a\n", "no image by its extension"),
        ("file,labels\n../photos/cat/1.png,a\n", "outside the CSV's folder"),
        ("file,labels\n../../x.png,a\n", "outside the CSV's folder"),
        ("file,labels\n..\\x.png,a\n", "outside the CSV's folder"),
        ("file,labels\n/etc/x.png,a\n", "outside the CSV's folder"),
        ("file,labels\nlink.png,a\n", "outside the CSV's folder"),
        ("file,labels\nlinks/1.png,a\n", "outside the CSV's folder"),
        ("file,labels\nloop.png,a\n", "doesn't exist"),
        ("file,labels\n" + "x" * 5000 + ".png,a\n", "doesn't exist"),
        ('file,labels\n"cat/1.png" x,a\n', "no CSV"),
        ('file,labels\n"cat/1.png,a\n', "no CSV"),
        ("file,labels\ncat/1.png," + "a;" * 1_000_000, "a line of more than 1000000 characters"),
        (b"file,labels\n\xff\xfe,a\n", "no CSV in UTF-8"),
        ("file,labels\n", "holds no images"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path, text, message):
    path = table(tmp_path, text)
    write_tree(tmp_path / "far", [("1.png", png(1))])
    (path.parent / "link.png").symlink_to(tmp_path / "far" / "1.png")
    (path.parent / "links").symlink_to(tmp_path / "far")
    (path.parent / "loop.png").symlink_to(path.parent / "loop.png")
    with pytest.raises(DataRejected, match=message):
        open_collection(path)


LABEL = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=";"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.sets(LABEL, max_size=4), min_size=1, max_size=5), columns=st.booleans())
def test_whatever_the_labels_are_called_they_come_back(tmp_path, rows, columns):
    files = [f"{i}.png" for i in range(len(rows))]
    every = sorted(set().union(*rows)) or ["none"]
    if columns and set(every) & {"labels", "file"}:
        return
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["file", *every] if columns else ["file", "labels"])
    for file, names in zip(files, rows, strict=True):
        writer.writerow([file, *(int(name in names) for name in every)] if columns else [file, ";".join(sorted(names))])
    path = table(tmp_path, out.getvalue(), [(file, b"") for file in files])
    collection = open_collection(path)
    assert named(collection) == dict(zip(files, rows, strict=True))
    assert list(collection.labels) == (every if columns or any(rows) else [])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200) | st.text(alphabet='file,labels;\n\r"01./catx', max_size=80).map(lambda text: b"file,labels\n" + text.encode()))
def test_no_bytes_end_in_another_error(tmp_path, data):
    path = table(tmp_path, data)
    with suppress(DataRejected):
        collection = open_collection(path)
        assert len(list(collection)) == len(collection)

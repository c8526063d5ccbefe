"""What every data format promises; a new file in edgecnn/data is tested here the moment it exists.

It wants a maker in tests/fixtures/collections.py.
"""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from edgecnn.data.collection import formats, open_collection, split
from edgecnn.device.image import open_image
from edgecnn.errors import DataRejected, InputMissing
from tests.fixtures.collections import MAKERS


@pytest.fixture(params=sorted({*formats(), *MAKERS}))
def made(request, tmp_path):
    assert request.param in formats(), f"{request.param} has a maker but is no format"
    assert request.param in MAKERS, f"the format {request.param} has no maker in tests/fixtures/collections.py"
    return MAKERS[request.param](tmp_path)


def by_name(collection):
    return tuple(tuple(sorted(collection.labels[i] for i in item.target)) for item in collection)


def test_exactly_one_format_takes_it(made, request):
    taking = [name for name in formats() if importlib.import_module(f"edgecnn.data.{name}").matches(made.path)]
    assert taking == [request.node.callspec.params["made"]]


def test_labels_and_targets_are_those_of_the_data(made):
    collection = open_collection(made.path)
    assert collection.labels == made.labels
    assert collection.multi_label is made.multi_label
    assert by_name(collection) == made.targets
    assert all(item.target == tuple(sorted(item.target)) for item in collection)


def test_length_equals_items_and_every_pass_gives_the_same(made):
    collection = open_collection(str(made.path))
    first = [(item.name, item.target, item.sha256()) for item in collection]
    again = [(item.name, item.target, item.sha256()) for item in collection]
    reopened = [(item.name, item.target, item.sha256()) for item in open_collection(made.path)]
    assert len(collection) == len(first) == len(made.targets)
    assert first == again == reopened
    assert len({name for name, _, _ in first}) == len(first)


def test_two_passes_at_once_do_not_disturb_each_other(made):
    collection = open_collection(made.path)
    list(islice(collection, 1))  # a pass that is left early
    pairs = list(zip(collection, collection, strict=True))
    assert [a.name for a, _ in pairs] == [b.name for _, b in pairs] == [item.name for item in collection]
    assert len(pairs) == len(collection)


def test_every_item_is_a_picture(made):
    for item in open_collection(made.path):
        image = open_image(item.source, name=item.name)
        assert min(image.size) >= 5
        if isinstance(item.source, np.ndarray):
            assert item.source.dtype == np.uint8
            assert item.source.flags["C_CONTIGUOUS"]


def test_items_outlive_the_pass(made):
    kept = list(open_collection(made.path))
    assert [item.sha256() for item in kept] == [item.sha256() for item in open_collection(made.path)]


def test_it_can_be_split_and_sent_to_another_process(made):
    collection = pickle.loads(pickle.dumps(open_collection(made.path)))
    rest, held = split(collection, 1, seed=3)
    assert len(list(held)) == 1
    assert {item.name for item in rest} | {item.name for item in held} == {item.name for item in open_collection(made.path)}


def test_given_labels_set_the_order(made):
    labels = ("zebra", *reversed(made.labels))
    collection = open_collection(made.path, labels=labels)
    assert collection.labels == labels
    if made.named:
        assert by_name(collection) == made.targets
    else:  # the labels name the class numbers: number 0 is now called zebra
        assert by_name(collection) == tuple(tuple(labels[int(n)] for n in names) for names in made.targets)


def test_given_labels_that_lack_one_of_the_data_are_refused(made):
    with pytest.raises(DataRejected) as refused:
        open_collection(made.path, labels=[*made.labels[:-1], made.labels[-1] + "s"] if made.named else made.labels[:-1])
    assert str(made.path.name) in str(refused.value) or str(made.path.parent.name) in str(refused.value)
    if made.named:
        assert f"did you mean {made.labels[-1]}s?" in str(refused.value)


def test_a_path_that_does_not_exist_is_missing(made, tmp_path):
    gone = made.path.with_name("gone" + made.path.name)
    with pytest.raises(InputMissing, match="gone"):
        open_collection(gone)


def test_formats_load_no_torch_and_no_onnx():
    code = (
        "import importlib, sys; from edgecnn.data.collection import formats\n"
        "names = formats()\n"
        "assert not any(f'edgecnn.data.{name}' in sys.modules for name in names), 'formats() imports nothing'\n"
        "for name in names: importlib.import_module(f'edgecnn.data.{name}')\n"
        "print(*sorted({module.split('.')[0] for module in sys.modules} & {'torch', 'onnx', 'onnxruntime', 'rich', 'pooch', 'scipy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_no_format_takes_is_refused(tmp_path):
    file = tmp_path / "notes.docx"
    file.write_bytes(b"nothing")
    with pytest.raises(DataRejected, match=r"notes\.docx is in none of the formats"):
        open_collection(file)

"""Opening a collection, holding some of it out, and what an item knows of itself."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.data.collection import Item, evenly, open_collection, split
from edgecnn.errors import DataRejected, InputMissing
from tests.fixtures.collections import TREE, make_csv_labels, pixels, png, write_tree


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held_out=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_a_split_parts_every_item_once_and_in_order(tmp_path, held_out, seed):
    collection = open_collection(write_tree(tmp_path / "a", TREE))
    rest, held = split(collection, held_out, seed=seed)
    names = [item.name for item in collection]
    parts = [[item.name for item in part] for part in (rest, held)]
    assert [len(part) for part in parts] == [len(rest), len(held)] == [5 - held_out, held_out]
    assert sorted(parts[0] + parts[1]) == sorted(names)
    assert all(part == [name for name in names if name in part] for part in parts)
    again = split(open_collection(tmp_path / "a"), held_out, seed=seed)[1]
    assert [item.name for item in again] == parts[1]
    assert (rest.labels, rest.multi_label) == (("cat", "dog", "emu"), False)


def test_different_seeds_hold_out_different_items(tmp_path):
    collection = open_collection(write_tree(tmp_path / "a", TREE))
    assert len({tuple(item.name for item in split(collection, 2, seed=seed)[1]) for seed in range(20)}) > 3


def test_a_part_of_multi_label_data_stays_multi_label(tmp_path):
    assert split(open_collection(make_csv_labels(tmp_path).path), 1, seed=0)[0].multi_label is True


@pytest.mark.parametrize("held_out", [-1, 0, 5, 6])
def test_a_split_that_leaves_nothing_is_refused(tmp_path, held_out):
    with pytest.raises(DataRejected, match="choose a number between 1 and 4"):
        split(open_collection(write_tree(tmp_path / "a", TREE)), held_out, seed=0)


def test_equal_content_is_the_same_image_wherever_it_comes_from(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    on_disk, in_memory = Item(name="a", source=tmp_path / "a.png"), Item(name="b", source=png(1))
    assert on_disk.sha256() == in_memory.sha256() == hashlib.sha256(png(1)).hexdigest()
    assert Item(name="c", source=pixels(1)).sha256() != Item(name="c", source=pixels(2)).sha256()


def test_an_item_whose_file_went_away_says_so(tmp_path):
    with pytest.raises(InputMissing, match=r"gone\.png can't be read"):
        Item(name="a", source=tmp_path / "gone.png").content()


@given(st.integers(0, 500), st.integers(1, 500))
def test_positions_are_spread_evenly(total, count):
    found = evenly(total, count)
    assert len(found) == min(total, count)
    assert sorted(set(found)) == list(found)
    assert all(0 <= place < total for place in found)
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1

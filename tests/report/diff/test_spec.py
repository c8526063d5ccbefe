"""Labels that come, go, move or are called otherwise; preprocessing, thresholds, provenance: each change alone is found alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.report.diff.records import LabelChanges
from edgecnn.report.diff.spec import compare_labels, compare_metadata, compare_preprocess, compare_release, compare_task

names = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1)


def rebuilt(a: list[str], found: LabelChanges) -> list[str]:
    """What the changes make of a's labels."""
    called = {old: new for _, old, new in found.renamed}
    moved = {placed.label for placed in (*found.moved, *found.removed)}
    labels = [called.get(label, label) for label in a if label not in moved]
    for placed in sorted((*found.added, *found.moved), key=lambda placed: placed.b or 0):
        assert placed.b is not None
        labels.insert(placed.b, placed.label)
    return labels


@given(names, names)
def test_the_changes_lead_from_one_to_the_other(a: list[str], b: list[str]) -> None:
    found = compare_labels(a, b)
    assert rebuilt(a, found) == b
    assert bool(found) == (a != b)
    assert {placed.label for placed in found.moved} <= set(a) & set(b)


@given(st.permutations("abcdefg"), st.integers(0, 6), st.integers(0, 6))
def test_one_label_that_moved_is_one_label(labels: list[str], at: int, to: int) -> None:
    other = [label for label in labels if label != labels[at]]
    other.insert(to, labels[at])
    found = compare_labels(labels, other)
    assert len(found.moved) == (at != to)
    assert (found.added, found.removed, found.renamed) == ((), (), ())


def test_a_label_called_otherwise_and_two_that_swapped() -> None:
    found = compare_labels(["cat", "dog", "fish"], ["tabby", "fish", "dog"])
    assert found.renamed == ((0, "cat", "tabby"),)
    assert len(found.moved) == 1
    assert (found.added, found.removed) == ((), ())


def test_labels_that_only_shift_have_not_moved() -> None:
    found = compare_labels(["cat", "dog"], ["bird", "cat", "dog"])
    assert [(placed.label, placed.b) for placed in found.added] == [("bird", 0)]
    assert found.moved == ()


PRE = Preprocess(size=(16, 16), crop_size=(8, 8))


@pytest.mark.parametrize(
    ("what", "value", "shown"),
    [
        ("size", (20, 16), [20, 16]),
        ("resize_mode", "letterbox", "letterbox"),
        ("interpolation", "bicubic", "bicubic"),
        ("antialias", False, False),
        ("crop_size", None, None),
        ("channels", "BGR", "BGR"),
        ("rescale_factor", 1.0, 1.0),
        ("image_mean", (0.0, 0.0, 0.1), [0.0, 0.0, 0.1]),
        ("image_std", (1.0, 2.0, 1.0), [1.0, 2.0, 1.0]),
        ("normalized_by", "graph", "graph"),
    ],
)
def test_each_part_of_preprocessing(what: str, value: Any, shown: Any) -> None:
    found = compare_preprocess(PRE, replace(PRE, **{what: value}))
    assert [(change.what, change.b) for change in found] == [(what, shown)]
    assert compare_preprocess(PRE, PRE) == ()


def spec(**keywords: Any) -> ModelSpec:
    return make_spec(**{"name": "pets", "labels": ("cat", "dog", "fish"), "preprocess": Preprocess(size=(8, 8)), **keywords})


def test_task_and_activation_change_together() -> None:
    assert [change.what for change in compare_task(spec(), spec(task="multi-label"))] == ["task", "activation"]


def test_thresholds_are_told_by_label_wherever_it_stands() -> None:
    a = spec(task="multi-label", thresholds=(0.5, 0.3, 0.7))
    b = spec(task="multi-label", labels=("fish", "cat", "bird"), thresholds=(0.7, 0.6, 0.1))
    assert [(change.what, change.a, change.b) for change in compare_task(a, b)] == [("threshold of cat", 0.5, 0.6)]
    assert compare_task(a, a) == ()


def test_name_version_and_sequence() -> None:
    other = spec(name="animals", version="2.0", sequence=3)
    assert [change.what for change in compare_release(spec(), other, sequence=True)] == ["name", "version", "sequence"]
    assert [change.what for change in compare_release(spec(), other, sequence=False)] == ["name", "version"]


def test_a_whole_number_is_the_float_but_no_truth() -> None:
    """Python takes all three for the same, JSON the first two."""
    assert compare_preprocess(replace(PRE, rescale_factor=1.0), replace(PRE, rescale_factor=1)) == ()
    assert [change.what for change in compare_metadata({"x": 1}, {"x": True})] == ["x"]

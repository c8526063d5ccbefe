"""Which stage of one model is which of the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.errors import UsageError
from edgecnn.report.explain.pairs import apart, check_comparable, pairs, taken_back
from edgecnn.report.explain.stages import Stage
from tests.report.explain.conftest import SHIPPED, Artifacts, Open, picture_of, sample

SPEC = make_spec(name="a", labels=("cat", "dog"), preprocess=Preprocess(size=(8, 8)))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_stage_of_float32_has_its_twin_in_int8(name: str, artifacts: Artifacts, opened: Open) -> None:
    float32, int8 = (opened(artifacts(name, form)) for form in ("float32", "int8"))
    picture = picture_of(float32, sample(name))
    ours, theirs = (one.network.trace(picture.input(one.spec)) for one in (float32, int8))
    found = pairs(float32.stages, int8.stages, ours, theirs)
    assert sorted(found) == list(range(len(float32.stages)))
    assert [found[place] for place in sorted(found)] == sorted(set(found.values()))
    for place, twin in found.items():
        a, b = float32.stages[place], int8.stages[twin]
        assert (a.role, b.role) in {(a.role, a.role), ("relu", "rounding")}
        if ours[a.shown].ndim == 2 and place < max(found):
            continue  # a hidden unit's factor can't be told from one image
        # each is nearer to its twin than rounding's noise
        assert apart(ours[a.shown], taken_back(ours[a.shown], theirs[b.shown])[0]).largest < 0.1 * np.abs(ours[a.shown]).max(), a.name
    left = [int8.stages[place].name for place in range(len(int8.stages)) if place not in found.values()]
    assert left == ["input"]


def stage(name: str, role: str, tensor: str) -> Stage:
    return Stage(name=name, operator="", role=role, raw=tensor, shown=tensor)  # type: ignore[arg-type]


def test_stages_of_other_names_are_paired_in_order_where_they_are_as_many() -> None:
    ours = [stage("x", "input", "x"), stage("a", "conv", "a"), stage("b", "relu", "b"), stage("c", "conv", "c")]
    theirs = [stage("in", "input", "in"), stage("1", "conv", "1"), stage("2", "rounding", "2"), stage("3", "conv", "3")]
    values = {name: np.zeros((1, 2, 4, 4)) for one in (*ours, *theirs) for name in (one.shown,)}
    assert pairs(ours, theirs, values, values) == {0: 0, 1: 1, 2: 2, 3: 3}
    # of another shape, or more of them: nobody knows which is which
    values["3"] = np.zeros((1, 2, 2, 2))
    assert pairs(ours, theirs, values, values) == {0: 0, 2: 2}


def test_how_far_two_are_apart() -> None:
    a = np.array([3.0, 4.0])
    found = apart(a, a + np.array([0.5, 0.0]))
    assert (found.sqnr_db, found.largest, found.most) == (pytest.approx(20.0), 0.5, 4.0)
    assert apart(a, a).sqnr_db is None
    assert apart(a, np.array([np.nan, 4.0])).largest == np.inf


def test_a_channel_that_is_the_same_but_for_a_factor_is_compared_without_it() -> None:
    ours = np.random.default_rng(0).normal(0, 1, (1, 4, 8, 8))
    noise = np.random.default_rng(1).normal(0, 0.01, ours.shape)
    theirs = ours * np.array([1, 3, 0.25, -1]).reshape(1, 4, 1, 1) + noise
    found, scaled = taken_back(ours, theirs)
    assert scaled == 2
    assert np.abs(found - ours)[:, :3].max() < 0.2
    assert (found[:, 3] == theirs[:, 3]).all()  # a sign that is wrong is no scale
    assert (found[:, 0] == theirs[:, 0]).all()
    other = np.random.default_rng(2).normal(0, 3, ours.shape)
    assert taken_back(ours, other)[1] == 0


def test_only_the_same_network_is_shown_beside() -> None:
    names = ("a.edgecnn", "b.edgecnn")
    check_comparable(SPEC, replace(SPEC, name="b", version="2"), names)
    for other, what in (
        (replace(SPEC, labels=("cat", "bird")), "labels"),
        (replace(SPEC, preprocess=replace(SPEC.preprocess, image_mean=(0.5, 0.5, 0.5))), "preprocessing"),
        (make_spec(name="a", labels=SPEC.labels, preprocess=SPEC.preprocess, task="multi-label"), "task"),
    ):
        with pytest.raises(UsageError, match=f"b.edgecnn can't be shown beside a.edgecnn: its {what} differ"):
            check_comparable(SPEC, other, names)

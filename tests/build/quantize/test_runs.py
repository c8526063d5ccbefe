from __future__ import annotations

import errno
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.build.quantize import int8
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._runs import at_hand, feeds, outputs, up_to
from edgecnn.errors import OutputNotWritable
from tests.fixtures.plain_int8 import PLAIN


def test_a_part_holds_what_its_tensors_need_and_answers_as_the_whole(graph, images):
    whole = load(graph)
    part = up_to(whole, ["t3", "t1"])
    assert [node.name for node in part.graph.node] == ["n0", "n1", "n2", "n3"]
    assert {entry.name for entry in part.graph.initializer} == {"c0", "c1", "c2", "c3", "c4", "c5"}
    (clipped, relu), *_ = outputs(part, lambda: iter([images]), optimize=False)
    assert clipped.shape == relu.shape == (1, 16, 16, 16)
    assert clipped.max() <= 6
    assert relu.min() == 0


@pytest.mark.parametrize(("batch", "together", "sizes"), [(1, None, [1] * 7), (4, 2, [4, 1, 2]), ("batch", 2, [2, 2, 1, 2]), ("batch", None, [5, 2])])
def test_images_are_answered_each_once_in_order(make_residual, images, batch, together, sizes):
    part = up_to(load(make_residual(batch=batch)), ["t1"])
    found = [relu for (relu,) in outputs(part, lambda: iter([images[:5], images[5:7]]), optimize=False, together=together)]
    assert [len(part) for part in found] == sizes
    (one_by_one,) = zip(*outputs(up_to(load(make_residual(batch=1)), ["t1"]), lambda: iter([images[:7]]), optimize=False), strict=True)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(one_by_one), atol=1e-6)


@given(st.lists(st.integers(0, 9), max_size=5), st.one_of(st.none(), st.integers(1, 6)))
def test_feeds_fill_up_the_last_of_a_batch_with_its_last_image(counts, size):
    numbers = iter(range(100))
    batches = [np.array([next(numbers) for _ in range(count)], dtype=np.float32).reshape(count, 1, 1, 1) for count in counts]
    found = list(feeds(batches, size))
    assert [value for feed, real in found for value in feed[:real].ravel()] == list(range(sum(counts)))
    assert all(real >= 1 and (feed[real:] == feed[real - 1]).all() for feed, real in found)
    assert size is None or all(len(feed) == size for feed, _ in found)


def test_images_at_hand_are_the_same_and_were_prepared_once(images):
    rounds = []

    def calibration():
        rounds.append(1)
        return iter([images[:5], images[5:7]])

    with at_hand(calibration) as kept:
        for _ in range(3):
            for wanted, found in zip((images[:5], images[5:7]), kept(), strict=True):
                np.testing.assert_array_equal(found, wanted)
    assert len(rounds) == 1


@pytest.mark.parametrize(
    "option", [{"correct_bias": True}, {"rounding": "adaptive"}, {"correct_bias": True, "rounding": "adaptive", "ranges": "mse"}]
)
def test_corrections_prepare_the_images_once_more_and_leave_nothing_behind(graph, images, option, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rounds = []

    def calibration():
        rounds.append(1)
        return iter([images])

    int8.quantize(graph, calibration, **{**PLAIN, **option})
    assert len(rounds) == (3 if "ranges" in option else 2)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(images, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputNotWritable, match="the disk is full"), at_hand(lambda: iter([images])):
        pass

"""The numbers in a page: bit for bit, in as few bytes as they need, and never more than there is room for."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from edgecnn.report.explain.numbers import Numbers, cube, packed


@pytest.mark.parametrize(("kind", "dtype"), [("u1", np.uint8), ("i1", np.int8), ("i4", np.int32), ("f4", np.float32)])
def test_a_tensor_is_its_bytes(kind: str, dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 100, (2, 3, 4)).astype(dtype)
    found = packed(array[:, ::-1])
    assert (found["type"], found["shape"]) == (kind, [2, 3, 4])
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(found["data"]), np.dtype(dtype).newbyteorder("<")).reshape(2, 3, 4), array[:, ::-1])
    assert packed(array, scale=[0.5], zero=[3], axis=1)["scale"] == [0.5]


def test_any_tensor_is_a_cube_of_one_input() -> None:
    for shape, wanted in (((), (1, 1, 1)), ((5,), (5, 1, 1)), ((2, 5), (5, 1, 1)), ((2, 3, 4), (1, 3, 4)), ((2, 3, 4, 5), (3, 4, 5))):
        found = cube(np.zeros(shape))
        assert found is not None
        assert found.shape == wanted
    assert cube(np.zeros((1, 2, 3, 4, 5))) is None
    # a constant, broadcast from the right
    for shape, rank, wanted in (((5,), 2, (5, 1, 1)), ((3, 1, 1), 4, (3, 1, 1)), ((1,), 4, (1, 1, 1)), ((7,), 4, (1, 1, 7))):
        found = cube(np.zeros(shape), rank)
        assert found is not None
        assert found.shape == wanted


def test_what_does_not_fit_is_left_out_as_a_whole() -> None:
    numbers = Numbers(left=100)
    small, large = packed(np.zeros(16, np.float32)), packed(np.zeros(30, np.float32))
    assert numbers.fits(("a", small))
    assert not numbers.fits(("b", small), ("c", small))
    assert not numbers.fits(("d", large))
    assert list(numbers.tensors) == ["a"]
    assert numbers.fits(("a", small))  # is there already, and costs nothing
    assert 30 <= numbers.left <= 36

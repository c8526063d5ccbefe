"""A constant's elements are those that onnx reads, in every dtype and every way to store them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.protobuf import Wire
from edgecnn.artifact.tensor_data import element_bytes
from edgecnn.artifact.tensor_proto import read_tensor
from tests.artifact.test_tensor_proto import NUMPY_TYPES


def elements(proto: TensorProto) -> bytes | None:
    model = b"before it" + proto.SerializeToString()
    wire = Wire(model)
    found = element_bytes(model, read_tensor(wire, (9, len(model))))
    return None if found is None else bytes(found)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("dtype", NUMPY_TYPES)
def test_every_dtype_in_raw_and_typed_fields(dtype: str, raw: bool) -> None:
    array = (np.arange(24) * 5 - (0 if dtype[0] in "ub" else 60)).reshape(2, 3, 4).astype(dtype)
    data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    proto = numpy_helper.from_array(array, "w") if raw else helper.make_tensor("w", data_type, array.shape, array.flatten().tolist())
    assert elements(proto) == array.tobytes()


@pytest.mark.parametrize("data_type", [TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN])
def test_types_that_numpy_has_none_of(data_type: int) -> None:
    typed = helper.make_tensor("w", data_type, [5], [1, 2, 3, 0, 7])
    packed = data_type in (TensorProto.INT4, TensorProto.UINT4)
    wanted = bytes([0x21, 0x03, 0x07]) if packed else numpy_helper.to_array(typed).tobytes()
    raw = TensorProto(name="w", data_type=data_type, dims=[5], raw_data=wanted)
    assert [elements(typed), elements(raw)] == [wanted, wanted]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40), st.booleans())
def test_numbers_field_by_field(numbers: list[int], packed: bool) -> None:
    """Writers of other languages don't pack."""
    whole = helper.make_tensor("w", TensorProto.INT32, [len(numbers)], numbers)
    if not packed:
        head = TensorProto(name="w", data_type=TensorProto.INT32, dims=[len(numbers)]).SerializeToString()
        data = head + b"".join(b"\x28" + _varint(number) for number in numbers)
        wire = Wire(data)
        found = element_bytes(data, read_tensor(wire, wire.whole))
        assert found is not None
        assert bytes(found) == np.array(numbers, "<i4").tobytes()
    else:
        assert elements(whole) == np.array(numbers, "<i4").tobytes()


def _varint(number: int) -> bytes:
    number, found = number % 2**64, bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        found.append(low | (0x80 if number else 0))
        if not number:
            return bytes(found)


def test_many_numbers_are_no_attack() -> None:
    """A graph is read within a budget of fields; a tensor that passed it is read whole."""
    numbers = np.arange(300_000, dtype=np.int8)
    assert elements(helper.make_tensor("w", TensorProto.INT8, [300_000], numbers.tolist())) == numbers.tobytes()


def test_what_can_not_be_told_is_none() -> None:
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="w.bin")
    texts: Any = helper.make_tensor("t", TensorProto.STRING, [2], [b"ab", b"c"])
    assert [elements(outside), elements(texts)] == [None, None]


def test_no_elements_are_no_bytes() -> None:
    assert elements(numpy_helper.from_array(np.zeros((0, 3), np.float32), "e")) == b""

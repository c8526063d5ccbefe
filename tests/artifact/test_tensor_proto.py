"""Tensors and values are measured as onnx measures them, in every type and every way to store them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.protobuf import Wire
from edgecnn.artifact.tensor_proto import Initializer, Value, read_sparse_tensor, read_tensor, read_value
from edgecnn.errors import GraphRejected


def tensor(proto: TensorProto) -> Initializer:
    wire = Wire(proto.SerializeToString())
    return read_tensor(wire, wire.whole)


def value(proto: onnx.ValueInfoProto) -> Value:
    wire = Wire(proto.SerializeToString())
    return read_value(wire, wire.whole)


NUMPY_TYPES = "float32 float64 float16 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool complex64 complex128".split()  # noqa: SIM905


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("dtype", NUMPY_TYPES)
def test_every_dtype_in_raw_and_typed_fields(dtype: str, raw: bool) -> None:
    array = (np.arange(24) - (0 if dtype[0] in "ub" else 12)).reshape(2, 3, 4).astype(dtype)
    data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    proto = numpy_helper.from_array(array, "w") if raw else helper.make_tensor("w", data_type, array.shape, array.flatten().tolist())
    assert proto.HasField("raw_data") == raw
    assert tensor(proto) == Initializer(name="w", dtype=dtype, shape=(2, 3, 4), nbytes=array.nbytes)


@pytest.mark.parametrize("elements", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize(("data_type", "bits"), [(TensorProto.INT4, 4), (TensorProto.UINT4, 4), (TensorProto.INT2, 2), (TensorProto.FLOAT6E2M3, 6)])
def test_types_that_share_bytes(data_type: int, bits: int, elements: int) -> None:
    raw = TensorProto(name="w", data_type=data_type, dims=[elements], raw_data=bytes(-(-elements * bits // 8)))
    typed = TensorProto(name="w", data_type=data_type, dims=[elements], int32_data=[0] * (elements if bits == 6 else -(-elements * bits // 8)))
    assert tensor(raw) == tensor(typed)
    assert tensor(raw).nbytes == len(raw.raw_data)


def test_bfloat16_and_float8() -> None:
    for data_type, name, size in ((TensorProto.BFLOAT16, "bfloat16", 2), (TensorProto.FLOAT8E4M3FN, "float8_e4m3fn", 1)):
        found = tensor(helper.make_tensor("w", data_type, [3], [1.0, 2.0, 3.0]))
        assert (found.dtype, found.nbytes) == (name, 3 * size)


def test_texts_scalars_and_empty_tensors() -> None:
    assert tensor(helper.make_tensor("t", TensorProto.STRING, [2], [b"ab", b"c"])).nbytes == 3
    assert tensor(numpy_helper.from_array(np.float32(3), "s")) == Initializer(name="s", dtype="float32", shape=(), nbytes=4)
    assert tensor(numpy_helper.from_array(np.zeros((0, 3), np.float32), "e")) == Initializer(name="e", dtype="float32", shape=(0, 3), nbytes=0)


def test_a_scalar_has_one_element() -> None:
    assert tensor(numpy_helper.from_array(np.float32(3), "s")).elements == 1
    assert tensor(numpy_helper.from_array(np.zeros((2, 5), np.int8), "s")).elements == 10


def test_numbers_that_are_not_packed_are_read_too() -> None:
    unpacked = b"\x08\x02\x08\x02\x10\x01" + b"\x25\0\0\0\0" * 4 + b"\x42\x01w"  # dims 2 and 2, float32, four floats, a field each
    wire = Wire(unpacked)
    assert read_tensor(wire, wire.whole) == Initializer(name="w", dtype="float32", shape=(2, 2), nbytes=16)


def external(**entries: str) -> TensorProto:
    proto = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000, 1000])
    for key, text in entries.items():
        proto.external_data.add(key=key, value=text)
    return proto


def test_data_in_another_file_is_seen_however_it_is_written() -> None:
    both = external(location="weights.bin")
    both.data_location = TensorProto.EXTERNAL
    only_entries = external(location="../../etc/passwd")
    only_location = external()
    only_location.data_location = TensorProto.EXTERNAL
    beside_raw = external(location="*/_ORT_MEM_ADDR_/*", offset="94000000000000", length="4")
    beside_raw.raw_data = bytes(4_000_000)
    assert all(tensor(proto).external for proto in (both, only_entries, only_location, beside_raw))
    assert tensor(both).nbytes == 4_000_000
    inside = external()
    inside.data_location = TensorProto.DEFAULT
    inside.raw_data = bytes(4_000_000)
    assert not tensor(inside).external


DISHONEST = {
    "too little": TensorProto(name="w", data_type=1, dims=[4], raw_data=bytes(12)),
    "too much": TensorProto(name="w", data_type=1, dims=[4], raw_data=bytes(20)),
    "none": TensorProto(name="w", data_type=1, dims=[1 << 40]),
    "too few values": TensorProto(name="w", data_type=7, dims=[4], int64_data=[1, 2, 3]),
    "values of another type": TensorProto(name="w", data_type=7, dims=[3], float_data=[1, 2, 3]),
    "values beside raw data": TensorProto(name="w", data_type=1, dims=[1], raw_data=bytes(4), float_data=[1]),
    "raw texts": TensorProto(name="w", data_type=8, dims=[0], raw_data=b""),
    "a negative size": TensorProto(name="w", data_type=1, dims=[-1, -1], raw_data=bytes(4)),
    "sizes whose product overflows": TensorProto(name="w", data_type=1, dims=[1 << 62, 1 << 62, 0, 7], float_data=[1.0]),
    "an axis over 31 bits": TensorProto(name="w", data_type=1, dims=[1 << 31, 0]),
    "100 axes": TensorProto(name="w", data_type=1, dims=[1] * 100, raw_data=bytes(4)),
    "an unknown type": TensorProto(name="w", data_type=99, dims=[1], raw_data=bytes(4)),
    "no type": TensorProto(name="w", dims=[1], raw_data=bytes(4)),
    "segments": TensorProto(name="w", data_type=1, dims=[1], raw_data=bytes(4), segment=TensorProto.Segment(begin=0, end=1)),
}


@pytest.mark.parametrize("proto", DISHONEST.values(), ids=DISHONEST.keys())
def test_a_tensor_whose_data_is_not_what_its_shape_says_is_refused(proto: TensorProto) -> None:
    with pytest.raises(GraphRejected):
        tensor(proto)


def test_sparse_tensors() -> None:
    values = numpy_helper.from_array(np.ones(3, np.float32), "sparse")
    indices = numpy_helper.from_array(np.arange(3), "indices")
    proto = helper.make_sparse_tensor(values, indices, [10, 10])
    wire = Wire(proto.SerializeToString())
    assert read_sparse_tensor(wire, wire.whole) == Initializer(name="sparse", dtype="float32", shape=(10, 10), nbytes=12 + 24, sparse=True)
    proto.indices.external_data.add(key="location", value="x")
    wire = Wire(proto.SerializeToString())
    assert read_sparse_tensor(wire, wire.whole).external


NUMBERS = {"int64": [3, -1, 1 << 62], "int32": [3, -1, -(1 << 31)], "float32": [0.5, -3.0, 1e30], "bool": [True, False, True]}


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_numbers_of_small_tensors_are_read(dtype: str, raw: bool) -> None:
    array = np.array(NUMBERS[dtype], dtype)
    proto = numpy_helper.from_array(array, "w") if raw else helper.make_tensor("w", helper.np_dtype_to_tensor_dtype(array.dtype), [3], array.tolist())
    assert tensor(proto).numbers == tuple(array.tolist())


def test_numbers_that_take_fields_of_their_own_are_read_as_protobuf_does() -> None:
    def unpacked(field: int, values: list[int]) -> bytes:
        return b"".join(bytes([field << 3]) + encoded(value) for value in values)

    def encoded(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    for data_type, field, values in ((7, 7, [1, 2, (1 << 64) - 5]), (6, 5, [1, (1 << 64) - 5, (1 << 40) + 7])):
        data = TensorProto(name="w", data_type=data_type, dims=[3]).SerializeToString() + bytes([field << 3 | 2, 0]) * 100 + unpacked(field, values)
        wire = Wire(data)
        assert read_tensor(wire, wire.whole).numbers == tuple(numpy_helper.to_array(TensorProto.FromString(data)).tolist())


def test_the_numbers_of_large_tensors_and_other_types_are_left_alone() -> None:
    assert tensor(numpy_helper.from_array(np.arange(65), "w")).numbers is None
    assert tensor(numpy_helper.from_array(np.arange(3, dtype=np.uint8), "w")).numbers is None


def test_a_value_that_states_two_types_or_shapes_is_refused() -> None:
    """Parsers of protobuf merge them into one of twice as many axes."""
    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    data = one.SerializeToString() + onnx.ValueInfoProto(type=one.type).SerializeToString()
    assert len(onnx.ValueInfoProto.FromString(data).type.tensor_type.shape.dim) == 4
    wire = Wire(data)
    with pytest.raises(GraphRejected, match="two types"):
        read_value(wire, wire.whole)


def test_values() -> None:
    assert value(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, None, 0])) == Value(
        name="x", dtype="float32", shape=("batch", 3, None, 0)
    )
    assert value(helper.make_tensor_value_info("x", TensorProto.UINT8, [])) == Value(name="x", dtype="uint8", shape=())
    assert value(helper.make_tensor_value_info("x", TensorProto.FLOAT16, None)) == Value(name="x", dtype="float16", shape=None)
    assert value(helper.make_tensor_value_info("x", TensorProto.FLOAT, [-1, 2])) == Value(name="x", dtype="float32", shape=(None, 2))
    assert value(onnx.ValueInfoProto(name="x")) == Value(name="x", dtype="undefined", shape=None)
    sequence = helper.make_value_info("x", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])))
    assert value(sequence) == Value(name="x", dtype="sequence", shape=None)


def test_a_value_of_100_axes_is_refused() -> None:
    with pytest.raises(GraphRejected, match="100 axes"):
        value(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1] * 100))

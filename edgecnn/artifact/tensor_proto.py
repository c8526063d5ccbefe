"""ONNX's messages about tensors (TensorProto, SparseTensorProto, ValueInfoProto), measured without copying their data.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto .
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from dataclasses import field as record_field

from edgecnn.artifact.protobuf import BYTES, FIXED32, FIXED64, VARINT, Span, Wire, signed, tags
from edgecnn.errors import GraphRejected

MAX_RANK = 32
MAX_SIZE = (1 << 31) - 1
MAX_NUMBERS = 64

TENSOR = {
    **tags(BYTES, dims=1, segment=3, float_data=4, int32_data=5, string_data=6, int64_data=7, name=8, raw_data=9, double_data=10),
    **tags(BYTES, uint64_data=11, external_data=13),
    **tags(VARINT, one_dim=1, data_type=2, one_int32=5, one_int64=7, one_uint64=11, data_location=14),
    **tags(FIXED32, one_float=4),
    **tags(FIXED64, one_double=10),
}
_SPARSE = {**tags(BYTES, values=1, indices=2, dims=3), **tags(VARINT, one_dim=3)}
_VALUE = tags(BYTES, name=1, type=2)
_TYPE = tags(BYTES, tensor=1, sequence=4, map=5, opaque=7, sparse_tensor=8, optional=9)
_TENSOR_TYPE = {**tags(BYTES, shape=2), **tags(VARINT, elem_type=1)}
_SHAPE = tags(BYTES, dim=1)
_DIMENSION = {**tags(VARINT, dim_value=1), **tags(BYTES, dim_param=2)}

# TensorProto.DataType: its name here, bits an element, and the field that holds the elements where raw_data doesn't
_DATA_TYPES: dict[int, tuple[str, int, str]] = {
    1: ("float32", 32, "float"),
    2: ("uint8", 8, "int32"),
    3: ("int8", 8, "int32"),
    4: ("uint16", 16, "int32"),
    5: ("int16", 16, "int32"),
    6: ("int32", 32, "int32"),
    7: ("int64", 64, "int64"),
    8: ("string", 0, "string"),
    9: ("bool", 8, "int32"),
    10: ("float16", 16, "int32"),
    11: ("float64", 64, "double"),
    12: ("uint32", 32, "uint64"),
    13: ("uint64", 64, "uint64"),
    14: ("complex64", 64, "float"),
    15: ("complex128", 128, "double"),
    16: ("bfloat16", 16, "int32"),
    17: ("float8_e4m3fn", 8, "int32"),
    18: ("float8_e4m3fnuz", 8, "int32"),
    19: ("float8_e5m2", 8, "int32"),
    20: ("float8_e5m2fnuz", 8, "int32"),
    21: ("uint4", 4, "int32"),
    22: ("int4", 4, "int32"),
    23: ("float4_e2m1", 4, "int32"),
    24: ("float8_e8m0", 8, "int32"),
    25: ("uint2", 2, "int32"),
    26: ("int2", 2, "int32"),
    27: ("float6_e2m3", 6, "int32"),
    28: ("float6_e3m2", 6, "int32"),
}

DTYPES = {number: name for number, (name, _, _) in _DATA_TYPES.items()}
"""By the number that TensorProto has for them."""
BITS = {name: bits for name, bits, _ in _DATA_TYPES.values()}
"""Of one element, by dtype; 0 for texts, whose size isn't known beforehand."""

# What shapes, axes, pads and scales come in
_NUMBER_FORMATS = {"int64": "q", "int32": "i", "float32": "f", "bool": "?"}

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Initializer:
    """A constant tensor. nbytes: as raw little-endian data; external: its data lies (or claims to lie) in another file; sparse: only some of its
    elements are stored, nbytes is of those.

    numbers: its elements in C order, where it has at most MAX_NUMBERS and is of a type that shapes and scales come in; span: where its message
    lies in the file, for `tensor_data.element_bytes`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    external: bool = False
    sparse: bool = False
    numbers: tuple[int | float, ...] | None = record_field(default=None, compare=False, repr=False)
    span: Span | None = record_field(default=None, compare=False, repr=False)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A tensor's name, dtype and shape: a number, a name or None (unknown) for each axis; shape None where the rank is unknown.

    dtype is "undefined" where the model doesn't say, and "sequence", "map", ... for what is no tensor.
    """

    name: str
    dtype: str
    shape: Shape | None


def read_tensor(wire: Wire, span: Span) -> Initializer:
    """Raises GraphRejected where the data is longer or shorter than the shape says."""
    name, data_type, external = "", 0, False
    dims: list[int] = []
    raw: Span | None = None
    typed: dict[str, int] = {}
    parts: list[tuple[str, int, int]] = []
    text_bytes = 0
    for field, first, end in wire.fields(span, TENSOR):
        if field == "dims":
            dims.extend(wire.varints(first, end))
        elif field == "one_dim":
            dims.append(first)
        elif field == "data_type":
            data_type = first
        elif field == "name":
            name = wire.name(first, end)
        elif field == "raw_data":
            raw = (first, end)
        elif field == "external_data":
            external = True
        elif field == "data_location":
            external = external or first != 0
        elif field == "segment":
            raise GraphRejected("it splits a tensor into segments, which no runtime reads")
        else:
            kind, count = _typed_data(wire, field, first, end)
            typed[kind] = typed.get(kind, 0) + count
            if count and len(parts) < MAX_NUMBERS:
                parts.append((field, first, end))
            text_bytes += end - first if kind == "string" else 0
    if data_type not in _DATA_TYPES:
        raise GraphRejected(f"tensor {name!r} is of type {data_type}, which ONNX doesn't define; a newer edgecnn may know it")
    dtype, bits, _ = _DATA_TYPES[data_type]
    shape = _sizes(name, dims)
    nbytes = text_bytes if dtype == "string" else (math.prod(shape) * bits + 7) // 8
    numbers = None
    if not external:
        _check_data(name, data_type, shape, raw=None if raw is None else raw[1] - raw[0], typed=typed)
        if dtype in _NUMBER_FORMATS and math.prod(shape) <= MAX_NUMBERS:
            numbers = _raw_numbers(wire, raw, dtype) if raw is not None else _typed_numbers(wire, parts, dtype)
    return Initializer(name=name, dtype=dtype, shape=shape, nbytes=nbytes, external=external, numbers=numbers, span=span)


def _raw_numbers(wire: Wire, span: Span, dtype: str) -> tuple[int | float, ...]:
    form = _NUMBER_FORMATS[dtype]
    return struct.unpack_from(f"<{(span[1] - span[0]) // struct.calcsize(form)}{form}", wire.data, span[0])


def _typed_numbers(wire: Wire, parts: list[tuple[str, int, int]], dtype: str) -> tuple[int | float, ...]:
    """From the fields that hold them, in order; checked before to be as many as the shape wants, and of the right kind."""
    found: list[int | float] = []
    for field, first, end in parts:
        if dtype == "float32":
            found.extend(wire.floats(first, end or first + 4))
        elif field.startswith("one_"):
            found.append(signed(first))
        else:
            found.extend(map(signed, wire.varints(first, end)))
    if dtype == "bool":
        return tuple(map(bool, found))
    # protobuf keeps the lowest 32 bits of a longer number
    return tuple((int(item) + (1 << 31)) % (1 << 32) - (1 << 31) for item in found) if dtype == "int32" else tuple(found)


def _typed_data(wire: Wire, field: str, first: int, end: int) -> tuple[str, int]:
    """(which kind of data field, how many elements stand in it)."""
    if field.startswith("one_"):
        return field[len("one_") :], 1
    kind = field[: -len("_data")]
    if kind == "string":
        return kind, 1
    if kind not in ("float", "double"):
        return kind, wire.count_varints(first, end)
    count, rest = divmod(end - first, 4 if kind == "float" else 8)
    if rest:
        raise GraphRejected(f"the numbers at byte {first} are cut short")
    return kind, count


def _check_data(name: str, data_type: int, shape: tuple[int, ...], *, raw: int | None, typed: dict[str, int]) -> None:
    dtype, bits, field = _DATA_TYPES[data_type]
    elements = math.prod(shape)
    if raw is not None:
        found, wanted, unit = raw, (elements * bits + 7) // 8, "bytes"
        mixed = bool(typed) or dtype == "string"
    else:
        packed = elements * bits // 8 if elements * bits % 8 == 0 else elements * bits // 8 + 1
        wanted = elements * 2 if dtype.startswith("complex") else packed if bits in (2, 4) else elements
        found, unit = typed.get(field, 0), "values"
        mixed = any(count for kind, count in typed.items() if kind != field)
    if mixed:
        raise GraphRejected(f"tensor {name!r} of {dtype} holds data of more than one kind")
    if found != wanted:
        raise GraphRejected(f"tensor {name!r} holds {found} {unit}, its {dtype} of shape {list(shape)} wants {wanted}")


def _sizes(name: str, dims: list[int]) -> tuple[int, ...]:
    if len(dims) > MAX_RANK:
        raise GraphRejected(f"tensor {name!r} has {len(dims)} axes, at most {MAX_RANK} are read")
    if any(dim >> 63 for dim in dims):
        raise GraphRejected(f"tensor {name!r} has a negative size")
    if any(dim > MAX_SIZE for dim in dims):
        raise GraphRejected(f"tensor {name!r} has an axis of {max(dims)}, at most {MAX_SIZE} are read")
    return tuple(dims)


def read_sparse_tensor(wire: Wire, span: Span) -> Initializer:
    """A sparse tensor: its dense shape, and the bytes of its values and indices."""
    parts: dict[str, Initializer] = {}
    dims: list[int] = []
    for field, first, end in wire.fields(span, _SPARSE):
        if field == "dims":
            dims.extend(wire.varints(first, end))
        elif field == "one_dim":
            dims.append(first)
        elif field in parts:
            raise GraphRejected(f"it holds a sparse tensor with two lots of {field}")
        else:
            parts[field] = read_tensor(wire, (first, end))
    if "values" not in parts:
        raise GraphRejected("it holds a sparse tensor without values")
    return Initializer(
        name=parts["values"].name,
        dtype=parts["values"].dtype,
        shape=_sizes(parts["values"].name, dims),
        nbytes=sum(part.nbytes for part in parts.values()),
        external=any(part.external for part in parts.values()),
        sparse=True,
    )


def read_value(wire: Wire, span: Span) -> Value:
    name, dtype = "", "undefined"
    shape: Shape | None = None
    for field, first, end in wire.fields(span, _VALUE):
        if field == "name":
            name = wire.name(first, end)
        else:
            for kind, start, stop in wire.fields((first, end), _TYPE):
                if dtype != "undefined" or shape is not None:  # parsers of protobuf would merge them
                    raise GraphRejected(f"value {name!r} states two types")
                dtype, shape = _tensor_type(wire, (start, stop)) if kind == "tensor" else (kind, None)
    return Value(name=name, dtype=dtype, shape=shape)


def _tensor_type(wire: Wire, span: Span) -> tuple[str, Shape | None]:
    dtype = "undefined"
    shape: Shape | None = None
    for field, first, end in wire.fields(span, _TENSOR_TYPE):
        if field == "elem_type":
            dtype = _DATA_TYPES[first][0] if first in _DATA_TYPES else "undefined"
        else:
            if shape is not None:
                raise GraphRejected("a value states two shapes")
            shape = tuple(_dimension(wire, (start, stop)) for _, start, stop in wire.fields((first, end), _SHAPE))
            if len(shape) > MAX_RANK:
                raise GraphRejected(f"a value has {len(shape)} axes, at most {MAX_RANK} are read")
    return dtype, shape


def _dimension(wire: Wire, span: Span) -> int | str | None:
    found: int | str | None = None
    for field, first, end in wire.fields(span, _DIMENSION):
        if field == "dim_param":
            found = wire.name(first, end) or None
        elif first >> 63:
            found = None
        else:
            found = first
    return found

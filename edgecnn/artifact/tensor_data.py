"""The elements of a constant tensor, read from the graph's bytes when somebody wants them: reading the graph itself copies none."""

from __future__ import annotations

from edgecnn.artifact.protobuf import Wire
from edgecnn.artifact.tensor_proto import BITS, TENSOR, Initializer

_FLOATS = ("float_data", "double_data")
_FLOAT_BYTES = {"one_float": 4, "one_double": 8}


def element_bytes(model: bytes | memoryview, tensor: Initializer) -> bytes | memoryview | None:
    """The elements of `tensor`, one of `read_graph(model)`, as raw_data has them: little-endian, in C order, elements of less than a byte packed.

    They are not copied where they lie so in the file. None for texts, sparse tensors and data in another file, none of which can be told by this.
    """
    if tensor.span is None or tensor.external or tensor.sparse or tensor.dtype == "string":
        return None
    wire = Wire(model)
    wire.fields_left += tensor.elements  # each was counted before, and is one that the shape wants
    width = max(1, BITS[tensor.dtype] // 8)
    parts: list[bytes | memoryview] = []
    raw: memoryview | None = None
    for field, first, end in wire.fields(tensor.span, TENSOR):
        if field == "raw_data":
            raw = memoryview(model)[first:end]
        if field in _FLOATS or field in _FLOAT_BYTES:
            parts.append(memoryview(model)[first : end or first + _FLOAT_BYTES[field]])
        elif field in ("int32_data", "int64_data", "uint64_data"):
            parts.append(b"".join(_lowest(value, width) for value in wire.varints(first, end)))
        elif field in ("one_int32", "one_int64", "one_uint64"):
            parts.append(_lowest(first, width))
    if raw is not None:
        return raw
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _lowest(value: int, width: int) -> bytes:
    """The lowest bytes of a number, which is how protobuf's users store what is narrower than a varint."""
    return (value & (1 << 8 * width) - 1).to_bytes(width, "little")

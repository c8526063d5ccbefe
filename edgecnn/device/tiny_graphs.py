"""Tiny ONNX graphs, written byte by byte, so that a device's runtime can be asked what it does where onnx isn't installed.

The wire format: https://protobuf.dev/programming-guides/encoding/ ; the fields' numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto .
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6  # TensorProto.DataType

CHANNELS, SIDE = 2, 2
WANTED = 255 * 127 * CHANNELS * SIDE * SIDE
"""What `all_products_largest` answers where nothing saturates."""

ROWS, INNER = 512, 512
"""Of `matrix_product`: its operands fit into a second cache, and starting it costs nothing beside its 134 million products."""


def relu(*, opset: int, ir_version: int) -> bytes:
    """One ReLU of "x", float32 (1,), as "y"."""
    return _model(_node("Relu", ["x"], ["y"]), [], (1,), (1,), opset=opset, ir_version=ir_version)


def all_products_largest() -> bytes:
    """One int8 convolution as QuantizeLinear/DequantizeLinear pairs: "x", float32 (1, 2, 2, 2), times weights that are all 127 -> "y", float32
    (1, 1, 1, 1). Where x is 255 everywhere each product is 255 x 127 and y is WANTED, exactly; products that are added in pairs and cut at
    2^15 - 1, as vpmaddubsw does, give half of it.
    """
    nodes = b"".join(
        (
            _node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
            _node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
            _node("DequantizeLinear", ["w", "one", "w_zero"], ["wd"]),
            _node("Conv", ["xd", "wd"], ["c"]),
            _node("QuantizeLinear", ["c", "step", "zero"], ["cq"]),
            _node("DequantizeLinear", ["cq", "step", "zero"], ["y"]),
        )
    )
    count = CHANNELS * SIDE * SIDE
    constants = [
        _tensor("one", FLOAT, (), struct.pack("<f", 1.0)),
        _tensor("step", FLOAT, (), struct.pack("<f", WANTED / 255)),  # a whole number, so that no rounding is in the way
        _tensor("zero", UINT8, (), b"\0"),
        _tensor("w_zero", INT8, (), b"\0"),
        _tensor("w", INT8, (1, CHANNELS, SIDE, SIDE), b"\x7f" * count),
    ]
    return _model(nodes, constants, (1, CHANNELS, SIDE, SIDE), (1, 1, 1, 1), opset=13, ir_version=7)


def matrix_product(kind: str) -> bytes:
    """ "x", (ROWS, INNER), times a constant (INNER, INNER) -> "y", (ROWS, INNER): float32 all, or for "int8" uint8 times int8 -> int32."""
    values = [index * 37 % 101 - 50 for index in range(INNER * INNER)]
    if kind == "float32":
        weights = _tensor("w", FLOAT, (INNER, INNER), struct.pack(f"<{len(values)}f", *values))
        return _model(_node("MatMul", ["x", "w"], ["y"]), [weights], (ROWS, INNER), (ROWS, INNER), opset=13, ir_version=7)
    weights = _tensor("w", INT8, (INNER, INNER), struct.pack(f"<{len(values)}b", *values))
    node = _node("MatMulInteger", ["x", "w"], ["y"])
    return _model(node, [weights], (ROWS, INNER), (ROWS, INNER), opset=13, ir_version=7, kinds=(UINT8, INT32))


def _model(
    nodes: bytes,
    constants: Sequence[bytes],
    source: Sequence[int],
    result: Sequence[int],
    *,
    opset: int,
    ir_version: int,
    kinds: tuple[int, int] = (FLOAT, FLOAT),
) -> bytes:
    graph = nodes + _bytes(2, b"tiny") + b"".join(_bytes(5, tensor) for tensor in constants)
    graph += _bytes(11, _value("x", source, kinds[0])) + _bytes(12, _value("y", result, kinds[1]))
    return _number(1, ir_version) + _bytes(7, graph) + _bytes(8, _number(2, opset))


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    names = [_bytes(1, name.encode()) for name in inputs] + [_bytes(2, name.encode()) for name in outputs]
    return _bytes(1, b"".join(names) + _bytes(4, operator.encode()))


def _tensor(name: str, kind: int, shape: Sequence[int], data: bytes) -> bytes:
    return b"".join(_number(1, size) for size in shape) + _number(2, kind) + _bytes(8, name.encode()) + _bytes(9, data)


def _value(name: str, shape: Sequence[int], kind: int) -> bytes:
    """A tensor's name, type and shape."""
    axes = b"".join(_bytes(1, _number(1, size)) for size in shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, axes)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))

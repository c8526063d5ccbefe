"""Seeded mutants of an ONNX graph: its protobuf is taken apart, something in it is changed, and it is put together again with right lengths.

Written against onnx.proto and the wire format alone: nothing here is shared with the reader that the mutants are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# message -> {field number: message}; all else is a number or bytes
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph"},
    "Value": {2: "Type"},
    "Type": {1: "TensorType"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Dimension"},
}

NUMBERS = (0, 1, 2, 3, 5, 16, 127, 255, 4096, 1 << 15, 1 << 16, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62)
NUMBERS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - (1 << 31))
_OPERATORS = """
    Conv ConvTranspose MaxPool AveragePool GlobalAveragePool Gemm MatMul Relu Add Mul Concat Flatten Reshape Transpose Pad Resize Expand
    Tile ConstantOfShape Range Split Slice Squeeze Unsqueeze Gather GatherND ScatterND OneHot TopK Einsum If LSTM GRU Attention Cast
    QuantizeLinear DequantizeLinear QLinearConv DeformConv MaxUnpool MaxRoiPool RoiAlign GridSample Col2Im DepthToSpace SpaceToDepth DFT
    STFT Upsample EyeLike CumSum Trilu BatchNormalization InstanceNormalization LRN Softmax Identity Clip Where Loop Scan EPContext
"""


@dataclass(slots=True)
class Field:
    """value: a number, bytes, or the fields of the message `message`."""

    number: int
    wire: int
    value: int | bytes | list[Field]
    message: str = ""


Message = list[Field]


def parse(data: bytes, message: str = "Model") -> Message:
    fields, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _read_varint(data, at)
            fields.append(Field(number, wire, value))
            continue
        if wire == BYTES:
            size, at = _read_varint(data, at)
        else:
            size = 4 if wire == FIXED32 else 8
        raw, at = data[at : at + size], at + size
        inner = _SCHEMA.get(message, {}).get(number, "")
        fields.append(Field(number, wire, parse(raw, inner) if inner else raw, inner))
    return fields


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7


def serialize(fields: Message) -> bytes:
    out = bytearray()
    for field in fields:
        out += varint(field.number << 3 | field.wire)
        if isinstance(field.value, int):
            out += varint(field.value)
        else:
            raw = serialize(field.value) if isinstance(field.value, list) else field.value
            out += (varint(len(raw)) if field.wire == BYTES else b"") + raw
    return bytes(out)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _walk(fields: Message) -> Iterator[tuple[Message, int]]:
    """Every field at every depth, as the message that it stands in and its place there."""
    for place, field in enumerate(fields):
        yield fields, place
        if isinstance(field.value, list):
            yield from _walk(field.value)


def messages(model: Message, message: str) -> list[Message]:
    """All messages of a kind."""
    return [field.value for field in (m[i] for m, i in _walk(model)) if field.message == message and isinstance(field.value, list)]


def _graph(model: Message) -> Message:
    (graph,) = (field.value for field in model if field.number == 7)
    assert isinstance(graph, list)
    return graph


def _nodes(model: Message) -> list[Field]:
    return [field for field in _graph(model) if field.message == "Node"]


def _names(node: Field, number: int) -> list[Field]:
    assert isinstance(node.value, list)
    return [field for field in node.value if field.number == number]


def _set(fields: Message, number: int, wire: int, value: int | bytes) -> None:
    fields[:] = [field for field in fields if field.number != number]
    fields.append(Field(number, wire, value))


# Changes of the wire format


def _delete_field(draw: Random, model: Message) -> None:
    message, place = draw.choice(list(_walk(model)))
    del message[place]


def _duplicate_field(draw: Random, model: Message) -> None:
    message, place = draw.choice(list(_walk(model)))
    small = len(serialize([message[place]])) < 1000  # a file that is large itself shows nothing about the reader's memory
    message[place:place] = [message[place]] * draw.choice((1, 2, 1000 if small else 3))


def _splice_field(draw: Random, model: Message) -> None:
    """A field of one message put into another."""
    every = list(_walk(model))
    (source, place), (target, at) = draw.choice(every), draw.choice(every)
    moved = source[place]
    copy = Field(
        draw.choice((moved.number, draw.randrange(1, 30))), moved.wire, serialize(moved.value) if isinstance(moved.value, list) else moved.value
    )
    target.insert(at, copy)


def _other_wire_type(draw: Random, model: Message) -> None:
    message, place = draw.choice(list(_walk(model)))
    field = message[place]
    if isinstance(field.value, int):
        message[place] = Field(field.number, BYTES, varint(field.value))
    else:
        message[place] = Field(field.number, VARINT, draw.choice(NUMBERS))


def _huge_number(draw: Random, model: Message) -> None:
    message, place = draw.choice([(m, i) for m, i in _walk(model) if m[i].wire == VARINT])
    message[place].value = draw.choice((*NUMBERS, 1 << 64, (1 << 70) - 1))


def _forbidden_field(draw: Random, model: Message) -> None:
    message, place = draw.choice(list(_walk(model)))
    message.insert(place, Field(draw.choice((0, 1 << 28, (1 << 29) - 1)), draw.choice((0, 2, 3, 4)), 1))


def _deep_nesting(draw: Random, model: Message) -> None:
    """A graph in an attribute of a node in a graph, many times over."""
    inner: Message = []
    for _ in range(draw.choice((3, 15, 17, 200, 2000))):
        attribute = [Field(1, BYTES, b"then_branch"), Field(20, VARINT, 5), Field(6, BYTES, serialize(inner), "")]
        inner = [Field(1, BYTES, serialize([Field(4, BYTES, b"If"), Field(5, BYTES, serialize(attribute))]))]
    nodes = _nodes(model)
    target = draw.choice(nodes).value if nodes else _graph(model)
    assert isinstance(target, list)
    target.append(Field(5, BYTES, serialize([Field(1, BYTES, b"g"), Field(20, VARINT, 5), Field(6, BYTES, serialize(inner))])))


# Changes of the graph


def _change_dims(draw: Random, model: Message) -> None:
    tensors, dimensions = messages(model, "Tensor"), messages(model, "Dimension")
    if tensors and (not dimensions or draw.random() < 0.5):
        dims = [field for field in draw.choice(tensors) if field.number == 1]
        for field in draw.sample(dims, min(len(dims), draw.randrange(1, 3))):
            field.value = draw.choice(NUMBERS) if field.wire == VARINT else varint(draw.choice(NUMBERS))
    elif dimensions:
        dimension = draw.choice(dimensions)
        if draw.random() < 0.2:
            dimension[:] = [Field(2, BYTES, draw.choice((b"n", b"", b"batch")))]
        else:
            _set(dimension, 1, VARINT, draw.choice(NUMBERS))


def _change_attribute(draw: Random, model: Message) -> None:
    """Another number in an attribute: pads, strides, dilations, group, axis, ..."""
    attributes = [found for found in messages(model, "Attribute") if any(field.number in (2, 3, 8) for field in found)]
    if not attributes:
        return
    found = draw.choice(attributes)
    for field in found:
        if field.number in (3, 8) and draw.random() < 0.7:
            if field.wire == VARINT:
                field.value = draw.choice(NUMBERS)
            else:
                field.value = b"".join(varint(draw.choice(NUMBERS)) for _ in range(draw.randrange(1, 9)))
        elif field.number == 2:
            field.value = draw.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\0", b"\xff\xff\x7f\x7f"))


def _add_attribute(draw: Random, model: Message) -> None:
    nodes = _nodes(model)
    names = (
        b"pads",
        b"strides",
        b"dilations",
        b"group",
        b"axis",
        b"kernel_shape",
        b"output_padding",
        b"output_shape",
        b"ceil_mode",
        b"block_size",
        b"to",
    )
    values = [Field(8, VARINT, draw.choice(NUMBERS)) for _ in range(draw.randrange(1, 9))]
    one = draw.random() < 0.4
    body = [Field(3, VARINT, draw.choice(NUMBERS)), Field(20, VARINT, 2)] if one else [*values, Field(20, VARINT, 7)]
    if nodes:
        target = draw.choice(nodes).value
        assert isinstance(target, list)
        target.append(Field(5, BYTES, [Field(1, BYTES, draw.choice(names)), *body], "Attribute"))


def _delete_node(draw: Random, model: Message) -> None:
    nodes = _nodes(model)
    if nodes:
        _graph(model).remove(draw.choice(nodes))


def _duplicate_node(draw: Random, model: Message) -> None:
    """As it stands (two makers of one tensor), or as a chain of many."""
    nodes = _nodes(model)
    if not nodes:
        return
    node = draw.choice(nodes)
    inputs, outputs = _names(node, 1), _names(node, 2)
    copies = []
    name = inputs[0].value if inputs else b""
    for number in range(draw.choice((1, 2, 500))):
        fresh = f"copy{number}".encode()
        others = [field for field in node.value if field not in (*inputs[:1], *outputs[:1])]  # type: ignore[union-attr]
        copies.append(Field(1, BYTES, [Field(1, BYTES, name), Field(2, BYTES, fresh if draw.random() < 0.9 else outputs[0].value), *others], "Node"))
        name = fresh
    graph = _graph(model)
    at = graph.index(node)
    graph[at:at] = copies
    if inputs:
        inputs[0].value = name


def _swap_inputs(draw: Random, model: Message) -> None:
    names = [field for node in _nodes(model) for field in _names(node, 1)]
    if len(names) > 1:
        one, other = draw.sample(names, 2)
        one.value, other.value = other.value, one.value


def _cycle(draw: Random, model: Message) -> None:
    """A node reads what it, or a later one, makes."""
    nodes = [node for node in _nodes(model) if _names(node, 1) and _names(node, 2)]
    if nodes:
        early, late = sorted(draw.choices(range(len(nodes)), k=2))
        draw.choice(_names(nodes[early], 1)).value = draw.choice(_names(nodes[late], 2)).value


def _drop_or_add_inputs(draw: Random, model: Message) -> None:
    nodes = _nodes(model)
    if not nodes:
        return
    node = draw.choice(nodes).value
    assert isinstance(node, list)
    if draw.random() < 0.5:
        node[:] = [field for field in node if field.number != 1 or draw.random() < 0.5]
    else:
        node[0:0] = [Field(1, BYTES, draw.choice((b"", b"input", b"nowhere")))] * draw.choice((1, 3, 300))


def _other_operator(draw: Random, model: Message) -> None:
    nodes = _nodes(model)
    if nodes:
        node = draw.choice(nodes).value
        assert isinstance(node, list)
        _set(node, 4, BYTES, draw.choice(_OPERATORS.split()).encode())


def _other_dtype(draw: Random, model: Message) -> None:
    places = [(tensor, 2) for tensor in messages(model, "Tensor")] + [(kind, 1) for kind in messages(model, "TensorType")]
    if places:
        message, number = draw.choice(places)
        _set(message, number, VARINT, draw.choice((*range(30), *NUMBERS)))


def _other_data(draw: Random, model: Message) -> None:
    """A constant's numbers become others: shapes, pads and scales are such constants, too."""
    tensors = [tensor for tensor in messages(model, "Tensor") if any(field.number == 9 for field in tensor)]
    small = [tensor for tensor in tensors if len(serialize(tensor)) < 200]
    if tensors:
        for field in draw.choice(small or tensors):
            if field.number == 9 and isinstance(field.value, bytes):
                field.value = draw.choice(
                    (draw.randbytes(len(field.value)), b"\xff" * len(field.value), bytes(len(field.value)), b"\x7f" * len(field.value))
                )


def _big_constant(draw: Random, model: Message) -> None:
    """A node that makes a tensor of whatever size a constant says, somewhere in the graph's way."""
    nodes = _nodes(model)
    sizes = b"".join(draw.choice((1, 4, 1 << 10, 1 << 20, 1 << 33, 1 << 62)).to_bytes(8, "little") for _ in range(4))
    shape = [Field(1, VARINT, 4), Field(2, VARINT, 7), Field(8, BYTES, b"big.shape"), Field(9, BYTES, sizes)]
    graph = _graph(model)
    graph.append(Field(5, BYTES, shape, "Tensor"))
    operator = draw.choice(("ConstantOfShape", "Expand", "Tile", "Resize", "Reshape", "Pad"))
    inputs = [b"big.shape"] if operator == "ConstantOfShape" else [b"input", b"big.shape"]
    body = [*(Field(1, BYTES, name) for name in inputs), Field(2, BYTES, b"big"), Field(4, BYTES, operator.encode())]
    graph.insert(0, Field(1, BYTES, body, "Node"))
    if nodes and _names(nodes[0], 1):
        draw.choice(_names(nodes[0], 1)).value = b"big"


CHANGES: dict[str, Callable[[Random, Message], None]] = {
    "delete field": _delete_field,
    "duplicate field": _duplicate_field,
    "splice field": _splice_field,
    "other wire type": _other_wire_type,
    "huge number": _huge_number,
    "forbidden field": _forbidden_field,
    "deep nesting": _deep_nesting,
    "dims": _change_dims,
    "attribute": _change_attribute,
    "new attribute": _add_attribute,
    "delete node": _delete_node,
    "duplicate node": _duplicate_node,
    "swap inputs": _swap_inputs,
    "cycle": _cycle,
    "inputs": _drop_or_add_inputs,
    "operator": _other_operator,
    "dtype": _other_dtype,
    "data": _other_data,
    "big constant": _big_constant,
}


def _flip(draw: Random, data: bytes) -> bytes:
    """A few bytes changed, half the time only in what is no weight."""
    changed = bytearray(data)
    ends = min(len(data), 4000)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        at = draw.randrange(len(data)) if draw.random() < 0.5 else draw.choice((draw.randrange(ends), -1 - draw.randrange(ends)))
        changed[at] = draw.randrange(256)
    return bytes(changed)


def _truncate(draw: Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data))]


def _insert(draw: Random, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.choice((b"\xff" * draw.randrange(1, 12), draw.randbytes(draw.randrange(1, 40)), data[: draw.randrange(200)])) + data[at:]


RAW: dict[str, Callable[[Random, bytes], bytes]] = {"flip": _flip, "truncate": _truncate, "insert": _insert}


def mutant(model: bytes, draw: Random) -> tuple[str, bytes]:
    """(what was done, the mutant): one to three changes, of which bytes may be the last."""
    done = []
    fields = parse(model)
    raw = draw.random() < 0.2
    for _ in range(0 if raw and draw.random() < 0.7 else draw.choice((1, 1, 1, 2, 3))):
        name = draw.choice(list(CHANGES))
        CHANGES[name](draw, fields)
        done.append(name)
        if not any(field.number == 7 and isinstance(field.value, list) for field in fields) or sum(field.number == 7 for field in fields) > 1:
            break  # no graph, or two, is left to change
    data = serialize(fields)
    if raw and data:
        name = draw.choice(list(RAW))
        data = RAW[name](draw, data)
        done.append(name)
    return " + ".join(done), data

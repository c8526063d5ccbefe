"""ONNX's ModelProto, read from its wire format into records, with bounds and without onnx.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto . Subgraphs, functions and training graphs are walked too, because
an operator or a reference to another file may hide in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecnn.artifact.protobuf import BYTES, FIXED32, VARINT, Span, Wire, signed, tags
from edgecnn.artifact.tensor_proto import Initializer, Value, read_sparse_tensor, read_tensor, read_value
from edgecnn.errors import GraphRejected

MAX_DEPTH = 16
MAX_ATTRIBUTE_TEXT = 4096

_MODEL = {
    **tags(BYTES, producer_name=2, producer_version=3, graph=7, opset_import=8, metadata=14, training_info=20, functions=25),
    **tags(VARINT, ir_version=1),
}
_OPSET = {**tags(BYTES, domain=1), **tags(VARINT, version=2)}
_ENTRY = tags(BYTES, key=1, value=2)
_GRAPH = tags(BYTES, node=1, initializer=5, input=11, output=12, value_info=13, sparse_initializer=15)
_NODE = tags(BYTES, input=1, output=2, name=3, op_type=4, attribute=5, domain=7)
_FUNCTION = tags(BYTES, node=7, attribute=11)
_TRAINING = tags(BYTES, initialization=1, algorithm=2)
_ATTRIBUTE = {
    **tags(BYTES, name=1, s=4, t=5, g=6, floats=7, ints=8, strings=9, tensors=10, graphs=11, sparse_tensor=22, sparse_tensors=23),
    **tags(VARINT, i=3, one_int=8, type=20),
    **tags(FIXED32, f=2, one_float=7),
}
# AttributeProto.AttributeType -> the field that holds the value
_ATTRIBUTE_TYPES = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors", 10: "graphs"}

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Initializer

_EMPTY: dict[str, Attribute] = {"f": 0.0, "i": 0, "floats": (), "ints": (), "strings": ()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operator. domain is "" for ONNX's own operators, which "ai.onnx" means too.

    attributes: a tensor as an Initializer (what it is, not its data), graphs and lists of tensors as the texts "graph" and "tensors";
    texts are cut at MAX_ATTRIBUTE_TEXT bytes.
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """An ONNX model: its main graph, and what lies at every depth in sum.

    opsets: version by domain, ONNX's own as ""; metadata: metadata_props, whose texts may hold any character;
    inputs: what a caller must feed (initializers that are listed as inputs too are left out); values: all whose type is stated;
    operators: (domain, operator) of every node at every depth; external: names of tensors whose data lies in another file, at every depth;
    functions: how many are defined; training: whether it holds training graphs.
    """

    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    metadata: Mapping[str, str]
    nodes: tuple[Node, ...]
    initializers: tuple[Initializer, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    values: Mapping[str, Value]
    operators: frozenset[tuple[str, str]]
    external: tuple[str, ...]
    functions: int
    has_subgraphs: bool
    training: bool


_Parts = tuple[list[Node], list[Initializer], dict[str, list[Value]]]


def read_graph(data: bytes | memoryview) -> Graph:
    """The graph in the bytes of an .onnx file. Time and memory are bounded, whatever the bytes are.

    Raises GraphRejected for what is cut short, nested too deeply, too large in number of fields, or no ONNX model.
    """
    if bytes(data[4:8]) == b"ORTM":
        raise GraphRejected("This is onnxruntime's own .ort format, which is tied to one machine; give the .onnx that it was made from.")
    try:
        return _Reader(Wire(data)).model()
    except GraphRejected as error:
        raise GraphRejected(f"The ONNX graph can't be read: {error}.") from None


def _own_domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


class _Reader:
    """Reads one model, and gathers what every depth holds."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.operators: set[tuple[str, str]] = set()
        self.external: list[str] = []
        self.functions = 0
        self.has_subgraphs = False
        self.training = False

    def model(self) -> Graph:
        wire = self.wire
        ir_version = 0
        producer = {"producer_name": "", "producer_version": ""}
        opsets: dict[str, int] = {}
        metadata: dict[str, str] = {}
        graph: _Parts | None = None
        for field, first, end in wire.fields(wire.whole, _MODEL):
            if field == "ir_version":
                ir_version = first
            elif field == "graph":
                if graph is not None:
                    raise GraphRejected("it holds two graphs")
                graph = self.graph((first, end), depth=0)
            elif field == "opset_import":
                domain, version = self.opset((first, end))
                if domain in opsets:
                    raise GraphRejected(f"it states the opset of domain {domain!r} twice")
                opsets[domain] = version
            elif field == "metadata":
                entry = {name: wire.text(start, stop) for name, start, stop in wire.fields((first, end), _ENTRY)}
                metadata[entry.get("key", "")] = entry.get("value", "")
            elif field == "functions":
                self.functions += 1
                self.function((first, end))
            elif field == "training_info":
                self.training = True
                for _, start, stop in wire.fields((first, end), _TRAINING):
                    self.graph((start, stop), depth=1)
            else:
                producer[field] = wire.name(first, end)
        if graph is None or not ir_version or not opsets:
            raise GraphRejected("it has no ir_version, no opset or no graph, so it is no ONNX model")
        nodes, initializers, values = graph
        constants = {initializer.name for initializer in initializers}
        stated = (*values["value_info"], *values["input"], *values["output"])
        return Graph(
            ir_version=ir_version,
            opsets=opsets,
            producer=" ".join(filter(None, producer.values())),
            metadata=metadata,
            nodes=tuple(nodes),
            initializers=tuple(initializers),
            inputs=tuple(value for value in values["input"] if value.name not in constants),
            outputs=tuple(values["output"]),
            values={value.name: value for value in stated},
            operators=frozenset(self.operators),
            external=tuple(self.external),
            functions=self.functions,
            has_subgraphs=self.has_subgraphs,
            training=self.training,
        )

    def opset(self, span: Span) -> tuple[str, int]:
        domain, version = "", 0
        for field, first, end in self.wire.fields(span, _OPSET):
            if field == "version":
                version = first
            else:
                domain = self.wire.name(first, end)
        return _own_domain(domain), version

    def graph(self, span: Span, *, depth: int) -> _Parts:
        """Its nodes, its initializers, and its values by where they are listed."""
        if depth > MAX_DEPTH:
            raise GraphRejected(f"its subgraphs are nested more than {MAX_DEPTH} deep")
        nodes: list[Node] = []
        initializers: list[Initializer] = []
        values: dict[str, list[Value]] = {"input": [], "output": [], "value_info": []}
        for field, first, end in self.wire.fields(span, _GRAPH):
            if field == "node":
                nodes.append(self.node((first, end), depth))
            elif field.endswith("initializer"):
                initializers.append(self.tensor((first, end), sparse=field == "sparse_initializer"))
            else:
                values[field].append(read_value(self.wire, (first, end)))
        return nodes, initializers, values

    def tensor(self, span: Span, *, sparse: bool) -> Initializer:
        tensor = read_sparse_tensor(self.wire, span) if sparse else read_tensor(self.wire, span)
        if tensor.external:
            self.external.append(tensor.name)
        return tensor

    def function(self, span: Span) -> None:
        for field, first, end in self.wire.fields(span, _FUNCTION):
            if field == "node":
                self.node((first, end), 1)
            else:
                self.attribute((first, end), 1)

    def node(self, span: Span, depth: int) -> Node:
        wire = self.wire
        texts = {"name": "", "op_type": "", "domain": ""}
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Attribute] = {}
        for field, first, end in wire.fields(span, _NODE):
            if field == "input":
                inputs.append(wire.name(first, end))
            elif field == "output":
                outputs.append(wire.name(first, end))
            elif field == "attribute":
                name, value = self.attribute((first, end), depth)
                if name in attributes:
                    raise GraphRejected(f"a node states its attribute {name!r} twice")
                attributes[name] = value
            else:
                texts[field] = wire.name(first, end)
        operator, domain = texts["op_type"], _own_domain(texts["domain"])
        self.operators.add((domain, operator))
        return Node(name=texts["name"], operator=operator, domain=domain, inputs=tuple(inputs), outputs=tuple(outputs), attributes=attributes)

    def attribute(self, span: Span, depth: int) -> tuple[str, Attribute]:
        """(name, value). Every tensor and graph in it is walked, whichever of them its type says is the value."""
        wire = self.wire
        name, kind = "", 0
        found: dict[str, Attribute] = {}
        ints: list[int] = []
        floats: list[float] = []
        strings: list[str] = []
        for field, first, end in wire.fields(span, _ATTRIBUTE):
            if field == "name":
                name = wire.name(first, end)
            elif field == "type":
                kind = first
            elif field == "i":
                found["i"] = signed(first)
            elif field == "f":
                found["f"] = wire.floats(first, first + 4)[0]
            elif field == "s":
                found["s"] = self.attribute_text(first, end)
            elif field == "ints":
                ints.extend(signed(value) for value in wire.varints(first, end))
            elif field == "one_int":
                ints.append(signed(first))
            elif field in ("floats", "one_float"):
                floats.extend(wire.floats(first, end or first + 4))
            elif field == "strings":
                strings.append(self.attribute_text(first, end))
            else:
                if field in found and not field.endswith("s"):  # which parsers of protobuf would merge
                    raise GraphRejected(f"attribute {name!r} holds two values")
                found[field] = self.nested(field, (first, end), depth)
        lists: tuple[tuple[str, Attribute], ...] = (("ints", tuple(ints)), ("floats", tuple(floats)), ("strings", tuple(strings)))
        found.update({field: values for field, values in lists if values != ()})
        field = _ATTRIBUTE_TYPES.get(kind) or next(iter(found), "s")
        return name, found.get(field, _EMPTY.get(field, ""))

    def nested(self, field: str, span: Span, depth: int) -> Attribute:
        if field in ("g", "graphs"):
            self.has_subgraphs = True
            self.graph(span, depth=depth + 1)
            return "graph"
        tensor = self.tensor(span, sparse=field.startswith("sparse"))
        return "tensors" if field.endswith("tensors") else tensor

    def attribute_text(self, first: int, end: int) -> str:
        return self.wire.raw(first, min(end, first + MAX_ATTRIBUTE_TEXT)).decode(errors="backslashreplace")

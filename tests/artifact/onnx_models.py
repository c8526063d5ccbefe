"""ONNX models of every kind that the reader meets, and what onnx's own parser says of a model."""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.graph import Attribute, Graph, Initializer, Node, Value
from tests.fixtures.graphs import tiny_classifier


def save(graph: onnx.GraphProto, *, opset: int = 18, ir_version: int = 9, **keywords: Any) -> bytes:
    opsets = keywords.pop("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **keywords).SerializeToString()


def floats(name: str, *shape: int | str | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weight(name: str, *shape: int, dtype: str = "float32") -> TensorProto:
    return numpy_helper.from_array((np.arange(np.prod(shape, dtype=int)).reshape(shape) % 7).astype(dtype), name)


def one(node: onnx.NodeProto, *weights: TensorProto, shape: tuple[int | str, ...] = (1, 3, 8, 8), **keywords: Any) -> bytes:
    """A graph of a single node from x to y."""
    return save(
        helper.make_graph([node], "g", [floats("x", *shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], list(weights)),
        **keywords,
    )


def every_attribute() -> bytes:
    node = helper.make_node(
        "Made",
        ["x", "", "w"],
        ["y", "z"],
        name="n",
        domain="test",
        an_int=-3,
        a_float=0.5,
        a_text="same",
        ints=[1, -2, 1 << 40],
        no_ints=[0],
        floats=[0.25, -1.0],
    )
    node.attribute.extend(
        [
            helper.make_attribute("texts", ["a", "b"]),
            helper.make_attribute("tensor", weight("", 2, 3)),
            helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.INTS),
            helper.make_attribute("zero", 0),
            helper.make_attribute("binary", b"\xff\x00"),
        ]
    )
    return one(
        node, weight("w", 2), opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("test", 2)], producer_name="a", producer_version="1"
    )


def branches(depth: int = 1) -> bytes:
    """If inside If, `depth` deep; the innermost reads a constant of its own."""
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "inner", [], [floats("r", 1, 3, 8, 8)], [weight("unused", 4)])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "other", [], [floats("n", 1, 3, 8, 8)])
    for level in range(depth):
        node = helper.make_node("If", ["flag"], [f"o{level}"], then_branch=inner, else_branch=other)
        inner = helper.make_graph([node], f"level{level}", [], [floats(f"o{level}", 1, 3, 8, 8)])
    inner.input.extend([floats("x", 1, 3, 8, 8)])
    inner.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    return save(inner)


def with_function() -> bytes:
    function = helper.make_function("own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)])
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="own")], "g", [floats("x", 1)], [floats("y", 1)])
    return save(graph, functions=[function], opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("own", 1)])


@cache
def exported() -> bytes:
    """What torch's exporter writes, with its metadata, of a net with the usual layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16),
        nn.Hardswish(),
        nn.Conv2d(16, 32, 1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()
    nn.init.normal_(net[1].bias)
    nn.init.normal_(net[9].bias)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 3, 32, 32),)
        program = torch.onnx.export(
            net, example, dynamo=True, external_data=False, input_names=["input"], output_names=["logits"], verbose=False, opset_version=18
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@cache
def quantized() -> bytes:
    """`exported` after onnxruntime's static quantization: QDQ, per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"input": np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    import logging
    import tempfile

    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source, target = Path(folder, "a.onnx"), Path(folder, "b.onnx")
            source.write_bytes(exported())
            quantize_static(source, target, Images(), per_channel=True, weight_type=QuantType.QInt8)
            return target.read_bytes()
    finally:
        logging.disable(logging.NOTSET)


def half() -> bytes:
    """`tiny_classifier` with float16 weights."""
    model = onnx.load_from_string(tiny_classifier())
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return model.SerializeToString()


def by_onnx(data: bytes) -> dict[str, Any]:
    """What onnx's parser says, in the reader's records: the fields of Graph that it has words for."""
    model = onnx.load_from_string(data)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    values = [*graph.value_info, *graph.input, *graph.output]
    return {
        "ir_version": model.ir_version,
        "opsets": {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import},
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "nodes": tuple(map(_node, graph.node)),
        "initializers": tuple(map(_initializer, graph.initializer)),
        "inputs": tuple(_value(value) for value in graph.input if value.name not in constants),
        "outputs": tuple(map(_value, graph.output)),
        "values": {value.name: _value(value) for value in values},
        "functions": len(model.functions),
    }


def by_us(graph: Graph) -> dict[str, Any]:
    names = ("ir_version", "opsets", "metadata", "nodes", "initializers", "inputs", "outputs", "values", "functions")
    return {name: getattr(graph, name) for name in names}


def _node(node: onnx.NodeProto) -> Node:
    return Node(
        name=node.name,
        operator=node.op_type,
        domain="" if node.domain == "ai.onnx" else node.domain,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={attribute.name: _attribute(attribute) for attribute in node.attribute},
    )


def _attribute(attribute: onnx.AttributeProto) -> Attribute:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, TensorProto):
        return _initializer(value)
    if isinstance(value, onnx.GraphProto):
        return "graph"
    if isinstance(value, (int, float)):
        return value
    return tuple(item.decode() if isinstance(item, bytes) else item for item in value)


def _initializer(tensor: TensorProto) -> Initializer:
    array = numpy_helper.to_array(tensor)
    return Initializer(name=tensor.name, dtype=str(array.dtype), shape=tuple(tensor.dims), nbytes=array.nbytes)


def _value(value: onnx.ValueInfoProto) -> Value:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in kind.shape.dim)
    dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return Value(name=value.name, dtype=dtype, shape=shape if kind.HasField("shape") else None)

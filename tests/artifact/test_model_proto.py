"""The reader of graphs agrees with onnx's own on models of every kind, and survives what isn't one."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgecnn.artifact import model_proto
from edgecnn.artifact.graph import Graph, read_graph
from edgecnn.errors import GraphRejected
from tests.artifact import onnx_models
from tests.artifact.onnx_models import by_onnx, by_us, floats, one, save, weight
from tests.fixtures.graphs import color_classifier, tiny_classifier

MODELS = {
    "a tiny classifier": tiny_classifier,
    "an open batch": lambda: color_classifier(batch="batch"),
    "float16 weights": onnx_models.half,
    "every kind of attribute": onnx_models.every_attribute,
    "branches": lambda: onnx_models.branches(3),
    "a function": onnx_models.with_function,
    "torch's exporter": onnx_models.exported,
    "static quantization": onnx_models.quantized,
    "weights listed as inputs": lambda: save(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [floats("x", 2), floats("w", 2)], [floats("y", 2)], [weight("w", 2)])
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_it_reads_what_onnx_reads(make: Callable[[], bytes]) -> None:
    data = make()
    assert by_us(read_graph(data)) == by_onnx(data)
    assert read_graph(memoryview(data)) == read_graph(data)


def test_a_weight_that_is_listed_as_an_input_need_not_be_fed() -> None:
    graph = read_graph(MODELS["weights listed as inputs"]())
    assert [value.name for value in graph.inputs] == ["x"]
    assert set(graph.values) == {"x", "w", "y"}


def test_onnx_own_domain_has_one_name() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")
    graph = read_graph(one(node, opset_imports=[helper.make_opsetid("ai.onnx", 18)]))
    assert graph.nodes[0].domain == ""
    assert graph.opsets == {"": 18}
    with pytest.raises(GraphRejected, match="twice"):
        read_graph(one(node, opset_imports=[helper.make_opsetid("ai.onnx", 18), helper.make_opsetid("", 19)]))


def test_what_lies_in_branches_and_functions_is_counted() -> None:
    assert ("", "Relu") in read_graph(onnx_models.branches(3)).operators
    assert read_graph(onnx_models.branches(3)).has_subgraphs
    graph = read_graph(onnx_models.with_function())
    assert ("", "Add") in graph.operators
    assert graph.functions == 1
    assert not graph.has_subgraphs


def _external(name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.external_data.add(key="location", value="../weights")
    return tensor


def _everywhere() -> dict[str, onnx.ModelProto]:
    def model(node: onnx.NodeProto | None = None, **keywords: object) -> onnx.ModelProto:
        graph = helper.make_graph([node or helper.make_node("Relu", ["x"], ["y"])], "g", [floats("x", 2)], [floats("y", 2)])
        return helper.make_model(graph, **keywords)

    def sparse() -> onnx.SparseTensorProto:
        return onnx.SparseTensorProto(values=_external(), indices=weight("i", 1, dtype="int64"), dims=[4])

    def holds(name: str, value: object) -> onnx.NodeProto:
        return helper.make_node("Constant", [], ["y"], **{name: value})

    inner = helper.make_graph([], "inner", [], [], [_external()])
    function = helper.make_function("own", "F", ["a"], ["b"], [holds("value", _external())], [helper.make_opsetid("", 18)])
    in_default = onnx.FunctionProto(name="G", domain="own", attribute_proto=[helper.make_attribute("a", _external())])
    models = {
        "attribute": model(holds("value", _external())),
        "list of tensors": model(holds("values", [_external()])),
        "sparse attribute": model(holds("sparse_value", sparse())),
        "list of sparse tensors": model(holds("sparse_values", [sparse()])),
        "branch": model(helper.make_node("If", ["x"], ["y"], then_branch=inner)),
        "list of graphs": model(helper.make_node("If", ["x"], ["y"], branches=[inner])),
        "function": model(functions=[function]),
        "default of a function's attribute": model(functions=[in_default]),
        "attribute of another type": model(holds("value", 3)),
        "initializer": model(),
        "sparse initializer": model(),
        "training": model(),
    }
    models["attribute of another type"].graph.node[0].attribute[0].t.CopyFrom(_external())
    models["initializer"].graph.initializer.append(_external())
    models["sparse initializer"].graph.sparse_initializer.append(sparse())
    models["training"].training_info.append(onnx.TrainingInfoProto(algorithm=inner))
    return models


@pytest.mark.parametrize("place", _everywhere())
def test_data_in_another_file_is_found_wherever_it_hides(place: str) -> None:
    assert read_graph(_everywhere()[place].SerializeToString()).external == ("w",)


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    read_graph(onnx_models.branches(model_proto.MAX_DEPTH))
    with pytest.raises(GraphRejected, match="nested more than"):
        read_graph(onnx_models.branches(model_proto.MAX_DEPTH + 1))
    inner = b""
    for _ in range(5000):
        inner = _field(1, _field(5, _field(6, inner)))  # graph.node, node.attribute, attribute.g
    with pytest.raises(GraphRejected, match="nested more than"):
        read_graph(START + _field(7, inner))


def _field(number: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


START = b"\x08\x09\x42\x02\x10\x12"  # ir_version 9, opset 18
MANY = 300_000
BOMBS = {
    "empty nodes": lambda: START + _field(7, b"\x0a\x00" * MANY),
    "empty values": lambda: START + _field(7, b"\x6a\x00" * MANY),
    "tiny tensors": lambda: START + _field(7, _field(5, b"\x10\x01\x08\x00") * MANY),
    "numbers in an attribute": lambda: START + _field(7, _field(1, _field(5, b"\x0a\x01a" + _field(8, b"\x01" * 30_000_000)))),
    "floats in an attribute": lambda: START + _field(7, _field(1, _field(5, b"\x0a\x01a" + _field(7, bytes(120_000_000))))),
    "a huge name": lambda: START + _field(7, _field(1, _field(3, b"a" * 50_000_000))),
    "a huge text": lambda: START + _field(14, _field(1, b"k") + _field(2, "é😀".encode() * 9_000_000)),
    "many domains": lambda: START + b"".join(_field(8, _field(1, b"%d" % i)) for i in range(MANY)),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_in_little_memory(make: Callable[[], bytes]) -> None:
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(GraphRejected):
            read_graph(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


NO_MODELS = {
    "nothing": b"",
    "zeros": bytes(100),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "html": b"<!DOCTYPE html><html></html>",
    "an .ort": b"\x18\x00\x00\x00ORTM" + bytes(60),
    "a model without a graph": b"\x08\x09\x42\x02\x10\x12",
    "a model without an opset": b"\x08\x09\x3a\x00",
    "two graphs": b"\x08\x09\x42\x02\x10\x12\x3a\x00\x3a\x00",
}


@pytest.mark.parametrize("data", NO_MODELS.values(), ids=NO_MODELS.keys())
def test_what_is_no_model_is_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(GraphRejected) as caught:
        read_graph(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_model_cut_anywhere_is_refused_or_whole() -> None:
    data = tiny_classifier()
    whole = read_graph(data)
    for length in range(len(data)):
        try:
            found = read_graph(data[:length])
        except GraphRejected:
            continue
        assert found.nodes == whole.nodes  # cut between the fields that follow the graph
    assert by_us(whole) == by_onnx(data)


def _survives(data: bytes) -> None:
    try:
        graph = read_graph(data)
    except GraphRejected:
        return
    assert isinstance(graph, Graph)


def test_mutated_models_are_read_or_refused() -> None:
    draw = random.Random(7)
    for data in (onnx_models.every_attribute(), onnx_models.branches(2), tiny_classifier()):
        for _ in range(300):
            changed = bytearray(data)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(changed))
                if draw.random() < 0.7:
                    changed[at] = draw.randrange(256)
                else:
                    del changed[at : at + draw.randint(1, 20)]
            _survives(bytes(changed))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _survives(data)
    _survives(START + _field(7, data))

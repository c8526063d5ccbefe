"""Every change of a graph is found, told as what it is, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from edgecnn.report.diff.records import GraphChanges
from tests.fixtures.onnx_nets import Net, residual
from tests.report.diff.graphs import compared, constant, edited, node, put_constant, quantized, renamed, shuffled

# conv relu conv(depthwise) clip conv add relu mean flatten gemm
PLAIN = residual()


def changes(a: bytes, b: bytes) -> GraphChanges:
    found = compared(a, b)
    assert (found.weights.rows, found.scales.rows) == ((), ()), "only the graph was changed"
    assert found.differing == (("graph",) if found.graph else ())
    return found.graph


def told(found: GraphChanges) -> list[tuple[Any, ...]]:
    """All that was found, each in a tuple."""
    return [
        *(("stated", change.what, change.a, change.b) for change in found.stated),
        *(("removed", layer.operator) for layer in found.removed),
        *(("added", layer.operator) for layer in found.added),
        *((layer.operator, change.what, change.a, change.b) for layer in found.changed for change in layer.changes),
    ]


@given(st.integers(0, 10_000), st.booleans())
def test_other_names_and_another_order_are_no_change(seed: int, other_names: bool) -> None:
    found = changes(PLAIN, edited(PLAIN, shuffled(seed), *([renamed] if other_names else [])))
    assert told(found) == []
    assert found.matched == found.layers_a == found.layers_b == 10
    assert found.renamed == (10 if other_names else 0)


def insert(proto: ModelProto, operator: str, behind: str, **attributes: Any) -> None:
    """A node behind all that reads the tensor `behind`."""
    for entry in proto.graph.node:
        entry.input[:] = ["inserted" if name == behind else name for name in entry.input]
    place = next((at for at, entry in enumerate(proto.graph.node) if behind in entry.output), -1)
    proto.graph.node.insert(place + 1, helper.make_node(operator, [behind], ["inserted"], name="inserted", **attributes))


def drop(proto: ModelProto, operator: str, at: int = 0) -> None:
    gone = node(proto, operator, at)
    source, result = gone.input[0], gone.output[0]
    for entry in proto.graph.node:
        entry.input[:] = [source if name == result else name for name in entry.input]
    proto.graph.node.remove(gone)


@given(st.sampled_from(["input", *(f"t{at}" for at in range(9))]), st.sampled_from(["Sigmoid", "Relu", "Identity"]), st.booleans())
def test_an_added_layer_is_the_only_change(behind: str, operator: str, other_names: bool) -> None:
    other = edited(PLAIN, lambda proto: insert(proto, operator, behind), *([renamed] if other_names else []))
    assert told(changes(PLAIN, other)) == [("added", operator)]
    assert told(changes(other, PLAIN)) == [("removed", operator)]


@pytest.mark.parametrize(("operator", "at"), [("Relu", 0), ("Relu", 1), ("Clip", 0)])
def test_a_removed_layer_is_the_only_change(operator: str, at: int) -> None:
    assert told(changes(PLAIN, edited(PLAIN, lambda proto: drop(proto, operator, at), renamed))) == [("removed", operator)]


def test_two_changes_far_apart_are_two_changes() -> None:
    other = edited(PLAIN, lambda proto: insert(proto, "Sigmoid", "t0"), lambda proto: drop(proto, "Relu", 1), renamed)
    assert told(changes(PLAIN, other)) == [("removed", "Relu"), ("added", "Sigmoid")]


def test_a_layer_in_the_place_of_another_is_told_as_one_change() -> None:
    def edit(proto: ModelProto) -> None:
        node(proto, "Relu", 1).op_type = "Tanh"

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("Relu", "operator", "Relu", "Tanh")]


def attribute(proto: ModelProto, operator: str, name: str, value: Any, at: int = 0) -> None:
    found = node(proto, operator, at)
    kept = [entry for entry in found.attribute if entry.name != name]
    del found.attribute[:]
    found.attribute.extend([*kept, *([] if value is None else [helper.make_attribute(name, value)])])


@pytest.mark.parametrize(
    ("operator", "name", "value", "wanted"),
    [
        ("Conv", "strides", [1, 1], None),
        ("Conv", "dilations", [1, 1], None),
        ("Conv", "group", 1, None),
        ("Conv", "auto_pad", "NOTSET", None),
        ("Conv", "kernel_shape", None, None),
        ("ReduceMean", "keepdims", None, None),
        ("Flatten", "axis", 1, None),
        ("Gemm", "alpha", 1.0, None),
        ("Gemm", "alpha", 2.0, ("Gemm", "alpha", None, 2.0)),
        ("Gemm", "beta", 0.5, ("Gemm", "beta", None, 0.5)),
        ("Flatten", "axis", -3, ("Flatten", "axis", None, -3)),
    ],
)
def test_an_attribute_counts_where_it_says_something_new(operator: str, name: str, value: Any, wanted: tuple[Any, ...] | None) -> None:
    other = edited(PLAIN, lambda proto: attribute(proto, operator, name, value))
    assert told(changes(PLAIN, other)) == ([] if wanted is None else [wanted])


def test_an_attribute_of_a_convolution() -> None:
    """Other pads, and a dilation that makes up for them."""
    other = edited(PLAIN, lambda p: attribute(p, "Conv", "pads", [2] * 4), lambda p: attribute(p, "Conv", "dilations", [2, 2]), renamed)
    assert told(changes(PLAIN, other)) == [("Conv", "dilations", None, [2, 2]), ("Conv", "pads", [1] * 4, [2] * 4)]


def test_a_setting_that_is_a_constant_input() -> None:
    def edit(proto: ModelProto) -> None:
        put_constant(proto, node(proto, "Clip").input[2], np.float32(4))

    assert told(changes(PLAIN, edited(PLAIN, edit, renamed))) == [("Clip", "max", 6.0, 4.0)]


def test_a_setting_that_is_left_out() -> None:
    def edit(proto: ModelProto) -> None:
        del node(proto, "Clip").input[2]

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("Clip", "max", 6.0, None)]


def test_a_bias_that_is_left_out() -> None:
    def edit(proto: ModelProto) -> None:
        del node(proto, "Conv", 1).input[2]

    assert [found[:2] for found in told(changes(PLAIN, edited(PLAIN, edit)))] == [("Conv", "bias")]


def test_a_layer_that_reads_another_one() -> None:
    """The shortcut comes from before the ReLU instead of behind it."""

    def edit(proto: ModelProto) -> None:
        add = node(proto, "Add")
        add.input[list(add.input).index("t1")] = "t0"

    for edits in ((edit,), (edit, renamed)):
        (found,) = changes(PLAIN, edited(PLAIN, *edits)).changed
        assert [(found.operator, change.what, change.a) for change in found.changes] == [("Add", "reads", "n1")]


def test_the_order_of_summands_is_no_change() -> None:
    def edit(proto: ModelProto) -> None:
        add = node(proto, "Add")
        add.input[:] = [*add.input][::-1]

    assert told(changes(PLAIN, edited(PLAIN, edit))) == []


def test_layers_that_changed_places_are_found_by_their_weights() -> None:
    make = Net()
    make.linear(make.pooled(make.conv(make.conv("input", (3, 3)), (3, 3))), 3, 5, output="logits")
    plain = make.bytes()

    def edit(proto: ModelProto) -> None:
        first, second = node(proto, "Conv"), node(proto, "Conv", 1)
        weights = first.input[1:], second.input[1:]
        first.input[1:], second.input[1:] = weights[1], weights[0]

    found = compared(plain, edited(plain, edit))
    assert found.weights.rows == ()
    assert {change.what for layer in found.graph.changed for change in layer.changes} == {"reads"}
    assert {layer.operator for layer in found.graph.changed} == {"Conv", "ReduceMean"}


# How a layer is written


def test_a_product_and_a_bias_are_a_gemm_and_it_is_told_that_they_are_written_so() -> None:
    def edit(proto: ModelProto) -> None:
        gemm = node(proto, "Gemm")
        source, weight, bias = gemm.input
        put_constant(proto, weight, constant(proto, weight).T.copy())
        proto.graph.node.remove(gemm)
        proto.graph.node.extend(
            [helper.make_node("MatMul", [source, weight], ["product"], name="mm"), helper.make_node("Add", [bias, "product"], ["logits"], name="add")]
        )

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("Gemm", "written as", "Gemm", "MatMul + Add")]


def test_weights_that_are_stored_the_other_way_round() -> None:
    def edit(proto: ModelProto) -> None:
        gemm = node(proto, "Gemm")
        put_constant(proto, gemm.input[1], constant(proto, gemm.input[1]).T.copy())
        attribute(proto, "Gemm", "transB", 0)

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("Gemm", "written as", "Gemm", "Gemm, transB 0")]


def test_constants_of_nodes_and_shared_by_identity_are_constants() -> None:
    def edit(proto: ModelProto) -> None:
        conv, clip = node(proto, "Conv"), node(proto, "Clip")
        weight, low = conv.input[1], clip.input[1]
        made = [
            helper.make_node("Constant", [], ["made"], value=next(e for e in proto.graph.initializer if e.name == weight)),
            helper.make_node("Constant", [], ["low"], value_float=float(constant(proto, low))),
            helper.make_node("Identity", ["made"], ["shared"]),
        ]
        conv.input[1], clip.input[1] = "shared", "low"
        nodes = [*made, *proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    assert told(changes(PLAIN, edited(PLAIN, edit))) == []


# Quantized graphs


def test_int8_removes_the_clamps_that_its_ranges_do_and_nothing_else() -> None:
    found = compared(PLAIN, quantized("int8")).graph
    assert [(layer.operator, layer.absorbed) for layer in found.removed] == [("Relu", True), ("Clip", True), ("Relu", True)]
    assert [(change.what, change.a, change.b) for layer in found.changed for change in layer.changes] == [
        ("operator", "ReduceMean", "GlobalAveragePool")
    ]
    assert found.added == ()
    back = compared(quantized("int8"), PLAIN).graph
    assert [(layer.operator, layer.absorbed) for layer in back.added] == [("Relu", True), ("Clip", True), ("Relu", True)]


def test_a_clamp_whose_work_no_range_does_is_not_said_to_be_done() -> None:
    def edit(proto: ModelProto) -> None:
        put_constant(proto, "t1_zero_point", np.uint8(7))

    found = compared(PLAIN, edited(quantized("int8"), edit)).graph
    assert [layer.absorbed for layer in found.removed] == [False, True, True]


def test_float16_weights_leave_the_graph_alone() -> None:
    found = compared(PLAIN, quantized("fp16"))
    assert found.differing == ("weights",)


def test_a_dynamically_quantized_product_is_the_same_layer() -> None:
    found = compared(PLAIN, quantized("dynamic"))
    assert told(found.graph) == [("Gemm", "written as", "Gemm", "DynamicQuantizeLinear + MatMulInteger + Add")]
    assert [(row.layer, row.stored_b) for row in found.weights.rows] == [("n9", "int8, 5 scales")]
    assert found.weights.rows[0].relative is not None
    assert 0 < found.weights.rows[0].relative < 0.02
    assert [(row.dtype_a, row.dtype_b) for row in found.scales.rows] == [(None, "uint8")]


def test_integers_that_a_layer_reads_itself_make_quantize_a_layer() -> None:
    def edit(proto: ModelProto) -> None:
        for entry in proto.graph.node:
            entry.input[:] = ["floats" if name == "t1" else name for name in entry.input]
        put_constant(proto, "step", np.float32(0.1))
        put_constant(proto, "zero", np.uint8(0))
        place = [entry.output[0] for entry in proto.graph.node].index("t1") + 1
        proto.graph.node.insert(place, helper.make_node("QuantizeLinear", ["t1", "step", "zero"], ["integers"]))
        proto.graph.node.insert(place + 1, helper.make_node("Cast", ["integers"], ["floats"], to=TensorProto.FLOAT))

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("added", "QuantizeLinear"), ("added", "Cast")]


# What a graph states


def test_opset_and_ir_version() -> None:
    def edit(proto: ModelProto) -> None:
        proto.opset_import[0].version = 19
        proto.ir_version = 9

    assert told(changes(PLAIN, edited(PLAIN, edit))) == [("stated", "IR version", 8, 9), ("stated", "opset", 18, 19)]


def test_an_input_of_another_name_and_an_open_batch() -> None:
    other = residual(batch="batch")
    found = changes(PLAIN, other)
    assert [change.what for change in found.stated] == ["input", "output"]
    assert found.stated[0].b == "input float32 [batch, 3, 16, 16]"


def test_producer_and_metadata_are_provenance() -> None:
    def edit(proto: ModelProto) -> None:
        proto.producer_name = "another"
        helper.set_model_props(proto, {"name": "net", "author": "me"})

    found = compared(PLAIN, edited(PLAIN, edit))
    assert found.differing == ()
    assert [(change.what, change.a, change.b) for change in found.provenance] == [("producer", "tests", "another"), ("author", None, "me")]


def test_a_branch_is_never_taken_for_the_same() -> None:
    """Its insides aren't compared."""

    def branching(value: float) -> bytes:
        insides = [
            helper.make_graph([helper.make_node("Constant", [], ["r"], value_float=number)], "g", [], [helper.make_tensor_value_info("r", 1, [])])
            for number in (value, 0.0)
        ]
        nodes = [helper.make_node("If", ["which"], ["y"], then_branch=insides[0], else_branch=insides[1])]
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("which", TensorProto.BOOL, [])], [helper.make_tensor_value_info("y", 1, [])]
        )
        return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString())

    assert compared(branching(1), branching(2)).differing == ("graph",)
    assert compared(branching(1), branching(1)).differing == ()


# Sizes


def chain(length: int, seed: int, ops: tuple[str, ...] = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs")) -> bytes:
    draw = np.random.default_rng(seed)
    nodes = [helper.make_node(ops[int(draw.integers(len(ops)))], [f"t{at}"], [f"t{at + 1}"]) for at in range(length)]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3)) for name in ("t0", f"t{length}")]
    graph = helper.make_graph(nodes, "chain", edges[:1], edges[1:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString())


def accounted(found: GraphChanges) -> tuple[int, int]:
    """How many layers of each side were said to be matched, replaced, removed or added."""
    replaced = sum(change.what == "operator" for layer in found.changed for change in layer.changes)
    return found.matched + replaced + len(found.removed), found.matched + replaced + len(found.added)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100), st.integers(0, 100))
def test_whatever_is_compared_every_layer_is_accounted_for_once(a: int, b: int, seed_a: int, seed_b: int) -> None:
    found = compared(chain(a, seed_a), chain(b, seed_b)).graph
    assert (found.layers_a, found.layers_b) == accounted(found) == (a, b)
    assert bool(found) or a == b


def test_graphs_too_different_to_align_are_still_compared() -> None:
    found = compared(chain(900, 1), chain(1100, 2)).graph
    assert accounted(found) == (900, 1100)
    assert found


def test_a_chain_of_quantizers_is_read_to_its_end() -> None:
    nodes = [helper.make_node("QuantizeLinear" if at % 2 == 0 else "DequantizeLinear", [f"t{at}", "s"], [f"t{at + 1}"]) for at in range(4000)]
    deep = [helper.make_node("QuantizeLinear", [f"t{at}", "s"], [f"t{at + 1}"]) for at in range(4000)]
    for made in (nodes, deep):
        edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3)) for name in ("t0", "t4000")]
        graph = helper.make_graph(made, "chain", edges[:1], edges[1:], [onnx.numpy_helper.from_array(np.float32(0.5), "s")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
        assert compared(model, PLAIN).graph.layers_b == 10

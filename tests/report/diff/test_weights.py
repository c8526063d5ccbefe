"""Which layers' numbers changed, and by how much, however they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgecnn.report.diff.records import Diff
from tests.fixtures.onnx_nets import residual
from tests.report.diff.graphs import compared, constant, edited, node, put_constant, quantized, renamed

PLAIN = residual()
LAYERS = {"n0": ("c0", "c1"), "n2": ("c2", "c3"), "n4": ("c6", "c7"), "n9": ("c9", "c10")}


def add(name: str, by: float) -> Any:
    return lambda proto: put_constant(proto, name, (constant(proto, name) + by).astype(np.float32))


def rows(found: Diff) -> list[tuple[str, str]]:
    return [(row.layer, row.tensor) for row in found.weights.rows]


@given(st.dictionaries(st.sampled_from([(layer, tensor) for layer in LAYERS for tensor in (0, 1)]), st.floats(0.01, 5), max_size=4), st.booleans())
def test_the_tensors_that_changed_and_no_others(changed: dict[tuple[str, int], float], other_names: bool) -> None:
    edits = [add(LAYERS[layer][tensor], by) for (layer, tensor), by in changed.items()]
    found = compared(PLAIN, edited(PLAIN, *edits, *([renamed] if other_names else [])))
    assert found.weights.compared == 8
    assert sorted(rows(found)) == sorted((layer, ("weight", "bias")[tensor]) for layer, tensor in changed)
    relative = [row.relative for row in found.weights.rows]
    assert relative == sorted(relative, key=lambda change: -(change or 0))
    assert found.differing == (("weights",) if changed else ())


def test_the_change_is_relative_to_the_first() -> None:
    (row,) = compared(PLAIN, edited(PLAIN, lambda proto: put_constant(proto, "c6", constant(proto, "c6") * np.float32(1.5)))).weights.rows
    assert row.relative == pytest.approx(0.5)
    assert (row.changed, row.elements) == (256, 256)


def test_another_width_is_another_shape() -> None:
    def edit(proto: ModelProto) -> None:
        for name in ("c9", "c10"):
            put_constant(proto, name, constant(proto, name)[:4].copy())
        proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4

    found = compared(PLAIN, edited(PLAIN, edit))
    assert [(row.tensor, row.shape_a, row.shape_b, row.relative) for row in found.weights.rows] == [
        ("weight", (5, 16), (4, 16), None),
        ("bias", (5,), (4,), None),
    ]
    assert found.differing == ("graph", "weights")


@pytest.mark.parametrize("how", ["floats", "constant node"])
def test_where_a_tensor_is_stored_makes_no_difference(how: str) -> None:
    def edit(proto: ModelProto) -> None:
        entry = next(entry for entry in proto.graph.initializer if entry.name == "c0")
        values = numpy_helper.to_array(entry)
        if how == "floats":
            entry.CopyFrom(helper.make_tensor("c0", TensorProto.FLOAT, values.shape, values.flatten().tolist()))
            return
        made = helper.make_node("Constant", [], ["c0"], value=numpy_helper.from_array(values, "inside"))
        nodes = list(proto.graph.node)
        proto.graph.initializer.remove(entry)
        del proto.graph.node[:]
        proto.graph.node.extend([made, *nodes])

    found = compared(PLAIN, edited(PLAIN, edit))
    assert found.differing == ()
    assert not found.graph.same_bytes


# Quantized


def test_int8_against_float32_compares_what_it_stands_for() -> None:
    found = compared(PLAIN, quantized("int8", equalize=False, correct_bias=False))
    assert found.weights.compared == 8
    weights = [row for row in found.weights.rows if row.tensor == "weight"]
    assert {(row.stored_a, row.stored_b) for row in weights} == {("float32", "int8, 16 scales"), ("float32", "int8, 5 scales")}
    assert all(row.relative is not None and row.relative < 0.01 for row in weights)
    assert all(row.relative is not None and row.relative < 0.01 for row in found.weights.rows)


def test_one_scale_for_all_is_coarser_than_one_a_channel() -> None:
    each, one = (compared(PLAIN, quantized("int8", per_channel=choice)).weights.rows for choice in (True, False))
    sums = [sum(row.relative or 0 for row in found if row.tensor == "weight") for found in (each, one)]
    assert sums[0] < sums[1]
    found = compared(quantized("int8"), quantized("int8", per_channel=False))
    assert found.differing[0] == "weights"
    assert ("int8, 16 scales", "int8, 1 scale") in {(row.stored_a, row.stored_b) for row in found.weights.rows}


def test_float16() -> None:
    found = compared(PLAIN, quantized("fp16"))
    assert {(row.stored_a, row.stored_b) for row in found.weights.rows} == {("float32", "float16")}
    assert all(row.relative is not None and row.relative < 1e-3 for row in found.weights.rows)


# Scales


def test_every_rounded_tensor_is_told_where_the_other_side_has_floats() -> None:
    found = compared(PLAIN, quantized("int8", equalize=False, correct_bias=False)).scales
    assert (found.rounded_a, found.rounded_b) == (0, len(found.rows) + 1)  # one is behind a layer that only B has
    assert {(row.dtype_a, row.dtype_b) for row in found.rows} == {(None, "uint8")}
    assert "input" in {row.tensor for row in found.rows}


def test_a_scale_and_a_zero_point_that_changed() -> None:
    plain = quantized("int8")

    def edit(proto: ModelProto) -> None:
        put_constant(proto, "input_scale", constant(proto, "input_scale") * np.float32(1.25))
        put_constant(proto, "t6_zero_point", constant(proto, "t6_zero_point") + np.uint8(1))

    found = compared(plain, edited(plain, edit, renamed))
    assert [(row.tensor, row.relative) for row in found.scales.rows] == [("input", pytest.approx(0.25)), ("n5", 0.0)]
    assert found.scales.rows[1].zero_b == (found.scales.rows[1].zero_a or 0) + 1
    assert found.differing == ("scales",)


def test_other_types_of_activations() -> None:
    found = compared(quantized("int8"), quantized("int8", activation_type="int8"))
    assert {(row.dtype_a, row.dtype_b) for row in found.scales.rows} == {("uint8", "int8")}
    assert "scales" in found.differing


def test_layers_left_in_float() -> None:
    found = compared(quantized("int8"), quantized("int8", keep_float=("n0",)))
    assert ("n0", "weight") in rows(found)
    assert ("input", None) in {(row.tensor, row.dtype_b) for row in found.scales.rows}


def test_weights_in_another_file_are_never_taken_for_the_same() -> None:
    def edit(proto: ModelProto) -> None:
        entry = next(entry for entry in proto.graph.initializer if entry.name == "c0")
        entry.ClearField("raw_data")
        entry.data_location = TensorProto.EXTERNAL
        entry.external_data.add(key="location", value="weights.bin")

    outside = edited_unchecked(PLAIN, edit)
    found = compared(outside, edited_unchecked(PLAIN, edit, renamed))
    assert rows(found) == [("n0", "weight")]
    assert found.weights.rows[0].changed is None


def edited_unchecked(model: bytes, *edits: Any) -> bytes:
    proto = ModelProto.FromString(model)
    for edit in edits:
        edit(proto)
    return proto.SerializeToString()


def test_the_gemm_of_the_other_operand_order_keeps_its_roles() -> None:
    found = compared(PLAIN, edited(PLAIN, lambda proto: put_constant(proto, node(proto, "Gemm").input[2], np.zeros(5, np.float32))))
    assert rows(found) == [("n9", "bias")]

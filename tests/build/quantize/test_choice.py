"""Which nodes int8 computes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from edgecnn.build.quantize._choice import activations, choose, left_in_float
from edgecnn.build.quantize._graph import load
from edgecnn.build.quantize._rewrite import rewrite
from edgecnn.errors import UsageError
from tests.fixtures.onnx_nets import Net, residual


def ready(make: Net, *, labels: int = 5) -> ModelProto:
    proto = load(make.bytes(labels=labels), opset=13)
    rewrite(proto)
    return proto


@pytest.fixture
def proto() -> ModelProto:
    """n0 Conv, n1 Relu, n2 depthwise Conv, n3 Clip, n4 Conv, n5 Add, n6 Relu, n7 GlobalAveragePool, n8 Flatten, n9 Gemm."""
    found = load(residual(), opset=13)
    rewrite(found)
    return found


def test_a_common_net_is_integers_throughout(proto):
    assert choose(proto) == {f"n{number}" for number in range(10)}
    assert left_in_float(proto, choose(proto)) is None


def test_a_layer_in_float_takes_what_only_it_reads_along(proto):
    """Its ReLU isn't absorbed any more; what other integers read stays."""
    assert choose(proto, ["n2"]) == {"n0", "n1", "n4", "n5", "n6", "n7", "n8", "n9"}
    assert choose(proto, ["n9"]) == {f"n{number}" for number in range(5)}
    assert choose(proto, ["n0", "n2", "n4", "n9"]) == frozenset()


def test_layers_that_were_asked_for_are_not_told_of(proto):
    assert left_in_float(proto, choose(proto, ["n2"]), ["n2"]) is None
    assert left_in_float(proto, choose(proto, ["n2"])) == "left in float: 1 Conv"


def test_an_unknown_layer_is_told_with_near_ones(proto):
    with pytest.raises(UsageError, match=r"there is no layer n11 to keep in float; the nearest are n1, "):
        choose(proto, ["n11"])


def test_behind_the_last_product_nothing_is_chosen():
    make = Net()
    logits = make.linear(make.pooled(make.node("Relu", make.conv("input", (3, 8)))), 8, 5)
    make.node("Relu", make.node("Add", logits, make.constant(np.ones(5))), output="logits")
    assert choose(ready(make)) == {"n0", "n1", "n2", "n3", "n4"}


def test_a_product_of_two_activations_and_weights_that_are_computed():
    make = Net()
    rows = make.node("Reshape", make.node("Relu", make.conv("input", (3, 8))), make.constant([1, 8, 256], np.int64))
    squares = make.node("MatMul", rows, make.node("Transpose", rows, perm=[0, 2, 1]))
    kernel = make.node("Reshape", make.node("ReduceMean", squares, make.constant([0], np.int64), keepdims=0), make.constant([8, 8, 1, 1], np.int64))
    made = make.node("Conv", make.conv("input", (3, 8)), kernel)
    make.linear(make.pooled(made), 8, 5, output="logits")
    proto = ready(make)
    chosen = choose(proto)
    operators = {node.name: node.op_type for node in proto.graph.node}
    assert [operators[name] for name in sorted(chosen)].count("MatMul") == 1
    assert "n6" not in chosen  # the convolution whose weights are computed
    assert left_in_float(proto, chosen) == "left in float: 1 Conv, 1 ReduceMean"


def test_operators_without_integers_are_told_by_name():
    make = Net()
    gate = make.node("HardSigmoid", make.conv("input", (3, 8)))
    make.linear(make.pooled(make.conv(gate, (8, 8))), 8, 5, output="logits")
    proto = ready(make)
    assert left_in_float(proto, choose(proto)) == "left in float: 1 HardSigmoid"


def test_clips_that_keep_away_from_zero_or_are_computed_stay_in_float():
    make = Net()
    first = make.node("Clip", make.conv("input", (3, 8)), make.constant(0.5), make.constant(1))
    bound = make.node("ReduceMax", make.node("Relu", make.conv(first, (8, 8))), keepdims=0)
    second = make.node("Clip", make.conv(first, (8, 8)), make.constant(0), bound)
    make.linear(make.pooled(make.conv(second, (8, 8))), 8, 5, output="logits")
    proto = ready(make)
    clips = {node.name for node in proto.graph.node if node.op_type == "Clip"}
    assert len(clips) == 2
    assert clips.isdisjoint(choose(proto))


def test_integers_are_moved_but_indices_are_not_rounded():
    """Reshape between layers moves int8; what computes its shape stays as it is."""
    make = Net(batch=2)
    relu = make.node("Relu", make.conv("input", (3, 8)))
    shape = make.node(
        "Concat", make.node("Slice", make.node("Shape", relu), *(make.constant([v], np.int64) for v in (0, 1))), make.constant([-1], np.int64), axis=0
    )
    make.linear(make.node("Reshape", relu, shape), 8 * 256, 5, output="logits")
    proto = ready(make)
    chosen = choose(proto)
    assert {node.op_type for node in proto.graph.node if node.name in chosen} == {"Conv", "Relu", "Reshape", "Gemm"}
    assert left_in_float(proto, chosen) is None


def test_activations_are_float_tensors_in_order_and_no_constants(proto):
    assert activations(proto, choose(proto)) == ["input", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "logits"]
    assert activations(proto, frozenset({"n2"})) == ["t1", "t2"]

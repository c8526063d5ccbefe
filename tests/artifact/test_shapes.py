"""The shapes that are told beforehand are those that onnxruntime makes, and what can't be told, or is too large, is refused by name."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.dtypes import infer_dtypes
from edgecnn.artifact.graph import check_device_graph, layers, read_graph
from edgecnn.artifact.memory import memory
from edgecnn.artifact.shapes import MAX_ELEMENTS, infer_shapes
from edgecnn.artifact.sizes import Batch
from edgecnn.artifact.tensor_proto import Initializer
from edgecnn.errors import GraphRejected
from tests.artifact.onnx_models import floats, save, weight
from tests.fixtures.real_shapes import real_shapes, real_values, with_batch

X = (2, 6, 9, 8)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def graph(*nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = (), x: tuple[int | str, ...] = X, opset: int = 18, y: str = "") -> bytes:
    """A graph from x to the last node's first output, whose shape it doesn't state."""
    output = helper.make_tensor_value_info(y or nodes[-1].output[0], TensorProto.FLOAT, None)
    output.type.ClearField("value")
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return save(helper.make_graph(nodes, "g", [floats("x", *x)], [output], constants), opset_imports=opsets)


def check(data: bytes, x: tuple[int, ...] = X) -> None:
    """Every shape and dtype is told, and is onnxruntime's."""
    inferred, dtypes = infer_shapes(read_graph(data)), infer_dtypes(read_graph(data))
    assert inferred.fault is None
    real = real_values(data, {"x": np.random.default_rng(0).random(x, dtype=np.float32)})
    known = with_batch(inferred, x[0])
    assert {name: np.shape(value) for name, value in real.items()} == {name: known[name] for name in real}
    assert {name: str(value.dtype) for name, value in real.items()} == {name: dtypes[name] for name in real}


def one(operator: str, *inputs: str, constants: tuple[TensorProto, ...] = (), opset: int = 18, outputs: int = 1, **attributes: Any) -> bytes:
    names = ["y", *(f"y{at}" for at in range(1, outputs))]
    return graph(helper.make_node(operator, list(inputs or ["x"]), names, **attributes), constants=constants, opset=opset)


def quantized(*more: onnx.NodeProto) -> tuple[onnx.NodeProto, ...]:
    return (helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), *more)


W = weight("w", 4, 3, 3, 2)
ONE_NODE = {
    "ArgMax": lambda: one("ArgMax", axis=-2, keepdims=0),
    "BatchNormalization": lambda: one("BatchNormalization", "x", "a", "b", "c", "d", constants=tuple(weight(n, 6) for n in "abcd")),
    "Cast": lambda: one("Cast", to=7),
    "Col2Im": lambda: graph(
        helper.make_node("Reshape", ["x", "shape"], ["columns"]),
        helper.make_node("Col2Im", ["columns", "image", "block"], ["y"], strides=[2, 2]),
        constants=(ints("shape", 2, 54, 8), ints("image", 4, 8), ints("block", 2, 1)),
    ),
    "Concat": lambda: one("Concat", "x", "x", "c", constants=(weight("c", 2, 6, 9, 5),), axis=-1),
    "ConstantOfShape": lambda: one("ConstantOfShape", "n", constants=(ints("n", 3, 2, 4),)),
    "ConstantOfShape of a scalar": lambda: one("ConstantOfShape", "n", constants=(ints("n"),)),
    "Conv": lambda: one("Conv", "x", "w", constants=(W,), group=2, strides=[2, 3], dilations=[1, 4], pads=[0, 2, 1, 1]),
    "Conv SAME_LOWER": lambda: one("Conv", "x", "w", constants=(W,), group=2, strides=[2, 3], auto_pad="SAME_LOWER"),
    "Conv VALID": lambda: one("Conv", "x", "w", constants=(W,), group=2, auto_pad="VALID"),
    "ConvTranspose": lambda: one(
        "ConvTranspose",
        "x",
        "w",
        constants=(weight("w", 6, 2, 3, 2),),
        group=3,
        strides=[3, 2],
        pads=[1, 0, 0, 1],
        output_padding=[2, 1],
        dilations=[2, 1],
    ),
    "ConvTranspose of a stated size": lambda: one(
        "ConvTranspose", "x", "w", constants=(weight("w", 6, 2, 2, 2),), strides=[2, 2], output_shape=[19, 17]
    ),
    "ConvTranspose SAME": lambda: one("ConvTranspose", "x", "w", constants=(weight("w", 6, 2, 3, 3),), strides=[2, 2], auto_pad="SAME_UPPER"),
    "CumSum": lambda: one("CumSum", "x", "axis", constants=(ints("axis", 1),)),
    "Dropout": lambda: one("Dropout", outputs=2),
    "Einsum": lambda: one("Einsum", "x", "c", constants=(weight("c", 8, 5),), equation="bchw, wk -> bkhc"),
    "Einsum with an ellipsis": lambda: one("Einsum", "x", "c", constants=(weight("c", 2, 6, 8, 3),), equation="...ij,...jk->...ki"),
    "Einsum without an arrow": lambda: one("Einsum", "x", equation="dcba"),
    "Expand": lambda: one("Expand", "x", "n", constants=(ints("n", 3, 1, 1, 1, 8),)),
    "EyeLike": lambda: graph(helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("EyeLike", ["f"], ["y"])),
    "Flatten": lambda: one("Flatten", axis=-1),
    "Flatten at the end": lambda: one("Flatten", axis=4),
    "Gather": lambda: one("Gather", "x", "n", constants=(numpy_helper.from_array(np.array([[0, -1, 2]]), "n"),), axis=2),
    "Gather by a number": lambda: one("Gather", "x", "n", constants=(numpy_helper.from_array(np.array(1), "n"),), axis=1),
    "GatherElements": lambda: one("GatherElements", "x", "n", constants=(numpy_helper.from_array(np.zeros((2, 6, 3, 8), np.int64), "n"),), axis=2),
    "GatherND": lambda: one("GatherND", "x", "n", constants=(numpy_helper.from_array(np.zeros((2, 5, 2), np.int64), "n"),), batch_dims=1),
    "Gemm": lambda: graph(
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
        constants=(weight("w", 5, 432), weight("b", 5)),
    ),
    "Gemm of a turned matrix": lambda: graph(
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transA=1),
        constants=(weight("w", 2, 5),),
    ),
    "GlobalAveragePool": lambda: one("GlobalAveragePool"),
    "GridSample": lambda: one("GridSample", "x", "g", constants=(weight("g", 2, 3, 5, 2),)),
    "LayerNormalization": lambda: one("LayerNormalization", "x", "s", constants=(weight("s", 9, 8),), axis=2, outputs=3),
    "MatMul": lambda: one("MatMul", "x", "m", constants=(weight("m", 6, 8, 5),)),
    "MatMul by a vector": lambda: one("MatMul", "x", "m", constants=(weight("m", 8),)),
    "MatMul of a vector": lambda: one("MatMul", "m", "x", constants=(weight("m", 9),)),
    "MaxPool": lambda: one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], outputs=2),
    "MaxPool, rounding up": lambda: one("MaxPool", kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1),
    "MaxPool, a last window in the padding": lambda: one("MaxPool", kernel_shape=[2, 2], strides=[3, 3], pads=[0, 0, 1, 1], ceil_mode=1),
    "OneHot": lambda: graph(
        helper.make_node("ArgMax", ["x"], ["a"], axis=1, keepdims=0),
        helper.make_node("OneHot", ["a", "n", "v"], ["y"], axis=1),
        constants=(ints("n", 6), weight("v", 2)),
    ),
    "PRelu": lambda: one("PRelu", "x", "s", constants=(weight("s", 6, 1, 1),)),
    "Pad": lambda: one("Pad", "x", "n", constants=(ints("n", 0, 0, 1, -2, 0, 0, 3, -1),)),
    "Pad some axes": lambda: one("Pad", "x", "n", "", "a", constants=(ints("n", 1, 2, 3, 4), ints("a", -1, 1))),
    "Pad before opset 11": lambda: one("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 4], opset=10),
    "Range": lambda: one(
        "Range", "a", "b", "c", constants=tuple(numpy_helper.from_array(np.array(v), n) for n, v in (("a", 9), ("b", -2), ("c", -3)))
    ),
    "Range of fractions": lambda: one(
        "Range", "a", "b", "c", constants=tuple(numpy_helper.from_array(np.float32(v), n) for n, v in (("a", 0.1), ("b", 0.9), ("c", 0.1)))
    ),
    "ReduceMean": lambda: one("ReduceMean", "x", "n", constants=(ints("n", -1, 2),), keepdims=0),
    "ReduceMean before opset 18": lambda: one("ReduceMean", axes=[2, 3], opset=13),
    "ReduceSum of all": lambda: one("ReduceSum"),
    "ReduceSum of nothing": lambda: one("ReduceSum", noop_with_empty_axes=1),
    "Reshape": lambda: one("Reshape", "x", "n", constants=(ints("n", 0, 3, -1, 2),)),
    "Resize by scales": lambda: one("Resize", "x", "", "n", constants=(numpy_helper.from_array(np.array([1, 1, 1.3, 0.7], np.float32), "n"),)),
    "Resize to sizes": lambda: one("Resize", "x", "", "", "n", constants=(ints("n", 2, 6, 20, 3),), mode="linear"),
    "Resize some axes": lambda: one("Resize", "x", "", "", "n", constants=(ints("n", 20, 3),), axes=[3, 2]),
    "Resize before opset 11": lambda: one(
        "Resize", "x", "n", constants=(numpy_helper.from_array(np.array([1, 1, 2, 1.5], np.float32), "n"),), opset=10
    ),
    "ScatterND": lambda: one(
        "ScatterND", "x", "n", "u", constants=(numpy_helper.from_array(np.zeros((1, 1), np.int64), "n"), weight("u", 1, 6, 9, 8))
    ),
    "Shape": lambda: one("Shape", start=-3, end=7),
    "Size": lambda: one("Size"),
    "Slice": lambda: one("Slice", "x", "a", "b", "c", "d", constants=(ints("a", -1, 1), ints("b", -99, 1 << 62), ints("c", 3, 2), ints("d", -3, 2))),
    "Slice before opset 10": lambda: one("Slice", starts=[1, -3], ends=[3, 100], axes=[1, 3], opset=9),
    "SpaceToDepth": lambda: graph(
        helper.make_node("Slice", ["x", "a", "b", "c"], ["even"]),
        helper.make_node("SpaceToDepth", ["even"], ["deep"], blocksize=2),
        helper.make_node("DepthToSpace", ["deep"], ["y"], blocksize=2),
        constants=(ints("a", 0), ints("b", -1), ints("c", 2)),
    ),
    "Split": lambda: one("Split", "x", "n", constants=(ints("n", 1, 5, 2),), axis=3, outputs=3),
    "Split evenly": lambda: one("Split", axis=1, num_outputs=3, outputs=3),
    "Split unevenly": lambda: one("Split", axis=3, num_outputs=3, outputs=3),
    "Squeeze": lambda: graph(
        helper.make_node("Unsqueeze", ["x", "a"], ["long"]),
        helper.make_node("Squeeze", ["long", "b"], ["some"]),
        helper.make_node("Squeeze", ["some"], ["y"]),
        constants=(ints("a", -1, 0, 2), ints("b", 2)),
    ),
    "Tile": lambda: one("Tile", "x", "n", constants=(ints("n", 1, 2, 1, 3),)),
    "TopK": lambda: one("TopK", "x", "n", constants=(ints("n", 3),), axis=1, outputs=2),
    "Transpose": lambda: one("Transpose", perm=[2, 0, 3, 1]),
    "Transpose all": lambda: one("Transpose"),
    "Upsample": lambda: one("Upsample", "x", "n", constants=(numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32), "n"),), opset=9),
    "Where": lambda: graph(
        helper.make_node("Less", ["x", "c"], ["t"]),
        helper.make_node("Where", ["t", "c", "d"], ["y"]),
        constants=(weight("c", 8), weight("d", 3, 1, 1, 1, 1)),
    ),
    "ConvInteger and MatMulInteger": lambda: graph(
        *quantized(helper.make_node("ConvInteger", ["q", "w", "z"], ["c"]), helper.make_node("MatMulInteger", ["q", "m", "z"], ["y"])),
        constants=(weight("w", 4, 6, 3, 3, dtype="int8"), weight("m", 8, 3, dtype="int8")),
    ),
    "QLinearAdd and QLinearConcat": lambda: graph(
        *quantized(
            helper.make_node("QLinearAdd", ["q", "s", "z", "c", "s", "z", "s", "z"], ["sum"], domain="com.microsoft"),
            helper.make_node("QLinearConcat", ["s", "z", "sum", "s", "z", "q", "s", "z"], ["cat"], domain="com.microsoft", axis=1),
            helper.make_node("QLinearGlobalAveragePool", ["cat", "s", "z", "s", "z"], ["y"], domain="com.microsoft"),
        ),
        constants=(weight("c", 6, 1, 1, dtype="uint8"),),
    ),
    "FusedMatMul": lambda: graph(
        helper.make_node("FusedMatMul", ["x", "m"], ["y"], domain="com.microsoft", transA=1, transB=1), constants=(weight("m", 5, 9),)
    ),
}


@pytest.mark.parametrize("make", ONE_NODE.values(), ids=ONE_NODE.keys())
def test_each_operators_rule_gives_onnxruntimes_shapes(make: Any) -> None:
    check(make())


# what exporters write to compute shapes


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


FLATTEN = (
    node("Shape", "x", "shape"),
    node("Gather", "shape zero", "n"),
    node("Unsqueeze", "n zeros", "n1"),
    node("Concat", "n1 minus", "target", axis=0),
    node("Reshape", "x target", "y"),
)
DOUBLE = (
    node("Shape", "x", "shape"),
    node("Slice", "shape two four zeros", "image"),
    node("Cast", "image", "floats", to=1),
    node("Mul", "floats factor", "more"),
    node("Floor", "more", "whole"),
    node("Cast", "whole", "sizes", to=7),
    node("Slice", "shape zeros two zeros", "head"),
    node("Concat", "head sizes", "all", axis=0),
    helper.make_node("Resize", ["x", "", "", "all"], ["y"]),
)
HEADS = (
    node("Shape", "x", "shape"),
    helper.make_node("Split", ["shape"], ["n", "c", "h", "w"], num_outputs=4),
    node("Div", "c heads", "each"),
    node("Mul", "n heads", "many"),
    node("Mul", "h w", "places"),
    node("Concat", "many each places", "target", axis=0),
    node("Reshape", "x target", "y"),
)
EXPAND = (
    node("Shape", "x", "shape"),
    node("Equal", "wanted minus4", "open"),
    node("Where", "open shape wanted", "target"),
    node("Expand", "row target", "y"),
)
REPEAT = (
    node("Shape", "x", "shape"),
    node("ConstantOfShape", "four", "ones", value=helper.make_tensor("", 7, [1], [1])),
    node("Mul", "ones two", "twos"),
    node("Sub", "shape shape", "none"),
    node("Max", "none twos", "times"),
    node("Gather", "times zero", "t0"),
    node("ReduceProd", "times", "sixteen"),
    node("Tile", "row times", "y"),
)
PADS = (
    node("Reshape", "pads pairs", "table"),
    node("Slice", "table minus far zeros minus", "turned"),
    node("Transpose", "turned", "columns", perm=[1, 0]),
    node("Reshape", "columns minus", "flat"),
    node("Pad", "x flat", "y"),
)
FOLDED = {"flatten": FLATTEN, "upsample": DOUBLE, "attention heads": HEADS, "expand": EXPAND, "repeat": REPEAT, "pads": PADS}
NUMBERS = (
    numpy_helper.from_array(np.array(0), "zero"),
    ints("zeros", 0),
    ints("minus", -1),
    ints("minus4", -1, -1, -1, -1),
    ints("wanted", -1, 6, 1, -1),
    ints("two", 2),
    ints("four", 4),
    ints("heads", 3),
    ints("pads", 0, 1, 2, 1, 0, 0, 0, 0),
    ints("pairs", -1, 2),
    ints("far", -(1 << 63) + 1),
    numpy_helper.from_array(np.array([1.7, 2.5], np.float32), "factor"),
    weight("row", 1, 6, 1, 1),
)


@pytest.mark.parametrize("batch", [2, "batch"])
@pytest.mark.parametrize("name", FOLDED)
def test_shapes_that_a_graph_computes_are_computed_beforehand(name: str, batch: int | str) -> None:
    used = {text for made in FOLDED[name] for text in made.input}
    check(graph(*FOLDED[name], constants=tuple(number for number in NUMBERS if number.name in used), x=(batch, *X[1:])))


# generated graphs


@st.composite
def graphs(draw: st.DrawFn) -> tuple[bytes, tuple[int, ...]]:
    """A chain of operators with random attributes, of which some fit and some don't."""
    batch = draw(st.sampled_from([1, 2, "n"]))
    x = (batch, draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    nodes, constants = [], []
    for at in range(draw(st.integers(1, 6))):
        before = "x" if not at else f"t{draw(st.integers(0, at - 1))}"
        more, attributes, operator = draw(st.sampled_from(STEPS))(draw)
        names = [f"c{at}_{i}" for i in range(len(more))]
        constants += [numpy_helper.from_array(array, name) for array, name in zip(more, names, strict=True) if array is not None]
        inputs = [before, *("" if array is None else name for array, name in zip(more, names, strict=True))]
        if draw(st.booleans()) and operator in ("Add", "Concat", "MatMul"):
            inputs[1:] = [f"t{at - 1}" if at else "x"]
        nodes.append(helper.make_node(operator, inputs, [f"t{at}"], **attributes))
    return graph(*nodes, constants=tuple(constants), x=x), (3 if batch == "n" else int(batch), *(int(size) for size in x[1:]))


def few(draw: st.DrawFn, low: int, high: int, count: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))


def conv(draw: st.DrawFn) -> Any:
    kernel, channels, out = few(draw, 1, 4, 2), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    w = np.ones((out, channels, *kernel), np.float32)
    auto = draw(st.sampled_from([{}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"}, {"pads": few(draw, 0, 3, 4)}]))
    return [w], {"strides": few(draw, 1, 3, 2), "dilations": few(draw, 1, 2, 2), "group": draw(st.sampled_from([1, 1, 2])), **auto}, "Conv"


def pool(draw: st.DrawFn) -> Any:
    kernel = few(draw, 1, 4, 2)
    pads = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    options = {"strides": few(draw, 1, 4, 2), "ceil_mode": draw(st.integers(0, 1))}
    return [], {"kernel_shape": kernel, "pads": pads, **options}, draw(st.sampled_from(["MaxPool", "AveragePool"]))


def reshape(draw: st.DrawFn) -> Any:
    return [np.array(draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4, 6]), min_size=1, max_size=4)), np.int64)], {}, "Reshape"


def sliced(draw: st.DrawFn) -> Any:
    axis, step = draw(st.integers(-4, 3)), draw(st.sampled_from([-3, -2, -1, 1, 1, 2, 3]))
    bounds = [draw(st.sampled_from([-(1 << 62), -20, -3, -1, 0, 1, 2, 5, 20, 1 << 62])) for _ in range(2)]
    return [np.array([value], np.int64) for value in (*bounds, axis, step)], {}, "Slice"


def matmul(draw: st.DrawFn) -> Any:
    return [np.ones(few(draw, 1, 4, draw(st.integers(1, 4))), np.float32)], {}, "MatMul"


def add(draw: st.DrawFn) -> Any:
    return [np.ones(draw(st.lists(st.sampled_from([1, 1, 2, 3, 6]), max_size=5)), np.float32)], {}, "Add"


def pad(draw: st.DrawFn) -> Any:
    return [np.array([draw(st.sampled_from([-2, -1, 0, 0, 0, 1, 3])) for _ in range(8)], np.int64)], {}, "Pad"


STEPS = [
    conv,
    pool,
    reshape,
    sliced,
    matmul,
    add,
    pad,
    lambda draw: ([], {"axis": draw(st.integers(-4, 4))}, "Concat"),
    lambda draw: ([], {"axis": draw(st.integers(-4, 4))}, "Flatten"),
    lambda draw: ([], {"perm": draw(st.permutations(range(4)))}, "Transpose"),
    lambda draw: ([np.array(draw(st.lists(st.integers(-4, 3), max_size=3)), np.int64)], {"keepdims": draw(st.integers(0, 1))}, "ReduceMean"),
    lambda draw: ([np.array(few(draw, 0, 3, 4), np.int64)], {}, "Tile"),
    lambda draw: ([np.array(draw(st.lists(st.integers(0, 6), max_size=5)), np.int64)], {}, "Expand"),
    lambda draw: ([np.array(draw(st.lists(st.integers(-3, 3), min_size=1, max_size=2)), np.int64)], {}, "Unsqueeze"),
    lambda draw: ([np.array(draw(st.lists(st.integers(-4, 3), min_size=1, max_size=2)), np.int64)], {}, "Squeeze"),
    lambda draw: ([None, np.array([1, 1, *draw(st.tuples(*[st.floats(0.25, 3, width=32)] * 2))], np.float32)], {}, "Resize"),
]


@given(graphs())
def test_a_generated_graph_has_the_shapes_that_were_told_or_fails(made: tuple[bytes, tuple[int, ...]]) -> None:
    """Where the sizes are told they are onnxruntime's; where a graph is refused for what doesn't fit, onnxruntime refuses it too."""
    data, x = made
    inferred = infer_shapes(read_graph(data))
    try:
        real = real_shapes(data, {"x": np.zeros(x, np.float32)})
    except Exception:  # one of many errors of onnxruntime's: no graph that runs
        return
    known = with_batch(inferred, x[0])
    assert {name: shape for name, shape in known.items() if name in real} == {name: shape for name, shape in real.items() if name in known}
    # a size that happens to fit for one batch isn't known to fit for all; tensors without elements, and windows over the edge, are refused
    open_batch, empty = isinstance(read_graph(data).inputs[0].shape[0], str), any(0 in shape for shape in real.values())
    assert inferred.fault is None or open_batch or empty or "slides a window" in inferred.fault


# limits


def test_the_limit_of_a_tensor_holds_to_the_element() -> None:
    side = int(MAX_ELEMENTS**0.5)
    for more in (0, 1):
        node = helper.make_node("Expand", ["x", "n"], ["y"])
        found = infer_shapes(read_graph(graph(node, constants=(ints("n", side, side + more),), x=(1, 1))))
        assert (found.fault is None) == (not more)


def test_what_is_made_of_large_weights_is_no_bomb() -> None:
    """A fully connected layer of 100 million int8 weights, as VGG has: they become floats, and nothing is larger than they are."""
    weights = Initializer(name="w", dtype="int8", shape=(25088, 4096), nbytes=25088 * 4096)
    made = read_graph(
        graph(
            helper.make_node("DequantizeLinear", ["w", "scale"], ["floats"]),
            helper.make_node("Transpose", ["floats"], ["turned"]),
            helper.make_node("MatMul", ["x", "floats"], ["y"]),
            constants=(weight("scale"),),
            x=("n", 25088),
        )
    )
    found = infer_shapes(dataclasses.replace(made, initializers=(weights, *made.initializers)))
    assert found.fault is None
    assert found.known["y"] == (Batch(1), 4096)


def test_most_elements_counts_what_lives_at_one_time() -> None:
    steps = [helper.make_node("Relu", [f"t{at}"], [f"t{at + 1}"]) for at in range(5)]
    chain = graph(helper.make_node("Relu", ["x"], ["t0"]), *steps, x=(1, 10))
    assert infer_shapes(read_graph(chain)).most_elements == 20
    residual = graph(helper.make_node("Relu", ["x"], ["t0"]), *steps, helper.make_node("Add", ["t5", "x"], ["y"]), x=("n", 10))
    assert infer_shapes(read_graph(residual)).most_elements == 30


def test_the_first_fault_is_told_and_what_can_be_told_is() -> None:
    data = graph(
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("NonZero", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Relu", ["gone"], ["d"]),
        helper.make_node("Relu", ["a"], ["y"]),
    )
    found = infer_shapes(read_graph(data))
    assert found.fault == "The graph's node b (NonZero) isn't among the operators whose sizes are known."
    assert found.known == {"x": X, "a": X, "y": X}
    with pytest.raises(GraphRejected, match="uses NonZero"):
        check_device_graph(read_graph(data))


def test_a_damaged_graph_is_refused_or_accepted_and_nothing_else(campaign: Any) -> None:
    """Any bytes of a graph of any operator changed: an answer, or GraphRejected in one printable line."""
    seeds, draw = [make() for make in ONE_NODE.values()], random.Random(11)
    for name, nodes in FOLDED.items():
        used = {text for made in nodes for text in made.input}
        assert used, name
        seeds.append(graph(*nodes, constants=tuple(number for number in NUMBERS if number.name in used), x=("n", *X[1:])))
    said = []
    cases = campaign(sample=3000, full=300_000)
    for _ in range(cases):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(data))
            data[at] = draw.choice([draw.randrange(256), data[at] ^ 1 << draw.randrange(8), 0, 1, 127, 255])
        try:
            found = read_graph(bytes(data))
            layers(found)
            check_device_graph(found)
            memory(found)
        except GraphRejected as error:
            said.append(str(error))
    assert cases // 2 < len(said) < cases
    assert all(map(str.isprintable, said))

"""Graphs whose tensors are far larger than the file says, or than anybody can say: each a change to a good model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], object]


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """inputs: names with spaces between them; "-" leaves one out."""
    return helper.make_node(operator, ["" if name == "-" else name for name in inputs.split()], [output], name=f"evil/{operator}", **attributes)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def bomb(*nodes: onnx.NodeProto, **constants: np.ndarray | np.generic) -> Change:
    """These nodes before all others; the largest number of the last one's output goes into the logits, so that a runtime has to make it."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        answer = graph.output[0].name
        graph.node[-1].output[0] = "harmless"
        before = [onnx.NodeProto.FromString(other.SerializeToString()) for other in graph.node]
        del graph.node[:]
        graph.node.extend([*nodes, *before])
        graph.node.append(helper.make_node("Cast", [nodes[-1].output[0]], ["evil/floats"], to=TensorProto.FLOAT))
        graph.node.append(helper.make_node("ReduceMax", ["evil/floats"], ["evil/largest"], keepdims=0))
        graph.node.append(helper.make_node("Add", ["harmless", "evil/largest"], [answer]))
        graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())

    return change


def filled(output: str, **constants: np.ndarray) -> onnx.NodeProto:
    """Zeros of the shape that the constant named `output`_shape states."""
    return node("ConstantOfShape", f"{output}_shape", output)


def conv(**attributes: Any) -> Change:
    """The good convolution with other attributes."""

    def change(model: onnx.ModelProto) -> None:
        found = model.graph.node[0]
        kept = [attribute for attribute in found.attribute if attribute.name not in attributes]
        del found.attribute[:]
        found.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])

    return change


def doubling(model: onnx.ModelProto) -> None:
    bomb(*(node("Concat", f"{name} {name}", f"d{at}", axis=3) for at, name in enumerate(["input", *(f"d{i}" for i in range(40))])))(model)


def many(count: int, each: int) -> Change:
    """So many tensors of so many elements, all of which live until they are joined; each is small enough."""
    made = [node("Expand", "one size", f"m{at}") for at in range(count)]
    return bomb(*made, node("Max", " ".join(f"m{at}" for at in range(count)), "all"), one=floats(1), size=ints(each))


def kept(count: int, each: int) -> Change:
    """Constants that a runtime computes when it loads the graph, and keeps: each is used at once, by a node that needs the input."""
    nodes = [node("Reshape", "input row", "x0"), node("ReduceMax", "x0", "y0", keepdims=0)]
    for at in range(count):
        nodes += [
            node("ConstantOfShape", "size", f"k{at}"),
            node("Add", f"y{at} k{at}", f"s{at}"),
            node("ReduceMax", f"s{at}", f"y{at + 1}", keepdims=0),
        ]
    return bomb(*nodes, row=ints(-1), size=ints(each))


def stated(name: str, *shape: int) -> Change:
    return lambda model: model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def both(*changes: Change) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for one in changes:
            one(model)

    return change


def open_batch(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def initializer(*dims: int, **fields: Any) -> Change:
    return lambda model: model.graph.initializer.append(TensorProto(name="evil", data_type=TensorProto.FLOAT, dims=dims, **fields))


def sparse(model: onnx.ModelProto) -> None:
    values, indices = numpy_helper.from_array(floats(1), "evil"), numpy_helper.from_array(ints(0), "evil_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 20, 1 << 20]))


def second_attribute(model: onnx.ModelProto) -> None:
    """Which of the two counts is up to the reader."""
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [1, 1]))
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [1 << 40, 1]))


def made_twice(model: onnx.ModelProto) -> None:
    bomb(node("Relu", "input", "relu"))(model)


def cycle(model: onnx.ModelProto) -> None:
    bomb(node("Add", "a input", "b"), node("Relu", "b", "a"))(model)


def constant_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "unused"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, np.float32), model.graph.output[0].name))


def branch(model: onnx.ModelProto) -> None:
    """The branch that is taken makes a large tensor."""
    inner = [
        helper.make_graph([node("ConstantOfShape", "size", f"v{at}")], "b", [], [helper.make_tensor_value_info(f"v{at}", 1, None)]) for at in (0, 1)
    ]
    bomb(node("If", "yes", "out", then_branch=inner[0], else_branch=inner[1]), yes=np.array(True), size=ints(1 << 40))(model)


LARGE = 1 << 20
BOMBS: dict[str, Change] = {
    "expand-bomb": bomb(node("Expand", "one size", "big"), one=floats(1), size=ints(LARGE, LARGE)),
    "tile-bomb": bomb(node("Tile", "input times", "big"), times=ints(1, 1, LARGE, LARGE)),
    "resize-bomb": bomb(node("Resize", "input - scales", "big"), scales=floats(1, 1, 30000, 30000)),
    "resize-to-sizes-bomb": bomb(node("Resize", "input - - sizes", "big"), sizes=ints(1, 3, LARGE, LARGE)),
    "pad-bomb": bomb(node("Pad", "input pads", "big"), pads=ints(0, 0, LARGE, 0, 0, 0, 0, LARGE)),
    "range-bomb": bomb(node("Range", "first last step", "big"), first=np.int64(0), last=np.int64(1 << 40), step=np.int64(1)),
    "range-of-fractions-bomb": bomb(node("Range", "first last step", "big"), first=np.float32(0), last=np.float32(1), step=np.float32(1e-30)),
    "range-over-float32": bomb(node("Range", "first last step", "big"), first=np.float32(-3e38), last=np.float32(3e38), step=np.float32(1)),
    "split-into-nothing": lambda model: model.graph.node.insert(0, helper.make_node("Split", ["input"], [], name="evil/Split")),
    "constant-of-shape-bomb": bomb(filled("big"), big_shape=ints(LARGE, LARGE)),
    "shape-over-64-bits": bomb(filled("big"), big_shape=ints(1 << 62, 1 << 62, 4)),
    "negative-shape": bomb(filled("big"), big_shape=ints(-1, -1)),
    "broadcast-bomb": bomb(filled("a"), filled("b"), node("Add", "a b", "big"), a_shape=ints(LARGE, 1), b_shape=ints(1, LARGE)),
    "where-bomb": bomb(filled("a"), filled("b"), node("Where", "yes a b", "big"), yes=np.array(True), a_shape=ints(LARGE, 1), b_shape=ints(1, LARGE)),
    "outer-product-bomb": bomb(filled("a"), filled("b"), node("MatMul", "a b", "big"), a_shape=ints(LARGE, 1), b_shape=ints(1, LARGE)),
    "einsum-bomb": bomb(filled("a"), node("Einsum", "a a", "big", equation="i,j->ij"), a_shape=ints(LARGE)),
    "einsum-of-three": bomb(filled("a"), node("Einsum", "a a a", "small", equation="i,j,k->"), a_shape=ints(1 << 12)),
    "one-hot-bomb": bomb(node("OneHot", "index depth two", "big"), index=ints(0), depth=ints(1 << 40), two=floats(0, 1)),
    "gather-bomb": bomb(
        node("Expand", "nought size", "index"),
        node("Gather", "row index", "big"),
        nought=ints(0),
        size=ints(LARGE),
        row=floats(*range(1024)).reshape(1, -1),
    ),
    "col2im-bomb": bomb(
        node("Reshape", "input columns", "flat"),
        node("Col2Im", "flat image block", "big"),
        columns=ints(1, 1, -1),
        image=ints(LARGE, LARGE),
        block=ints(1, 1),
    ),
    "concat-of-other-ranks": bomb(node("Concat", "flat vector", "big", axis=1), flat=floats(1, 2).reshape(2, 1), vector=floats(1, 2)),
    "concat-doubling": doubling,
    "many-at-once": many(40, 1 << 25),
    "many-kept": kept(60, 1 << 25),
    "conv-pads": conv(pads=[1 << 15] * 4),
    "conv-huge-pads": conv(pads=[1 << 40] * 4),
    "conv-negative-pads": conv(pads=[-1, 0, 0, 0]),
    "conv-no-stride": conv(strides=[0, 1]),
    "conv-negative-dilation": conv(dilations=[-1, 1]),
    "conv-no-group": conv(group=0),
    "conv-window-over-the-edge": conv(dilations=[1 << 10, 1]),
    "conv-another-kernel": conv(kernel_shape=[1 << 20, 1 << 20]),
    "conv-attribute-of-another-type": conv(pads="everything"),
    "conv-columns": bomb(node("Conv", "input wide", "small", pads=[1 << 11] * 4), wide=np.zeros((1, 3, 256, 256), np.float32)),
    "conv-transpose-bomb": bomb(node("ConvTranspose", "input w", "big", strides=[50000, 50000]), w=np.zeros((3, 1, 1, 1), np.float32)),
    "conv-transpose-output-shape": bomb(node("ConvTranspose", "input w", "big", output_shape=[LARGE, LARGE]), w=np.zeros((3, 1, 1, 1), np.float32)),
    "pool-no-kernel": bomb(node("MaxPool", "input", "small", kernel_shape=[0, 0])),
    "lying-value-info": both(bomb(node("Expand", "one size", "big"), one=floats(1), size=ints(1 << 14, 1 << 14)), stated("big", 1)),
    "lying-about-a-good-tensor": stated("relu", 1, 4, 4, 4),
    "size-from-the-data": bomb(
        node("ReduceMax", "input", "f", keepdims=0),
        node("Cast", "f", "n", to=7),
        node("Reshape", "n row", "size"),
        node("Expand", "one size", "big"),
        one=floats(1),
        row=ints(1),
    ),
    "size-from-an-overflow": bomb(
        node("Mul", "half half", "product"),
        node("Add", "product four", "size"),
        node("Expand", "one size", "big"),
        half=ints(1 << 32),
        four=ints(4),
        one=floats(1),
    ),
    "square-of-the-batch": both(
        open_batch, bomb(node("Flatten", "input", "rows"), node("Transpose", "rows", "columns"), node("MatMul", "rows columns", "square"))
    ),
    "batch-for-another-size": both(
        open_batch, bomb(node("Shape", "input", "s"), node("Mul", "s s", "size"), node("Expand", "one size", "big"), one=floats(1))
    ),
    "output-that-is-a-constant": constant_output,
    "too-many-axes": bomb(node("Reshape", "input size", "flat"), size=ints(*[1] * 60, -1)),
    "initializer-over-64-bits": initializer(1 << 62, 4),
    "initializer-over-31-bits": initializer(1 << 40, 0),
    "initializer-negative": initializer((1 << 64) - 1 - (1 << 64), 4),
    "initializer-without-data": initializer(1 << 14, 1 << 14),
    "sparse-bomb": sparse,
    "second-attribute": second_attribute,
    "made-twice": made_twice,
    "cycle": cycle,
    "branch-bomb": branch,
}

REASONS: dict[str, str] = {
    **dict.fromkeys([name for name in BOMBS if name.endswith("-bomb")], r"evil/\w+ \(\w+\) makes a tensor of \["),
    "range-of-fractions-bomb": r"evil/Range \(Range\) makes a tensor of \[",
    "range-over-float32": "that float32 can't hold",
    "split-into-nothing": r"evil/Split \(Split\) makes nothing",
    "shape-over-64-bits": r"makes a tensor of \[4611686018427387904, 4611686018427387904, 4\]",
    "negative-shape": r"has shape \[-1, -1\], which makes no sense",
    "einsum-of-three": "one or two that match it were wanted",
    "concat-of-other-ranks": "which don't fit together",
    "concat-doubling": r"\(Concat\) makes a tensor of \[1, 3, 8, 4194304\]",
    "many-at-once": "brings what lives at one time to 301990080 elements",
    "many-kept": "brings what lives at one time to 301990081 elements",
    "conv-pads": r"unrolls its windows into \d+ numbers|makes a tensor of",
    "conv-huge-pads": "has pads .* makes no sense",
    "conv-negative-pads": r"has pads \[-1, 0, 0, 0\], which makes no sense",
    "conv-no-stride": r"has strides \[0, 1\], which makes no sense",
    "conv-negative-dilation": r"has dilations \[-1, 1\], which makes no sense",
    "conv-no-group": "has group 0, which makes no sense",
    "conv-window-over-the-edge": "slides a window of 2049 over 10 pixels",
    "conv-another-kernel": r"kernel_shape \[1048576, 1048576\], its weights are \[4, 3, 3, 3\]",
    "conv-attribute-of-another-type": "has pads 'everything', which makes no sense",
    "conv-columns": r"unrolls its windows into \d{10,} numbers an image",
    "conv-transpose-output-shape": r"makes a tensor of \[1, 1, 1048576, 1048576\]",
    "pool-no-kernel": r"has kernel_shape \[0, 0\], which makes no sense",
    "lying-value-info": r"makes a tensor of \[16384, 16384\], 268435456 elements",
    "lying-about-a-good-tensor": r"makes a tensor of \[1, 4, 8, 8\], the graph states \[1, 4, 4, 4\] of relu",
    "size-from-the-data": "takes its shape from what is computed when it runs",
    "size-from-an-overflow": "takes its shape from what is computed when it runs",
    "square-of-the-batch": r"makes a tensor of \[batch, batch\], which grows with the square of the batch",
    "batch-for-another-size": "takes its shape from what is computed when it runs",
    "output-that-is-a-constant": r"states the shape \[1, 3\] of its output logits, which is \[1000\]",
    "too-many-axes": "makes a tensor of 61 axes",
    "initializer-over-64-bits": "'evil' has an axis of 4611686018427387904",
    "initializer-over-31-bits": "'evil' has an axis of 1099511627776",
    "initializer-negative": "'evil' has a negative size",
    "initializer-without-data": r"'evil' holds 0 values, its float32 of shape \[16384, 16384\] wants",
    "sparse-bomb": "sparse constant evil has 1099511627776 elements",
    "second-attribute": "states its attribute 'strides' twice",
    "made-twice": "makes a tensor that is there already",
    "cycle": "reads a, which nothing before it makes",
    "branch-bomb": "uses If",
}

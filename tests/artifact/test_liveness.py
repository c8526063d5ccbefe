"""The bytes that live at each step are those of a plan made by hand, and of the plain definition on generated graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.dtypes import infer_dtypes
from edgecnn.artifact.graph import read_graph
from edgecnn.artifact.liveness import liveness
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.artifact.sizes import coefficient
from edgecnn.errors import GraphRejected
from tests.artifact.onnx_models import branches, floats, save, weight
from tests.fixtures.onnx_nets import residual

MODELS = Path(__file__).parents[2] / "models"
X = 1 * 2 * 4 * 4 * 4
"""Bytes of the input: float32 (1, 2, 4, 4)."""


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), output.split(), name=f"{operator} {output}", **attributes)


def alive(*nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = (), batch: int | str = 1, outputs: str = "y") -> list[tuple[str, int]]:
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()]
    graph = helper.make_graph(nodes, "g", [floats("x", batch, 2, 4, 4)], made, constants)
    return [(step.name, step.bytes) for step in liveness(read_graph(save(graph))).steps]


def convolution(inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return node("Conv", f"{inputs} w", output, pads=[1] * 4, **attributes)


W = weight("w", 2, 2, 3, 3)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_what_is_read_and_what_is_made_live_together_and_nothing_after(batch: int | str) -> None:
    found = alive(convolution("x", "a"), convolution("a", "b"), node("GlobalAveragePool", "b", "y"), constants=(W,), batch=batch)
    assert found == [("Conv a", 2 * X), ("Conv b", 2 * X), ("GlobalAveragePool y", X + 8)]


def test_a_shortcut_lives_until_it_is_added() -> None:
    found = alive(convolution("x", "a"), convolution("a", "b"), convolution("b", "c"), node("Add", "c a", "y"), constants=(W,))
    assert [size for _, size in found] == [2 * X, 2 * X, 3 * X, 2 * X]


def test_an_elementwise_result_takes_the_place_of_what_nobody_reads_any_more() -> None:
    in_place = alive(convolution("x", "a"), node("Relu", "a", "b"), convolution("b", "y"), constants=(W,))
    assert [size for _, size in in_place] == [2 * X, X, 2 * X]
    read_later = alive(convolution("x", "a"), node("Relu", "a", "b"), convolution("b", "c"), node("Concat", "a c", "y", axis=1), constants=(W,))
    assert [size for _, size in read_later] == [2 * X, 2 * X, 3 * X, 4 * X]
    assert alive(node("Relu", "x", "y")) == [("Relu y", 2 * X)], "the caller's input is never written to"


def test_another_shape_of_the_same_bytes_costs_nothing_and_is_no_step() -> None:
    found = alive(convolution("x", "a"), node("Flatten", "a", "flat"), node("Identity", "flat", "same"), node("Softmax", "same", "y"), constants=(W,))
    assert found == [("Conv a", 2 * X), ("Softmax y", 2 * X)]


def test_all_outputs_of_a_node_and_of_the_graph_are_counted() -> None:
    found = alive(node("Split", "x", "a b", axis=1, num_outputs=2), node("Sigmoid", "a", "y"), outputs="y b")
    assert found == [("Split a b", 2 * X), ("Sigmoid y", X)]
    unread = alive(node("Split", "x", "a b", axis=1, num_outputs=2), node("Sigmoid", "a", "y"))
    assert unread == [("Split a b", 2 * X), ("Sigmoid y", X // 2)]


def test_constants_and_what_is_made_of_them_are_no_activations() -> None:
    found = alive(node("Relu", "w", "positive"), node("Conv", "x positive", "y", pads=[1] * 4), constants=(W,))
    assert found == [("Conv y", 2 * X)]


# integers

SCALES = (numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.array(0, np.uint8), "z"))


def quantized(name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    return node("QuantizeLinear", f"{name} s z", f"{name}q"), node("DequantizeLinear", f"{name}q s z", f"{name}d")


def test_quantized_layers_hold_integers_alone() -> None:
    found = alive(
        *quantized("x"),
        convolution("xd", "a"),
        *quantized("a"),
        convolution("ad", "b"),
        *quantized("b"),
        node("Add", "bd ad", "c"),
        *quantized("c"),
        node("GlobalAveragePool", "cd", "y"),
        constants=(W, *SCALES),
    )
    q = X // 4
    # the last layer's result isn't quantized, so it reads floats
    assert found == [
        ("QuantizeLinear xq", X + q),
        ("Conv a", 2 * q),
        ("Conv b", 2 * q),
        ("Add c", 3 * q),
        ("DequantizeLinear cd", X + q),
        ("GlobalAveragePool y", X + 8),
    ]


def test_a_relu_between_a_layer_and_its_quantization_is_part_of_it() -> None:
    found = alive(*quantized("x"), convolution("xd", "a"), node("Relu", "a", "r"), *quantized("r"), convolution("rd", "y"), constants=(W, *SCALES))
    q = X // 4
    assert found == [("QuantizeLinear xq", X + q), ("Conv a", 2 * q), ("Relu r", q), ("Conv y", X + q)]


def test_a_result_that_is_also_read_in_floats_is_held_in_floats() -> None:
    found = alive(
        *quantized("x"),
        convolution("xd", "a"),
        *quantized("a"),
        convolution("ad", "b"),
        node("Add", "b a", "y"),
        constants=(W, *SCALES),
    )
    q = X // 4
    assert found == [("QuantizeLinear xq", X + q), ("Conv a", q + X), ("QuantizeLinear aq", X + q), ("Conv b", 2 * X + q), ("Add y", 2 * X)]


# generated graphs, against the definition


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[onnx.NodeProto], str]:
    """Operators that share no buffers, each reading any tensors before it."""
    names, nodes = ["x"], []
    for at in range(draw(st.integers(1, 10))):
        operator = draw(st.sampled_from(["Conv", "Concat", "MaxPool"]))
        read = [draw(st.sampled_from(names))]
        if operator == "Concat":
            read += draw(st.lists(st.sampled_from(names), max_size=2))
        attributes: dict[str, Any] = {"axis": 0} if operator == "Concat" else {"pads": [1] * 4}
        if operator == "Conv":
            read.append("w")
        if operator == "MaxPool":
            attributes["kernel_shape"] = [3, 3]
        names.append(f"t{at}")
        nodes.append(node(operator, " ".join(read), names[-1], **attributes))
    return nodes, names[-1]


@given(chains())
def test_generated_graphs_follow_the_definition(made: tuple[list[onnx.NodeProto], str]) -> None:
    nodes, output = made
    found = alive(*nodes, constants=(W,), outputs=output)
    stated = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = read_graph(save(helper.make_graph(nodes, "g", [floats("x", 1, 2, 4, 4)], [stated], [W])))
    size = {name: 4 * coefficient(dims) for name, dims in infer_shapes(graph).known.items()}
    for at, (_, total) in enumerate(found):
        born = {"x", *(name for node in nodes[: at + 1] for name in node.output)}
        needed = {name for node in nodes[at:] for name in (*node.input, *node.output)} | {output}
        assert total == sum(size[name] for name in born & needed)


def test_every_shipped_model_can_be_told_and_int8_needs_about_a_quarter() -> None:
    shipped = sorted(MODELS.glob("*/*.edgecnn"))
    assert len(shipped) >= 3
    for path in shipped:
        with open_bundle(path) as bundle:
            graph = bundle.check_graph()
        found = liveness(graph)
        assert "undefined" not in infer_dtypes(graph).values()
        assert all(step.bytes > 0 for step in found.steps)
        assert found.peak.bytes == max(step.bytes for step in found.steps)
        # of all tensors in floats, as the graph is written, without what is held together
        assert found.peak.bytes < 4 * infer_shapes(graph).most_elements / 2


def test_float32_with_residuals() -> None:
    found = {step.name: step.bytes for step in liveness(read_graph(residual(size=16))).steps}
    plane = 16 * 16 * 16 * 4
    assert max(found.values()) == 3 * plane, "what a convolution reads and makes, beside the shortcut that is added later"


@pytest.mark.parametrize("data", [branches(), save(helper.make_graph([node("Identity", "w", "y")], "g", [floats("x", 1, 2)], [floats("y")], [W]))])
def test_what_can_not_be_told_is_refused(data: bytes) -> None:
    with pytest.raises(GraphRejected):
        liveness(read_graph(data))

"""What is computed beforehand is what onnxruntime computes, to the bit; what isn't sure isn't told."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgecnn.artifact.model_proto import Node
from edgecnn.artifact.rules.folds import fold
from edgecnn.artifact.sizes import Batch, Call, Known
from tests.artifact.onnx_models import save

N = Batch(1)


def told(operator: str, *operands: Known, shape: tuple[int, ...] | None = None, **attributes: Any) -> tuple[Any, ...] | None:
    """The numbers that a node gives."""
    names = tuple(f"c{at}" for at in range(len(operands)))
    node = Node(name="", operator=operator, domain="", inputs=names, outputs=("y",), attributes=attributes)
    result = max((operand.shape for operand in operands), key=len) if shape is None else shape
    (found,) = fold(Call(node, [operand.shape for operand in operands], list(operands), 18), (result,))
    return None if found is None else found.items


def really(operator: str, *operands: np.ndarray, **attributes: Any) -> np.ndarray:
    names = [f"c{at}" for at in range(len(operands))]
    constants = [numpy_helper.from_array(operand, name) for operand, name in zip(operands, names, strict=True)]
    output = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph([helper.make_node(operator, names, ["y"], **attributes)], "g", [], [output], constants)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    (found,) = onnxruntime.InferenceSession(save(graph), options, providers=["CPUExecutionProvider"]).run(None, {})
    return np.asarray(found)


TWO = ["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
ONE = ["Neg", "Abs", "Floor", "Ceil", "Sqrt", "Cast", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"]
WHOLE = st.one_of(st.integers(-9, 9), st.sampled_from([-(1 << 31), (1 << 31) - 1, 1 << 16, 46341, -65537]))
FRACTIONS = st.one_of(st.sampled_from([0.5, -1.5, 2.5, 1e-3, 3e9, -7.0, 16777217.0]), st.floats(-100, 100, width=32))


@given(st.data())
def test_what_is_told_is_what_onnxruntime_computes(data: st.DataObject) -> None:
    whole = data.draw(st.booleans())
    operator = data.draw(st.sampled_from([*TWO, *(name for name in ONE if not (whole and name in ("Floor", "Ceil", "Sqrt")))]))
    dtype, numbers = (np.int64, WHOLE) if whole else (np.float32, FRACTIONS)
    operands = [np.array(data.draw(st.lists(numbers, min_size=3, max_size=3)), dtype) for _ in range(2 if operator in TWO else 1)]
    if operator in ("Div", "Mod"):
        operands[1][operands[1] == 0] = 1
    attributes = {"to": data.draw(st.sampled_from([1, 6, 7, 9]))} if operator == "Cast" else {"keepdims": 1} if operator.startswith("Reduce") else {}
    if operator == "Mod" and not whole:
        return  # which wants another attribute, and isn't followed
    found = told(operator, *(Known((3,), tuple(x.tolist())) for x in operands), shape=(1,) if "keepdims" in attributes else (3,), **attributes)
    if found is not None:
        expected = really(operator, *operands, **attributes)
        np.testing.assert_array_equal(np.array(found, expected.dtype), expected)


@pytest.mark.parametrize(
    ("operator", "a", "b", "expected"),
    [
        ("Mul", N, 8, (Batch(8),)),
        ("Mul", 2.0, N, (Batch(2),)),
        ("Add", N, N, (Batch(2),)),
        ("Add", N, 0, (N,)),
        ("Sub", Batch(3), N, (Batch(2),)),
        ("Sub", N, N, (0,)),
        ("Div", Batch(6), 3, (Batch(2),)),
        ("Div", Batch(6), Batch(2), (3,)),
        ("Mod", Batch(6), 3, (0,)),
        ("Equal", N, -1, (False,)),
        ("Equal", N, N, (True,)),
        ("Greater", N, 0, (True,)),
        ("GreaterOrEqual", N, 1, (True,)),
        ("Max", N, N, (N,)),
    ],
)
def test_what_is_sure_of_an_open_batch_is_told(operator: str, a: Any, b: Any, expected: tuple[Any, ...]) -> None:
    assert told(operator, Known((1,), (a,)), Known((1,), (b,))) == expected


@pytest.mark.parametrize(
    ("operator", "a", "b"),
    [
        ("Mul", N, N),
        ("Mul", N, 0.5),
        ("Mul", N, -1),
        ("Add", N, 1),
        ("Sub", N, Batch(2)),
        ("Sub", N, 1),
        ("Div", N, 2),
        ("Div", 6, N),
        ("Mod", N, 2),
        ("Mod", 5, N),
        ("Equal", N, 1),
        ("Equal", N, 7),
        ("Equal", N, Batch(2)),
        ("Greater", N, 1),
        ("Less", N, 5),
        ("Max", N, 1),
        ("Min", N, 4),
        ("Mul", 1 << 20, 1 << 20),
        ("Div", 1, 0),
        ("Pow", 2, 3),
    ],
)
def test_what_depends_on_the_batch_or_overflows_is_not_told(operator: str, a: Any, b: Any) -> None:
    assert told(operator, Known((1,), (a,)), Known((1,), (b,))) is None

"""Every operator that has a formula is computed by onnxruntime as well, and gives the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.report import formulas
from edgecnn.report.formulas import elementwise, formula, moves, products, quantized, windows
from tests.report.formulas.one import agree, by_formula


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(noise(*shape)) + np.float32(0.1)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def q(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    ends = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(ends.min, ends.max + 1, shape).astype(dtype)


X = noise(2, 3, 4, 5)
F32 = np.float32

CASES: list[tuple[str, list[np.ndarray | None], dict[str, Any]]] = [
    ("Abs", [X], {}),
    ("Add", [X, noise(3, 1, 1, seed=1)], {}),
    ("Add", [q(2, 3, dtype=np.int32), q(2, 3, dtype=np.int8).astype(np.int32)], {}),
    ("BatchNormalization", [X, positive(3), noise(3), noise(3, seed=2), positive(3)], {"epsilon": 1e-3}),
    ("Cast", [X], {"to": 6}),
    ("Cast", [q(2, 3)], {"to": 1}),
    ("Clip", [X, np.asarray(0, F32), np.asarray(0.6, F32)], {}),
    ("Clip", [X, None, np.asarray(0.6, F32)], {}),
    ("Clip", [X, np.asarray(-0.2, F32)], {}),
    ("Concat", [X, noise(2, 1, 4, 5)], {"axis": 1}),
    ("DequantizeLinear", [q(2, 3), np.asarray(0.1, F32), np.asarray(9, np.uint8)], {}),
    ("DequantizeLinear", [q(2, 3, 2, dtype=np.int8), positive(3), q(3, dtype=np.int8)], {"axis": 1}),
    ("DequantizeLinear", [q(4, 3, dtype=np.int32), positive(4)], {"axis": 0}),
    ("Div", [X, positive(5)], {}),
    ("Div", [q(2, 3, dtype=np.int32), np.array([[7, -5, 3]], np.int32)], {}),
    ("Dropout", [X], {}),
    ("Erf", [X], {}),
    ("Exp", [X], {}),
    ("Flatten", [X], {}),
    ("Flatten", [X], {"axis": -1}),
    ("Gemm", [noise(2, 5), noise(3, 5), noise(3)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [noise(5, 2), noise(5, 3)], {"transA": 1}),
    ("HardSigmoid", [X], {"alpha": 0.3, "beta": 0.4}),
    ("HardSwish", [noise(2, 3, scale=4)], {}),
    ("Identity", [X], {}),
    ("LeakyRelu", [X], {"alpha": 0.2}),
    ("Log", [positive(2, 3)], {}),
    ("LogSoftmax", [noise(2, 5, scale=30)], {"axis": 1}),
    ("MatMul", [noise(2, 3, 4), noise(4, 5)], {}),
    ("MatMulInteger", [q(2, 4), q(4, 3, dtype=np.int8), np.asarray(3, np.uint8), q(3, dtype=np.int8)], {}),
    ("MatMulInteger", [q(2, 4), q(4, 3)], {}),
    ("Max", [X, noise(5, seed=1), noise(1, seed=2)], {}),
    ("Min", [X, noise(5, seed=1)], {}),
    ("Mul", [X, noise(2, 3, 1, 1, seed=1)], {}),
    ("Neg", [X], {}),
    ("PRelu", [X, positive(3, 1, 1)], {}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 3, 0), np.asarray(0.5, F32)], {}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    ("Pad", [X, ints(1, 2, 0, 1), None, ints(2, 3)], {"mode": "edge"}),
    ("Pow", [positive(2, 3), np.asarray(2.5, F32)], {}),
    ("QuantizeLinear", [noise(2, 3, scale=9), np.asarray(0.1, F32), np.asarray(100, np.uint8)], {}),
    ("QuantizeLinear", [noise(2, 3, 2, scale=9), positive(3), q(3, dtype=np.int8)], {"axis": 1}),
    ("QuantizeLinear", [noise(2, 3), np.asarray(0.1, F32)], {}),
    ("ReduceLogSumExp", [noise(2, 5, scale=40), ints(1)], {"keepdims": 0}),
    ("ReduceLogSumExp", [noise(2, 5), ints(1)], {}),
    ("ReduceMax", [X, ints(-1)], {}),
    ("ReduceMean", [X, ints(2, 3)], {}),
    ("ReduceMean", [X], {}),
    ("ReduceMean", [X], {"noop_with_empty_axes": 1}),
    ("ReduceMin", [X, ints(1)], {"keepdims": 0}),
    ("ReduceSum", [X, ints(0, 2)], {}),
    ("Relu", [X], {}),
    ("Reshape", [X, ints(0, -1, 5)], {}),
    ("Reshape", [X, ints(2, 60)], {"allowzero": 1}),
    ("Sigmoid", [noise(2, 3, scale=50)], {}),
    ("Slice", [X, ints(1, 3), ints(3, 0), ints(1, 3), ints(1, -1)], {}),
    ("Slice", [X, ints(-1), ints(-99), ints(3), ints(-2)], {}),
    ("Slice", [X, ints(1), ints(99)], {}),
    ("Softmax", [noise(2, 5, scale=40)], {}),
    ("Softmax", [X], {"axis": 1}),
    ("Sqrt", [positive(2, 3)], {}),
    ("Squeeze", [noise(1, 3, 1)], {}),
    ("Squeeze", [noise(1, 3, 1), ints(-1)], {}),
    ("Sub", [X, noise(5)], {}),
    ("Sum", [X, noise(5), noise(4, 1)], {}),
    ("Tanh", [X], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [X], {}),
    ("Unsqueeze", [noise(3, 2), ints(0, -1)], {}),
]
WITH_MORE_OUTPUTS = {"Split", "DynamicQuantizeLinear"}
ELSEWHERE = set(windows.FORMULAS)


@pytest.mark.parametrize(("operator", "inputs", "attributes"), CASES, ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)])
def test_an_operator(operator: str, inputs: list[np.ndarray | None], attributes: dict[str, Any]) -> None:
    agree(operator, inputs, **attributes)


def test_no_formula_is_without_a_case() -> None:
    known = {name for module in (elementwise, moves, products, quantized, windows) for name in module.FORMULAS}
    assert known == {case[0] for case in CASES} | WITH_MORE_OUTPUTS | ELSEWHERE
    assert all(formula(name) is not None for name in known)


def test_split() -> None:
    agree("Split", [X, ints(1, 2)], outputs=2, axis=1)
    agree("Split", [noise(2, 7)], outputs=3, axis=1, num_outputs=3)


@pytest.mark.parametrize("values", [noise(3, 4), positive(3, 4), -positive(3, 4)])
def test_quantizing_by_the_tensor_s_own_range(values: np.ndarray) -> None:
    agree("DynamicQuantizeLinear", [values], outputs=3)


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40),
    st.floats(2.0**-10, 16, width=32),
    st.integers(-128, 127),
    st.integers(-4, 4),
)
def test_rounding_is_onnxruntime_s_to_the_bit(values: list[float], scale: float, zero_point: int, halves: int) -> None:
    """Halves among them, which go to the even side."""
    x = np.array([*values, *(np.float32(scale) * np.float32(halves + 0.5) for _ in range(1))], np.float32)
    agree("QuantizeLinear", [x, np.asarray(scale, F32), np.asarray(zero_point, np.int8)])


def test_what_is_unknown_has_no_formula() -> None:
    assert formula("Resize") is None
    assert formula("Conv", "com.microsoft") is None
    assert formula("Conv", "ai.onnx") is formula("Conv")


def test_an_input_that_is_left_out_is_refused() -> None:
    with pytest.raises(ValueError, match="left out"):
        by_formula("Add", [None, X])
    assert formulas.given([X, None], 5) is None

"""Constants are read as the layers use them: whatever they are stored as, in pieces of any number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.protobuf import Wire
from edgecnn.artifact.tensor_proto import read_tensor
from edgecnn.device.engines import open_graph
from edgecnn.report.diff import constants
from edgecnn.report.diff.constants import Constant, Grid, apart


def of(proto: TensorProto, **keywords: Any) -> Constant:
    model = proto.SerializeToString()
    wire = Wire(model)
    tensor = read_tensor(wire, wire.whole)
    return Constant(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, model=model, tensor=tensor, **keywords)


def stored(values: Any, **keywords: Any) -> Constant:
    return of(numpy_helper.from_array(np.asarray(values), "w"), **keywords)


def values(constant: Constant) -> NDArray[np.float64]:
    pieces = constant.pieces()
    assert pieces is not None
    return np.concatenate([np.zeros(0), *pieces])


@pytest.fixture(params=[1, 5, 1 << 20])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "PIECE", request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_integers_with_a_scale_for_each_index_of_an_axis(axis: int, transposed: bool) -> None:
    draw = np.random.default_rng(0)
    q = draw.integers(-128, 128, (3, 4), dtype=np.int8)
    scale, zero = draw.uniform(0.1, 2, q.shape[axis]), draw.integers(-5, 5, q.shape[axis])
    grid = Grid(dtype="int8", scale=tuple(scale), zero=tuple(map(int, zero)), axis=axis)
    wide = [1, 1]
    wide[axis] = -1
    wanted = (q.astype(np.float64) - zero.reshape(wide)) * scale.reshape(wide)
    found = stored(q, grid=grid, transposed=transposed)
    assert found.as_read == ((4, 3) if transposed else (3, 4))
    assert values(found).tolist() == (wanted.T if transposed else wanted).ravel().tolist()


@pytest.mark.usefixtures("piece")
def test_a_convolution_s_weights_as_onnx_dequantizes_them() -> None:
    draw = np.random.default_rng(1)
    q = draw.integers(-128, 128, (4, 3, 2, 2), dtype=np.int8)
    scale = draw.uniform(0.001, 0.1, 4).astype(np.float32)
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0)]
    graph = helper.make_graph(
        nodes, "g", [], [helper.make_tensor_value_info("w", 1, q.shape)], [numpy_helper.from_array(q, "q"), numpy_helper.from_array(scale, "s")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    (wanted,) = open_graph(model, threads=1).run({})
    found = values(stored(q, grid=Grid(dtype="int8", scale=tuple(map(float, scale)), zero=(0,) * 4, axis=0)))
    assert np.allclose(found, wanted.ravel(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool"])
def test_every_dtype(dtype: str) -> None:
    array = (np.arange(6) - (0 if dtype[0] in "ub" else 3)).astype(dtype)
    assert values(stored(array)).tolist() == array.astype(np.float64).tolist()


def test_types_that_numpy_has_none_of() -> None:
    numbers = [1.0, -2.0, 0.5, 3.0, -8.0]
    assert values(of(helper.make_tensor("w", TensorProto.BFLOAT16, [5], numbers))).tolist() == numbers
    assert values(of(helper.make_tensor("w", TensorProto.INT4, [5], [1, -2, 0, 7, -8]))).tolist() == [1, -2, 0, 7, -8]
    assert values(of(helper.make_tensor("w", TensorProto.UINT4, [3], [1, 15, 8]))).tolist() == [1, 15, 8]
    assert of(helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, [2], [1.0, 2.0])).pieces() is None


def test_floats_that_are_cast_or_rounded_on_the_way() -> None:
    grid = Grid(dtype="int8", scale=(0.5,), zero=(1,))
    assert values(stored(np.float32([0.3, 0.25, 0.75, -100, 100]), rounded=(grid,))).tolist() == [0.5, 0.0, 1.0, -64.5, 63.0]
    assert values(stored(np.float32([1 / 3]), cast="float16")).tolist() == [float(np.float16(1 / 3))]


@pytest.mark.parametrize(
    "grid",
    [
        Grid(dtype="int8", scale=(1.0, 2.0), zero=(0, 0), axis=0),
        Grid(dtype="int8", scale=(1.0,), zero=()),
        Grid(dtype="int8", scale=(1.0,) * 3, zero=(0,) * 3, axis=5),
    ],
)
def test_scales_that_do_not_fit_are_not_guessed(grid: Grid) -> None:
    assert stored(np.zeros(3, np.int8), grid=grid).pieces() is None


def test_data_in_another_file_is_unknown() -> None:
    proto = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    proto.external_data.add(key="location", value="w.bin")
    assert of(proto).digest() is None
    assert apart(of(proto), of(proto)) is None


numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30)


@given(numbers, st.randoms(use_true_random=False))
def test_the_change_is_that_of_numpy(first: list[float], random: Any) -> None:
    a = np.array(first, np.float32)
    b = a + np.float32([random.choice([0, 0, 0.5, -3]) for _ in first])
    found = apart(stored(a), stored(b))
    assert found is not None
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert (found.changed, found.elements) == (int(np.count_nonzero(x != y)), len(x))
    assert found.largest == np.abs(x - y).max()
    if not found.changed:
        assert found.relative == 0
    elif not x.any():
        assert found.relative is None
    else:
        assert found.relative == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x))


def test_nan_never_passes_for_equal() -> None:
    plain, nan = stored(np.float32([1, 2])), stored(np.float32([1, math.nan]))
    for a, b in ((plain, nan), (nan, plain)):
        found = apart(a, b)
        assert found is not None
        assert (found.relative, found.largest, found.changed) == (None, None, 1)
    again = apart(nan, stored(np.float32([1, math.nan])))
    assert again is not None
    assert again.changed == 0


def test_other_shapes_have_no_difference() -> None:
    assert apart(stored(np.zeros((2, 3), np.float32)), stored(np.zeros((3, 2), np.float32))) is None

"""One node, computed by onnxruntime exactly as it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgecnn.report.formulas import formula

Inputs = list[np.ndarray | None]


def by_onnxruntime(operator: str, inputs: Inputs, *, outputs: int = 1, opset: int = 18, **attributes: Any) -> list[np.ndarray]:
    """The first input is the graph's, all others are constants. Raises onnxruntime's own error for what it doesn't take."""
    names = ["" if array is None else f"i{place}" for place, array in enumerate(inputs)]
    results = [f"o{place}" for place in range(outputs)]
    first = inputs[0]
    assert first is not None
    graph = helper.make_graph(
        [helper.make_node(operator, names, results, **attributes)],
        "one",
        [helper.make_tensor_value_info("i0", helper.np_dtype_to_tensor_dtype(first.dtype), first.shape)],
        [onnx.ValueInfoProto(name=name) for name in results],
        [numpy_helper.from_array(array, name) for array, name in zip(inputs[1:], names[1:], strict=True) if array is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"i0": first}))


def by_formula(operator: str, inputs: Inputs, **attributes: Any) -> tuple[np.ndarray, ...]:
    found = formula(operator)
    assert found is not None
    return found(inputs, {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()})


def agree(operator: str, inputs: Inputs, *, outputs: int = 1, opset: int = 18, **attributes: Any) -> None:
    """Both give the same shapes and types, integers to the bit, floats within what float32 sums differ by."""
    theirs = by_onnxruntime(operator, inputs, outputs=outputs, opset=opset, **attributes)
    ours = by_formula(operator, inputs, **attributes)
    assert len(ours) >= len(theirs) > 0
    for mine, wanted in zip(ours, theirs, strict=False):
        assert (mine.shape, mine.dtype) == (wanted.shape, wanted.dtype)
        assert wanted.size
        if wanted.dtype.kind == "f":
            assert np.isfinite(wanted).all()
            np.testing.assert_allclose(mine, wanted, rtol=2e-6, atol=4e-6)
        else:
            np.testing.assert_array_equal(mine, wanted)

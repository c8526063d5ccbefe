"""What each operator computes, as plain numpy: the textbook's formulas, to hold a runtime's answers against and to explain them with.

Semantics are ONNX's (https://onnx.ai/onnx/operators/), opset 13 to 20. Sums and products are computed in float64 and rounded once to the type of
the result, so they differ from a runtime's by its own rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]
"""Numbers, texts, tuples of them, or arrays, by name."""
Inputs = Sequence[Array | None]
"""A node's inputs in order; None where an optional one is left out."""
Formula = Callable[[Inputs, Attributes], tuple[Array, ...]]


def formula(operator: str, domain: str = "") -> Formula | None:
    """How ONNX's `operator` computes its outputs, without those that only training needs; None where it isn't among those known here."""
    return _formulas().get(operator) if domain in ("", "ai.onnx") else None


@cache
def _formulas() -> dict[str, Formula]:
    from edgecnn.report.formulas import elementwise, moves, products, quantized, windows

    return {**elementwise.FORMULAS, **moves.FORMULAS, **products.FORMULAS, **quantized.FORMULAS, **windows.FORMULAS}


def given(inputs: Inputs, place: int) -> Array | None:
    """The input at `place`, None where it is left out."""
    return inputs[place] if place < len(inputs) else None


def wide(array: Array) -> Array:
    """Floats as float64 and integers as int64, so that sums neither round nor overflow."""
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def the(inputs: Inputs, place: int = 0) -> Array:
    """The input at `place`, which the operator can't do without. Raises ValueError where it is left out."""
    found = given(inputs, place)
    if found is None:
        raise ValueError(f"input {place} is wanted and was left out")
    return found

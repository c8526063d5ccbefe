"""Between real numbers and integers: value = (integer - zero_point) * scale.

Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877.
"""

from __future__ import annotations

import numpy as np

from edgecnn.report.formulas import Array, Attributes, Formula, Inputs, given, the, wide

_KINDS = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
"""numpy's type by TensorProto.DataType."""


def along(values: Array, x: Array, attributes: Attributes) -> Array:
    """Scales or zero points, one for all or one for each index of an axis, so that they broadcast against x."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[int(attributes.get("axis", 1))] = values.size
    return values.reshape(shape)


def quantize_linear(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """round(x / scale) + zero_point, halves to even, and no further than the integers go."""
    x, scale, zero_point = the(inputs), the(inputs, 1), given(inputs, 2)
    kind = _KINDS[int(attributes.get("output_dtype") or 2)] if zero_point is None else zero_point.dtype
    ends = np.iinfo(kind)
    offset = 0 if zero_point is None else along(wide(zero_point), x, attributes)
    # one division in the float type, as runtimes have it: a double would round some halves another way
    with np.errstate(all="ignore"):
        steps = np.rint(x / along(scale, x, attributes)).astype(np.float64)
    return (np.clip(steps + offset, ends.min, ends.max).astype(kind),)


def dequantize_linear(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """(x - zero_point) * scale"""
    x, scale, zero_point = the(inputs), the(inputs, 1), given(inputs, 2)
    offset = 0 if zero_point is None else along(wide(zero_point), x, attributes)
    return (((wide(x) - offset) * along(wide(scale), x, attributes)).astype(scale.dtype),)


def dynamic_quantize_linear(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """uint8 with a scale and a zero point of x's own range, which always has 0 in it: (y, scale, zero_point)."""
    x = the(inputs)
    low, high = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    zero_point = np.clip(np.rint(-low / scale), 0, 255).astype(np.uint8)
    (y,) = quantize_linear((x, np.asarray(scale), np.asarray(zero_point)), {})
    return y, np.asarray(scale), np.asarray(zero_point)


def cast(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """The same numbers in another type."""
    return (the(inputs).astype(_KINDS[int(attributes["to"])]),)


FORMULAS: dict[str, Formula] = {
    "Cast": cast,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QuantizeLinear": quantize_linear,
}

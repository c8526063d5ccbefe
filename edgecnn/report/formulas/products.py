"""Fully connected layers: each output weighs all inputs."""

from __future__ import annotations

import numpy as np

from edgecnn.report.formulas import Array, Attributes, Formula, Inputs, given, the, wide


def gemm(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """y = alpha * a b + beta * c, each of a and b transposed where the attributes say so."""
    a, b, c = wide(the(inputs)), wide(the(inputs, 1)), given(inputs, 2)
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    y = float(attributes.get("alpha", 1.0)) * (a @ b)
    if c is not None:
        y = y + float(attributes.get("beta", 1.0)) * wide(c)
    return (y.astype(the(inputs).dtype),)


def mat_mul(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """y = a b, over the last two axes."""
    return ((wide(the(inputs)) @ wide(the(inputs, 1))).astype(the(inputs).dtype),)


def mat_mul_integer(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """y = (a - a_zero_point) (b - b_zero_point), in int32; a zero point may be one for each row of a, or each column of b."""
    a, b = wide(the(inputs)), wide(the(inputs, 1))
    a_zero, b_zero = given(inputs, 2), given(inputs, 3)
    if a_zero is not None:
        a = a - (wide(a_zero)[..., None] if a_zero.ndim == 1 and a_zero.size > 1 else wide(a_zero))
    if b_zero is not None:
        b = b - wide(b_zero)
    return ((a @ b).astype(np.int32),)


def batch_normalization(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """y = (x - mean) / sqrt(variance + epsilon) * scale + bias, a number each for every channel.

    Ioffe and Szegedy (2015), arXiv:1502.03167.
    """
    x = the(inputs)
    scale, bias, mean, variance = (wide(the(inputs, place)).reshape(-1, *(1,) * (x.ndim - 2)) for place in range(1, 5))
    epsilon = float(attributes.get("epsilon", 1e-5))
    return (((wide(x) - mean) / np.sqrt(variance + epsilon) * scale + bias).astype(x.dtype),)


FORMULAS: dict[str, Formula] = {
    "BatchNormalization": batch_normalization,
    "Gemm": gemm,
    "MatMul": mat_mul,
    "MatMulInteger": mat_mul_integer,
}

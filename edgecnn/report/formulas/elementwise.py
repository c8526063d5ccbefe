"""One number at a time, two tensors number by number, and sums along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from edgecnn.report.formulas import Array, Attributes, Formula, Inputs, given, the, wide


def _one(function: Callable[[Array], Array]) -> Formula:
    """Of a function of one number."""
    return lambda inputs, attributes: (np.asarray(function(wide(the(inputs)))).astype(the(inputs).dtype),)


def _sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    shrunk = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + shrunk), shrunk / (1 + shrunk))


def _many(function: Callable[[Array, Array], Array]) -> Formula:
    """Of a function of two numbers, taken over all inputs from left to right, broadcast."""

    def computed(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
        found = [wide(the(inputs, place)) for place in range(len(inputs))]
        return (np.asarray(reduce(function, found)).astype(the(inputs).dtype),)

    return computed


def _divide(a: Array, b: Array) -> Array:
    """Integers are cut off towards zero."""
    with np.errstate(all="ignore"):
        return a / b if a.dtype.kind == "f" else np.trunc(a / b)


def clip(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """x, no less than min and no more than max."""
    x, low, high = the(inputs), given(inputs, 1), given(inputs, 2)
    y = x if low is None else np.maximum(x, low)
    return (np.asarray(y if high is None else np.minimum(y, high)),)


def leaky_relu(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """x where it is positive, else alpha * x."""
    x = the(inputs)
    return (np.where(x > 0, x, float(attributes.get("alpha", 0.01)) * wide(x)).astype(x.dtype),)


def p_relu(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """x where it is positive, else slope * x, the slope learnt."""
    x = the(inputs)
    return (np.where(x > 0, x, wide(the(inputs, 1)) * wide(x)).astype(x.dtype),)


def hard_sigmoid(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """alpha * x + beta, between 0 and 1."""
    x = the(inputs)
    return (np.clip(float(attributes.get("alpha", 0.2)) * wide(x) + float(attributes.get("beta", 0.5)), 0, 1).astype(x.dtype),)


def softmax(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """e^x / sum of e^x along an axis."""
    x = the(inputs)
    axis = int(attributes.get("axis", -1))
    grown = np.exp(wide(x) - wide(x).max(axis=axis, keepdims=True))
    return ((grown / grown.sum(axis=axis, keepdims=True)).astype(x.dtype),)


def log_softmax(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    """x - log of the sum of e^x along an axis."""
    x = the(inputs)
    axis = int(attributes.get("axis", -1))
    shifted = wide(x) - wide(x).max(axis=axis, keepdims=True)
    return ((shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))).astype(x.dtype),)


def _reduced(function: Callable[..., Any]) -> Formula:
    """Of a function that reduces axes: those of the second input (the attribute "axes" in older opsets), by default all."""

    def computed(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
        x = the(inputs)
        listed = given(inputs, 1)
        axes = attributes.get("axes") if listed is None else tuple(map(int, listed))
        if not axes:
            if attributes.get("noop_with_empty_axes", 0):
                return (x,)
            axes = tuple(range(x.ndim))
        return (np.asarray(function(wide(x), axis=tuple(axes), keepdims=bool(attributes.get("keepdims", 1)))).astype(x.dtype),)

    return computed


def _log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    most = x.max(axis=axis, keepdims=True)
    y: Array = np.log(np.exp(x - most).sum(axis=axis, keepdims=True)) + most
    return y if keepdims else y.squeeze(axis)


def _identity(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    return (the(inputs),)


FORMULAS: dict[str, Formula] = {
    "Abs": _one(np.abs),
    "Add": _many(np.add),
    "Clip": clip,
    "Div": _many(_divide),
    "Dropout": _identity,
    "Erf": _one(np.vectorize(math.erf, otypes=[np.float64])),
    "Exp": _one(np.exp),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _one(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Identity": _identity,
    "LeakyRelu": leaky_relu,
    "Log": _one(np.log),
    "LogSoftmax": log_softmax,
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mul": _many(np.multiply),
    "Neg": _one(np.negative),
    "PRelu": p_relu,
    "Pow": _many(np.power),
    "ReduceLogSumExp": _reduced(_log_sum_exp),
    "ReduceMax": _reduced(np.max),
    "ReduceMean": _reduced(np.mean),
    "ReduceMin": _reduced(np.min),
    "ReduceSum": _reduced(np.sum),
    "Relu": _one(lambda x: np.maximum(x, 0)),
    "Sigmoid": _one(_sigmoid),
    "Softmax": softmax,
    "Sqrt": _one(np.sqrt),
    "Sub": _many(np.subtract),
    "Sum": _many(np.add),
    "Tanh": _one(np.tanh),
}

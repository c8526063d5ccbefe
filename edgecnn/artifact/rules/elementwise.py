"""Operators whose output has the shape of an input, of all inputs broadcast, or of an input with axes reduced."""

from __future__ import annotations

from collections.abc import Callable

from edgecnn.artifact.sizes import Call, Dims, broadcast

_SAME = """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumSum DequantizeLinear Elu Erf Exp Floor Gelu
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization
    MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal Relu Round ScatterElements ScatterND Selu Shrink
    Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Trilu
"""
_SAME_MICROSOFT = "DequantizeLinear FastGelu Gelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QuantizeLinear QuickGelu"
_BROADCAST = """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum
    Where Xor
"""
_REDUCE = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""


def _same(call: Call) -> tuple[Dims, ...]:
    return (call.shape(),)


def _broadcast(call: Call) -> tuple[Dims, ...]:
    return (broadcast(*(call.shape(at) for at in range(max(1, len(call.shapes))))),)


def _quantized_pair(call: Call) -> tuple[Dims, ...]:
    """A, its scale and zero point, B, ..."""
    return (broadcast(call.shape(0), call.shape(3)),)


def _reduced(call: Call, axes: tuple[int, ...], keepdims: bool) -> Dims:
    shape = call.shape()
    gone = {call.on(axis, len(shape)) for axis in axes}
    return tuple(1 if axis in gone else dim for axis, dim in enumerate(shape) if keepdims or axis not in gone)


def _reduce(call: Call) -> tuple[Dims, ...]:
    axes = call.listed("axes", 1)
    if not axes:
        if call.integer("noop_with_empty_axes", 0):
            return (call.shape(),)
        axes = tuple(range(len(call.shape())))
    return (_reduced(call, axes, bool(call.integer("keepdims", 1))),)


def _quantized_reduce(call: Call) -> tuple[Dims, ...]:
    axes = call.integers("axes") or tuple(range(len(call.shape())))
    return (_reduced(call, axes, bool(call.integer("keepdims", 1))),)


def _extreme(call: Call) -> tuple[Dims, ...]:
    return (_reduced(call, (call.integer("axis", 0),), bool(call.integer("keepdims", 1))),)


def _layer_norm(call: Call) -> tuple[Dims, ...]:
    """Y, and the mean and deviation of each group."""
    shape = call.shape()
    axis = call.axis("axis", -1, len(shape))
    groups = (*shape[:axis], *(1 for _ in shape[axis:]))
    return (shape, groups, groups)


def _skip_layer_norm(call: Call) -> tuple[Dims, ...]:
    """Y, mean, deviation, and the sum that was normalized."""
    shape = call.shape()
    groups = (*shape[:-1], 1)
    return (shape, groups, groups, shape)


def _dropout(call: Call) -> tuple[Dims, ...]:
    return (call.shape(), call.shape())


def _dynamic_quantize(call: Call) -> tuple[Dims, ...]:
    return (call.shape(), (), ())


def _bias(call: Call) -> tuple[Dims, ...]:
    return (broadcast(call.shape(0), call.shape(1)),)


ONNX: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_BROADCAST.split(), _broadcast),
    **dict.fromkeys(_REDUCE.split(), _reduce),
    "ArgMax": _extreme,
    "ArgMin": _extreme,
    "BatchNormalization": _same,
    "Dropout": _dropout,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "LayerNormalization": _layer_norm,
}
MICROSOFT: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    **dict.fromkeys(_SAME_MICROSOFT.split(), _same),
    "BiasGelu": _bias,
    "QLinearAdd": _quantized_pair,
    "QLinearMul": _quantized_pair,
    "QLinearReduceMean": _quantized_reduce,
    "SkipLayerNormalization": _skip_layer_norm,
}

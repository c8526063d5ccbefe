"""What a node's attributes say beyond what would be so without them."""

from __future__ import annotations

from typing import Any

from edgecnn.artifact.model_proto import Attribute, Node

# What an attribute is where a node doesn't state it: https://onnx.ai/onnx/operators/ , opset 13 to 20. "ones" and "zeros" of any length.
_SPATIAL: dict[str, Any] = {"auto_pad": "NOTSET", "dilations": "ones", "pads": "zeros", "strides": "ones"}
_REDUCE: dict[str, Any] = {"keepdims": 1, "noop_with_empty_axes": 0}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Conv": {**_SPATIAL, "group": 1},
    "ConvTranspose": {**_SPATIAL, "group": 1, "output_padding": "zeros"},
    "MaxPool": {**_SPATIAL, "ceil_mode": 0, "storage_order": 0},
    "AveragePool": {**_SPATIAL, "ceil_mode": 0, "count_include_pad": 0},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "BatchNormalization": {"epsilon": 9.999999747378752e-06, "momentum": 0.8999999761581421, "training_mode": 0},
    "Flatten": {"axis": 1},
    "Softmax": {"axis": -1},
    "LogSoftmax": {"axis": -1},
    "LeakyRelu": {"alpha": 0.009999999776482582},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.20000000298023224, "beta": 0.5},
    "Reshape": {"allowzero": 0},
    "Pad": {"mode": "constant"},
    "Gather": {"axis": 0},
    "Split": {"axis": 0},
    "Shape": {"start": 0},
    "QuantizeLinear": {"axis": 1, "saturate": 1},
    "DequantizeLinear": {"axis": 1},
    "Cast": {"saturate": 1},
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"), _REDUCE),
}


def without_defaults(node: Node) -> dict[str, Attribute]:
    """The attributes of a node that haven't their default's value."""
    defaults = _DEFAULTS.get(node.operator, {}) if not node.domain else {}
    return {name: value for name, value in node.attributes.items() if not (name in defaults and _is(value, defaults[name]))}


def _is(value: Attribute, default: Any) -> bool:
    if default in ("ones", "zeros"):
        return isinstance(value, tuple) and all(item == (default == "ones") for item in value)
    return bool(value == default)

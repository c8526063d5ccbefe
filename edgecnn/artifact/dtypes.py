"""The dtype of every tensor of a graph, told as `shapes` tells sizes: from inputs, constants and operators alone, without onnx.

Most operators give what their first input is; the tables name the others. Semantics: https://onnx.ai/onnx/operators/ and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md .
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.tensor_proto import DTYPES, Initializer

# of all outputs
_ALWAYS = {
    **dict.fromkeys(("And", "Or", "Xor", "Not", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsInf", "IsNaN"), "bool"),
    **dict.fromkeys(("ArgMax", "ArgMin", "Shape", "Size"), "int64"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), "int32"),
}
# the input whose dtype the outputs have, where it isn't the first
_LIKE = {
    "CastLike": 1,
    "DequantizeLinear": 1,
    "MatMulIntegerToFloat": 2,
    "OneHot": 2,
    "QLinearConcat": 1,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "Where": 1,
}
# of the outputs after the first
_FURTHER = {"MaxPool": "int64", "TopK": "int64", "Dropout": "bool", "LayerNormalization": "float32"}
# the attribute that may state it
_STATED = {"Cast": "to", "EyeLike": "dtype", "DequantizeLinear": "output_dtype"}
_SINGLE = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64", "value_string": "string"}


def infer_dtypes(graph: Graph) -> Mapping[str, str]:
    """By tensor; "undefined" where it hangs on an input that a model doesn't state."""
    known = {tensor.name: tensor.dtype for tensor in graph.initializers}
    known.update((value.name, value.dtype) for value in graph.inputs)
    for node in graph.nodes:
        first = _first(node, known)
        for at, name in enumerate(node.outputs):
            known[name] = first if at == 0 else _later(node, at, first)
    return known


def _later(node: Node, at: int, first: str) -> str:
    if node.operator == "DynamicQuantizeLinear":
        return "float32" if at == 1 else first
    return _FURTHER.get(node.operator, first)


def _first(node: Node, known: Mapping[str, str]) -> str:
    operator = node.operator
    if operator in _ALWAYS:
        return _ALWAYS[operator]
    if operator in ("Constant", "ConstantOfShape"):
        return _constant(node)
    if operator == "DynamicQuantizeLinear":
        return "uint8"
    if operator == "QuantizeLinear":
        return _of(node, 2, known) or _named(node, "output_dtype") or "uint8"
    if operator == "QGemm":  # without a zero point of its own the result stays in floats
        return _of(node, 8, known) or "float32"
    stated = _named(node, _STATED[operator]) if operator in _STATED else None
    return stated or _of(node, _LIKE.get(operator, 0), known) or "undefined"


def _of(node: Node, at: int, known: Mapping[str, str]) -> str | None:
    return known.get(node.inputs[at]) if at < len(node.inputs) and node.inputs[at] else None


def _named(node: Node, attribute: str) -> str | None:
    number = node.attributes.get(attribute)
    return DTYPES.get(number) if isinstance(number, int) else None


def _constant(node: Node) -> str:
    value = node.attributes.get("value")
    if isinstance(value, Initializer):
        return value.dtype
    return next(
        (dtype for name, dtype in _SINGLE.items() if name in node.attributes), "float32" if node.operator == "ConstantOfShape" else "undefined"
    )

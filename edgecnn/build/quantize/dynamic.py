"""Weights of fully connected layers in int8, their activations quantized as they come: no calibration images needed.

Convolutions stay in float32: onnxruntime's ConvInteger takes two to ten times as long as the float convolution that it replaces
(ResNet-8 on x86: 0.8 ms with uint8 weights and 3.2 ms with int8 ones, against 0.3), and quantizes weights by the whole tensor only.
"""

from __future__ import annotations

import onnx

from edgecnn.artifact.files import temporary_folder
from edgecnn.build.quantize import Calibration, Quantized
from edgecnn.build.quantize._graph import finish, import_tidily, load, root_log_aside, tools
from edgecnn.errors import SourceRejected

NEEDS_CALIBRATION = False

OPERATORS = ("Gemm", "MatMul")


def quantize(model: bytes, calibration: Calibration | None = None, *, per_channel: bool = True, reduce_range: bool = False) -> Quantized:
    """Gemm and MatMul with constant weights become MatMulInteger behind DynamicQuantizeLinear: int8 weights, uint8 activations.

    per_channel: a scale for each output; reduce_range: 7-bit weights, for x86 without VNNI. `calibration` is not looked at.
    Raises SourceRejected where onnxruntime can't do it.
    """
    library = import_tidily("onnxruntime.quantization")
    original = load(model, opset=11)
    bare = onnx.ModelProto.FromString(original.SerializeToString())
    del bare.graph.value_info[:]  # it would contradict the transposed weights
    weights = {entry.name for entry in bare.graph.initializer}
    chosen = [node.name for node in bare.graph.node if node.op_type in OPERATORS and not node.domain and node.input[1] in weights]
    facts = {"weight_type": "int8", "activation_type": "uint8"}
    if not chosen:
        note = "it has no Gemm or MatMul with constant weights, so nothing was quantized"
        return Quantized(model=finish(bare, original), configuration=facts, tools=tools(), note=note)
    with temporary_folder() as folder, root_log_aside():
        target = folder / "dynamic.onnx"
        try:
            library.quantize_dynamic(
                bare,
                target,
                op_types_to_quantize=list(OPERATORS),
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=library.QuantType.QInt8,
            )
        except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise SourceRejected(f"onnxruntime can't quantize this graph dynamically ({error}); take --quantize int8 or fp16.") from error
        proto = onnx.load(target)
    return Quantized(model=finish(proto, original), configuration=facts, tools=tools())

"""What a graph is, without onnx: read it, judge whether a device may load it, and count what its layers cost."""

from __future__ import annotations

from edgecnn.artifact.layers import layers
from edgecnn.artifact.model_proto import Attribute, Graph, Node, read_graph
from edgecnn.artifact.spec import ModelSpec, TensorSpec
from edgecnn.artifact.tensor_proto import Initializer, Value
from edgecnn.errors import GraphRejected, ManifestRejected

__all__ = ["Attribute", "Graph", "Initializer", "Node", "Value", "check_agrees", "check_device_graph", "layers", "read_graph"]

MICROSOFT = "com.microsoft"

# What a classifier of images needs. Left out: loops, sequences, texts, maps, random numbers, decoders, training, and operators whose
# output's size depends on the data (NonZero, Unique, NonMaxSuppression, Compress), which no plan for memory can hold.
_ONNX_OPERATORS = """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitCast BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT DeformConv DepthToSpace DequantizeLinear Det Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid
    HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish
    Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
    ReverseSequence RoiAlign RotaryEmbedding Round STFT Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
    Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Upsample Where Xor
"""
_MICROSOFT_OPERATORS = """
    BiasAdd BiasGelu BiasSoftmax DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul FusedMatMulActivation Gelu
    GemmFastGelu GridSample GroupNorm MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MultiHeadAttention NhwcConv NhwcFusedConv NhwcMaxPool
    QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
    QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu ReduceSumInteger SkipGroupNorm
    SkipLayerNormalization TransposeMatMul
"""
_ALLOWED = {"": frozenset(_ONNX_OPERATORS.split()), MICROSOFT: frozenset(_MICROSOFT_OPERATORS.split())}


def check_device_graph(graph: Graph) -> None:
    """Whether a device may hand the graph to its runtime, as far as that can be seen from outside.

    Raises GraphRejected for data in other files (wherever it hides), functions, training graphs, and operators that are outside the lists
    above: code of other domains, compiled blobs (EPContext), loops.
    """
    if graph.external:
        raise GraphRejected(
            f"The graph keeps tensor {graph.external[0]!r} in another file, a device reads one file only; export it again with its weights inside."
        )
    if graph.functions or graph.training:
        what = "functions of its own" if graph.functions else "training graphs"
        raise GraphRejected(f"The graph holds {what}, which devices don't run; inline or remove them and export again.")
    for domain, operator in sorted(graph.operators):
        if domain not in _ALLOWED:
            raise GraphRejected(f"The graph uses {operator} of the domain {domain!r}, devices have only ONNX's own and {MICROSOFT}; replace it.")
        if operator not in _ALLOWED[domain]:
            shown = f"{domain}:{operator}" if domain else operator
            raise GraphRejected(f"The graph uses {shown}, which isn't among the operators that devices run for image classifiers; replace it.")


def check_agrees(graph: Graph, spec: ModelSpec, *, opset: int, ir_version: int) -> None:
    """Whether the graph is the one that a spec and a manifest speak of. Raises ManifestRejected, naming what either says."""
    for what, stated, found in (("opset", opset, graph.opsets.get("")), ("ir_version", ir_version, graph.ir_version)):
        if stated != found:
            raise ManifestRejected(f"The manifest says {what} {stated}, the graph has {found}.")
    _check_tensor("input", spec.input, graph.inputs)
    _check_tensor("output", spec.output, graph.outputs)


def _check_tensor(role: str, stated: TensorSpec, found: tuple[Value, ...]) -> None:
    if len(found) != 1:
        names = ", ".join(value.name for value in found) or "none"
        raise ManifestRejected(f"The manifest has one {role}, {stated.name}, the graph has {len(found)} ({names}).")
    value = found[0]
    # an open axis may carry any name in a graph
    same_shape = value.shape is not None and len(value.shape) == len(stated.shape)
    same_shape = same_shape and all(
        size == wanted if isinstance(wanted, int) else not isinstance(size, int) for size, wanted in zip(value.shape or (), stated.shape, strict=True)
    )
    if value.name != stated.name or value.dtype != stated.dtype or not same_shape:
        said = f"{stated.dtype} {stated.name} of shape {_shown(stated.shape)}"
        has = f"{value.dtype} {value.name} of shape {_shown(value.shape)}"
        raise ManifestRejected(f"The manifest says that the {role} is {said}, the graph has {has}.")


def _shown(shape: tuple[int | str | None, ...] | None) -> str:
    return "unknown" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"

"""Static int8: weights and activations, with ranges measured on real images, as QuantizeLinear/DequantizeLinear pairs (QDQ).

onnxruntime's QDQQuantizer does the arithmetic. What is decided here is where it pays: convolutions, matrix products and what lies
between them. Behind the last of them nothing is quantized but a ReLU that a range absorbs, and a matrix product gives its answer in
float32, so logits keep their full resolution. onnxruntime then runs QLinearConv, QLinearAdd and the like, without a ReLU of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgecnn.artifact.records import Scalar
from edgecnn.build.quantize import Calibration, Quantized
from edgecnn.build.quantize._graph import attribute, constant, finish, import_tidily, load, root_log_aside, tools
from edgecnn.build.quantize._ranges import minimum_maximum
from edgecnn.errors import UsageError

NEEDS_CALIBRATION = True

HEAVY = ("Conv", "Gemm", "MatMul")
CLAMPS = ("Relu", "Clip")
BETWEEN = (
    *("Add", "Mul", "Concat", "Sigmoid", "LeakyRelu"),  # onnxruntime has integer kernels for them
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Pad"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice"),  # these only move bytes
)


def quantize(
    model: bytes,
    calibration: Calibration | None = None,
    *,
    activation_type: Literal["uint8", "int8"] = "uint8",
    per_channel: bool = True,
    reduce_range: bool = False,
) -> Quantized:
    """`model` with int8 weights (symmetric), int32 biases, and activations in `activation_type` with free zero points.

    per_channel: a weight scale for each output channel; reduce_range: 7-bit weights, for CPUs whose products of uint8 and int8 saturate.
    Ranges are the least and greatest values on the calibration images. A ReLU or Clip goes into the range that follows it.
    Raises UsageError without calibration, DataRejected where it is empty, SourceRejected where a range isn't finite.
    """
    if calibration is None:
        raise UsageError("int8 needs calibration images to measure ranges on; give some hundred real ones with --calibration.")
    original = load(model, opset=13)
    proto = ModelProto.FromString(original.SerializeToString())
    _pool_means(proto)
    _clamp_before_pool(proto)
    chosen = _choose(proto)
    configuration: dict[str, Scalar] = {
        "activation_type": activation_type,
        "weight_type": "int8",
        "per_channel": per_channel,
        "reduce_range": reduce_range,
        "calibration_method": "minmax",
    }
    if not chosen:
        note = "it has no Conv, Gemm or MatMul with constant weights, so nothing was quantized"
        return Quantized(model=finish(proto, original), configuration=configuration, tools=tools(), note=note)
    ranges = minimum_maximum(proto, _activations(proto, chosen), calibration)
    proto = _insert_pairs(proto, chosen, ranges, activation_type=activation_type, per_channel=per_channel, reduce_range=reduce_range)
    _free_products(proto, chosen)
    return Quantized(model=finish(proto, original), configuration=configuration, tools=tools())


def _insert_pairs(
    proto: ModelProto, chosen: set[str], ranges: Mapping[str, tuple[float, float]], *, activation_type: str, per_channel: bool, reduce_range: bool
) -> ModelProto:
    library = import_tidily("onnxruntime.quantization")
    types = {"uint8": library.QuantType.QUInt8, "int8": library.QuantType.QInt8}
    calibrate = import_tidily("onnxruntime.quantization.calibrate")  # the package itself shows these since 1.24 only
    as_data = {}
    for name, (low, high) in ranges.items():
        if low == high == 0:
            high = 1.0  # onnxruntime would take 1 as the scale, and round the next bias to whole weight scales
        as_data[name] = calibrate.TensorData(lowest=np.array(low, dtype=np.float32), highest=np.array(high, dtype=np.float32))
    proto.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # else it would write the graph to disk to infer shapes again
    with root_log_aside():
        quantizer = library.QDQQuantizer(
            proto,
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_qType=types["int8"],
            activation_qType=types[activation_type],
            tensors_range=calibrate.TensorsData(library.CalibrationMethod.MinMax, as_data),
            nodes_to_quantize=sorted(chosen),
            nodes_to_exclude=[],
            op_types_to_quantize=[*HEAVY, *CLAMPS, *BETWEEN],
            extra_options={},
        )
        made: ModelProto = quantizer.quantize_model()
        return made


def _consumers(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _pool_means(proto: ModelProto) -> None:
    """A mean over height and width becomes GlobalAveragePool, which has an integer kernel, and Flatten where it drops the axes."""
    graph = proto.graph
    shapes = {value.name: value for value in (*graph.value_info, *graph.input)}
    for node in [node for node in graph.node if node.op_type == "ReduceMean" and not node.domain]:
        source = shapes.get(node.input[0])
        axes = constant(proto, node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
        if source is None or len(source.type.tensor_type.shape.dim) != 4 or axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            continue
        result, dropped = node.output[0], not attribute(node, "keepdims", 1)
        pool = helper.make_node("GlobalAveragePool", [source.name], [f"{result}_pooled" if dropped else result], name=node.name)
        if dropped:
            place = list(graph.node).index(node)
            graph.node.insert(place + 1, helper.make_node("Flatten", [pool.output[0]], [result], name=f"{node.name}_Flatten", axis=1))
            pooled = graph.value_info.add()
            pooled.CopyFrom(source)
            pooled.name = pool.output[0]
            for dim in pooled.type.tensor_type.shape.dim[2:]:
                dim.dim_value = 1
        node.CopyFrom(pool)


def _clamp_before_pool(proto: ModelProto) -> None:
    """MaxPool, then ReLU: the same the other way round, and then the convolution's range can absorb the ReLU."""
    readers = _consumers(proto.graph.node)
    outputs = {value.name for value in proto.graph.output}
    shapes = {value.name: value for value in proto.graph.value_info}
    for pool in proto.graph.node:
        if pool.op_type != "MaxPool" or len(pool.output) != 1 or pool.output[0] in outputs:
            continue
        after, source = readers.get(pool.output[0], []), pool.input[0]
        if len(after) != 1 or after[0].op_type != "Relu" or len(readers[source]) != 1 or source not in shapes:
            continue
        relu, middle, result = after[0], pool.output[0], after[0].output[0]
        relu.input[0], relu.output[0] = source, middle
        pool.input[0], pool.output[0] = middle, result
        shapes[middle].CopyFrom(shapes[source])
        shapes[middle].name = middle


def _choose(proto: ModelProto) -> set[str]:
    """The names of the nodes to quantize."""
    weights = {entry.name for entry in proto.graph.initializer if entry.data_type == TensorProto.FLOAT}
    heavy = {node.name for node in proto.graph.node if node.op_type in HEAVY and not node.domain and _constant_weights(node, weights)}
    upstream = _upstream_of(proto, heavy)
    chosen: set[str] = set()
    integer: dict[str, NodeProto] = {}
    for node in proto.graph.node:
        maker = integer.get(node.input[0]) if node.input else None
        if node.domain:
            take = False
        elif node.op_type in CLAMPS:
            take = maker is not None and _holds_zero(proto, node) and (node.name in upstream or maker.op_type == "Conv")
        elif node.op_type in BETWEEN:
            take = node.name in upstream and any(name in integer for name in node.input) and _float_output(proto, node)
        else:
            take = node.name in heavy
        if take:
            chosen.add(node.name)
            integer.update(dict.fromkeys(node.output, node))
    return chosen


def _constant_weights(node: NodeProto, weights: set[str]) -> bool:
    """MatMul may also multiply two activations; a Gemm's or a Conv's bias must be constant, so that it can be an int32."""
    return node.op_type == "MatMul" or all(name in weights for name in node.input[1:] if name)


def _upstream_of(proto: ModelProto, heavy: set[str]) -> set[str]:
    """The names of the nodes that a heavy one lies behind, and of the heavy ones."""
    readers = _consumers(proto.graph.node)
    found = set(heavy)
    for node in reversed(proto.graph.node):
        if any(reader.name in found for name in node.output for reader in readers.get(name, [])):
            found.add(node.name)
    return found


def _holds_zero(proto: ModelProto, node: NodeProto) -> bool:
    """A range always holds 0, so a Clip to one side of it can't be absorbed."""
    if node.op_type == "Relu":
        return True
    bounds = [constant(proto, name) for name in node.input[1:] if name]
    if any(bound is None for bound in bounds):
        return False
    low = constant(proto, node.input[1]) if len(node.input) > 1 and node.input[1] else -np.inf
    high = constant(proto, node.input[2]) if len(node.input) > 2 and node.input[2] else np.inf
    return bool(low <= 0 <= high)


def _float_output(proto: ModelProto, node: NodeProto) -> bool:
    values = {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.value_info, *proto.graph.output)}
    return all(values.get(name) == TensorProto.FLOAT for name in node.output if name)


def _activations(proto: ModelProto, chosen: set[str]) -> list[str]:
    """The float tensors that the chosen nodes read or write and that aren't constant, in the graph's order."""
    known = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {entry.name for entry in proto.graph.initializer}
    tensors = (name for node in proto.graph.node if node.name in chosen for name in (*node.input, *node.output))
    return list(dict.fromkeys(name for name in tensors if name in floats and name not in constants))


def _free_products(proto: ModelProto, chosen: set[str]) -> None:
    """Take off the pairs behind matrix products that no integer operator reads: they would only round the answer."""
    graph = proto.graph
    products = {name for node in graph.node if node.op_type in ("Gemm", "MatMul") for name in node.output}
    readers = _consumers(graph.node)
    outputs = {value.name for value in graph.output}
    for rounding in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in products]:
        (back,) = readers[rounding.output[0]]
        source, result = rounding.input[0], back.output[0]
        if any(reader.name in chosen for reader in readers.get(result, [])):
            continue
        graph.node.remove(rounding)
        graph.node.remove(back)
        kept, dropped = (result, source) if result in outputs else (source, result)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [kept if name == dropped else name for name in names]

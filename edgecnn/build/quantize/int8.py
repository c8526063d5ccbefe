"""Static int8: weights and activations, with ranges measured on real images, as QuantizeLinear/DequantizeLinear pairs (QDQ).

onnxruntime's QDQQuantizer does the arithmetic. What is decided here is where it pays: convolutions, matrix products and what lies
between them. Behind the last of them nothing is quantized but a ReLU that a range absorbs, and a matrix product gives its answer in
float32, so logits keep their full resolution. onnxruntime then runs QLinearConv, QLinearAdd and the like, without a ReLU of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from onnx import ModelProto

from edgecnn.build.onnx_io import serialize
from edgecnn.build.quantize import Calibration, Quantized, Training
from edgecnn.build.quantize._adaround import round_weights
from edgecnn.build.quantize._bias import correct_bias as correct
from edgecnn.build.quantize._bias import correctable, means
from edgecnn.build.quantize._cache import measured
from edgecnn.build.quantize._choice import BETWEEN, CLAMPS, HEAVY, activations, choose, left_in_float
from edgecnn.build.quantize._equalize import equalize as equalize_layers
from edgecnn.build.quantize._graph import constant, consumers, finish, import_tidily, load, root_log_aside, sort_nodes, tools
from edgecnn.build.quantize._heavy import heavy_layers, own_constants
from edgecnn.build.quantize._ranges import Statistics
from edgecnn.build.quantize._rewrite import rewrite
from edgecnn.build.quantize._runs import at_hand
from edgecnn.build.quantize._slim import slim
from edgecnn.build.quantize._thresholds import Range, ranges_of
from edgecnn.errors import UsageError

NEEDS_CALIBRATION = True


def quantize(
    model: bytes,
    calibration: Calibration | None = None,
    *,
    activation_type: Literal["uint8", "int8"] = "uint8",
    per_channel: bool = True,
    reduce_range: bool = False,
    ranges: Literal["minmax", "percentile", "entropy", "mse"] = "minmax",
    percentile: float = 99.99,
    keep_float: tuple[str, ...] = (),
    equalize: bool = True,
    rounding: Literal["nearest", "adaptive"] = "nearest",
    correct_bias: bool = True,
    qat_steps: int = 0,
) -> Quantized:
    """`model` with int8 weights (symmetric), int32 biases, and activations in `activation_type` with free zero points.

    per_channel: a weight scale for each output channel; reduce_range: 7-bit weights, for CPUs whose products of uint8 and int8 saturate.
    ranges: of the activations, from their values on the calibration images: all of them (minmax), the middle `percentile` %, or what keeps
    their distribution (entropy) or themselves (mse) best; see _thresholds. A ReLU or Clip goes into the range that follows it.
    keep_float: layers (nodes) that stay in float, by their names. equalize: scale the channels between two layers beforehand, so that their
    weights span alike; see _equalize. rounding: of weights to what is nearest, or as keeps each layer's answers best (adaptive); see _adaround.
    correct_bias: take back what rounding shifts each layer's mean by; see _bias. qat_steps: of fine-tuning on the calibration's training
    images; see _qat. Of the corrections those that take seconds are the defaults.
    Raises UsageError without calibration, for a percentile that isn't within 50 and 100, an unknown layer, or steps without training images;
    DataRejected where the calibration is empty, SourceRejected where a range isn't finite or a graph can't be trained through.
    """
    if calibration is None:
        raise UsageError("int8 needs calibration images to measure ranges on; give some hundred real ones with --calibration.")
    if not 50 < percentile <= 100:
        raise UsageError(f"percentile is {percentile:g}; more than 50 and at most 100 was wanted, such as 99.99.")
    training = _training(calibration, qat_steps)
    original = load(model, opset=13)
    adapt, weight_limit = rounding == "adaptive", 64 if reduce_range else 127
    floats = _prepared(original, own=adapt or correct_bias, equal=equalize)
    chosen = choose(floats, keep_float)
    facts = {"weight_type": "int8"}
    if not chosen:
        note = "nothing was quantized: no Conv, Gemm or MatMul with constant weights is there, or none that may leave float"
        return Quantized(model=finish(floats, original), configuration=facts, tools=tools(), note=note)
    statistics = measured(floats, activations(floats, chosen), calibration, histograms=ranges != "minmax")
    notes = (*_of_images(statistics), left_in_float(floats, chosen, keep_float), _of_constants(floats, statistics))
    limits = ranges_of(statistics, ranges, percentile=percentile)
    proto = _insert_pairs(floats, chosen, limits, activation_type=activation_type, per_channel=per_channel, reduce_range=reduce_range)
    _free_products(proto, chosen)
    if adapt or correct_bias:
        with at_hand(calibration) as images:
            _correct(floats, proto, images, weight_limit=weight_limit, adapt=adapt, shift=correct_bias)
    slim(proto)
    made = finish(proto, original)
    if training is not None:
        from edgecnn.build.quantize._qat import fine_tune  # torch, which nothing else here needs

        made = fine_tune(serialize(floats), made, training, steps=qat_steps, weight_limit=weight_limit)
    return Quantized(model=made, configuration=facts, tools=tools(), note="; ".join(filter(None, notes)) or None)


def _training(calibration: Calibration, steps: int) -> Training | None:
    """What to fine-tune on, None where that isn't asked for."""
    training: Training | None = getattr(calibration, "training", None)
    if steps < 0 or (steps and training is None):
        raise UsageError(f"qat_steps is {steps}; {'0 or more was wanted' if steps < 0 else 'give training images with --qat for that'}.")
    return training if steps else None


def _prepared(original: ModelProto, *, own: bool, equal: bool) -> ModelProto:
    """The float graph that is quantized, of the same function; own: whether each layer is to have constants of its own."""
    floats: ModelProto = ModelProto.FromString(original.SerializeToString())
    rewrite(floats)
    if own or equal:
        own_constants(floats)
    if equal:
        equalize_layers(floats)
    return floats


def _of_images(statistics: Statistics) -> list[str]:
    if statistics.flat:
        return ["every calibration image is of one flat colour, as from a covered lens or a failed decoder, so the ranges fit no real picture"]
    if statistics.alike:
        return ["all calibration images are the same picture, so the ranges fit that one alone; give some hundred different ones"]
    return []


def _of_constants(proto: ModelProto, statistics: Statistics) -> str | None:
    """Layers that answer every image alike: their channels are dead, or the images unfit."""
    if statistics.flat:
        return None
    makers = {output: node.name for node in proto.graph.node for output in node.output}
    still = [
        makers[name] for name, low, high in zip(statistics.names, statistics.low, statistics.high, strict=True) if low == high and name in makers
    ]
    if not still:
        return None
    more = f" and {len(still) - 3} more" if len(still) > 3 else ""
    return f"one and the same value on all calibration images comes from {', '.join(still[:3])}{more}: dead channels, or images that don't fit"


def _insert_pairs(
    floats: ModelProto, chosen: frozenset[str], limits: Mapping[str, Range], *, activation_type: str, per_channel: bool, reduce_range: bool
) -> ModelProto:
    library = import_tidily("onnxruntime.quantization")
    types = {"uint8": library.QuantType.QUInt8, "int8": library.QuantType.QInt8}
    calibrate = import_tidily("onnxruntime.quantization.calibrate")  # the package itself shows these since 1.24 only
    as_data = {}
    for name, (low, high) in limits.items():
        if low == high == 0:
            high = 1.0  # onnxruntime would take 1 as the scale, and round the next bias to whole weight scales
        as_data[name] = calibrate.TensorData(lowest=np.array(low, dtype=np.float32), highest=np.array(high, dtype=np.float32))
    proto = ModelProto.FromString(floats.SerializeToString())
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


def _correct(floats: ModelProto, proto: ModelProto, calibration: Calibration, *, weight_limit: int, adapt: bool, shift: bool) -> None:
    """Of the QDQ graph `proto`, in place: layer by layer, so that each makes up for those before it as well."""
    sort_nodes(proto)
    layers, twins = heavy_layers(proto), {node.name: node for node in floats.graph.node}
    shifted = [layer.node.name for layer in layers if shift and correctable(proto, layer)]
    wanted = dict(zip(shifted, means(floats, [twins[name] for name in shifted], calibration, optimize=False), strict=True))
    for layer in layers:
        mean = wanted.get(layer.node.name)
        if adapt:
            weights = constant(floats, twins[layer.node.name].input[1])
            round_weights(proto, layer, weights, calibration, limit=weight_limit, centred=mean is not None)
        if mean is not None:
            correct(proto, layer, mean, calibration)


def _free_products(proto: ModelProto, chosen: frozenset[str]) -> None:
    """Take off the pairs behind matrix products that no integer operator reads: they would only round the answer."""
    graph = proto.graph
    products = {name for node in graph.node if node.op_type in ("Gemm", "MatMul") for name in node.output}
    readers = consumers(graph.node)
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

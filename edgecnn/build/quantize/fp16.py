"""Weights stored as float16, computed with in float32: half the file, and the speed of float32.

The CPU runtime turns the weights back once, as it loads them. Activations in float16 as well would be cast back and forth around every
operator that the CPU has no float16 kernel for: on x86 that took up to twice the time of float32 and changed the answers no less.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgecnn.build.quantize import Calibration, Quantized
from edgecnn.build.quantize._graph import finish, load, tools

NEEDS_CALIBRATION = False

SMALLEST = 64
"""Tensors of fewer elements stay as they are: the Cast would take more bytes than it saves."""


def quantize(model: bytes, calibration: Calibration | None = None) -> Quantized:
    """Every float32 initializer of at least 64 elements as float16 behind a Cast to float32; one with values beyond float16's stays float32.

    `calibration` is not looked at.
    """
    original = load(model)
    proto = ModelProto.FromString(original.SerializeToString())
    beyond = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            beyond.append(tensor.name)
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        proto.graph.node.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}_Cast", to=TensorProto.FLOAT))
    note = f"left in float32, too large for float16: {', '.join(beyond)}" if beyond else None
    return Quantized(model=finish(proto, original), configuration={"weight_type": "float16", "activation_type": "float32"}, tools=tools(), note=note)

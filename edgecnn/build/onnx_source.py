"""An .onnx that somebody brings. Torch is imported nowhere on this road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgecnn.artifact.graph import read_graph
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.build.conform import check_content, dims, graph_input, inline_functions, shape_text
from edgecnn.build.onnx_io import all_tensors, load_onnx, parse
from edgecnn.build.source import Float32, Found, Named, Request
from edgecnn.device.engines import open_graph
from edgecnn.errors import GraphRejected, SourceRejected

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def from_onnx(path: Path, request: Request) -> Found:
    """The graph at `path`, which onnxruntime answers for without optimization. Raises InputMissing, GraphRejected or SourceRejected."""
    data = load_onnx(path)
    _check_sizes(data, path)
    model = inline_functions(parse(data, name=str(path)))
    check_content(model)
    value = graph_input(model)
    shape = dims(value) or ()
    if shape[3] in (1, 3) and isinstance(shape[1], int) and shape[1] not in (1, 3):
        raise SourceRejected(
            f"The graph's input {value.name} is {shape_text(shape)}, channels last; (batch, channels, height, width) was wanted: "
            "convert it so (tf2onnx: --inputs-as-nchw)."
        )
    for tensor in all_tensors(model):
        if tensor.data_type in _FLOATS and np.isnan(numpy_helper.to_array(tensor)).any():
            raise SourceRejected(f"{tensor.name or 'a constant'} holds NaN values; such weights can't be exported, train them again.")
    engine = open_graph(data, optimize=False)
    names = [output.name for output in engine.outputs]

    def outputs(x: Float32) -> list[Named]:
        return list(zip(names, engine.run({value.name: x}), strict=True))

    return Found(kind="onnx", name=path.stem, shape=tuple(size if isinstance(size, int) else None for size in shape), outputs=outputs, onnx=data)


def _check_sizes(data: bytes, path: Path) -> None:
    """Refuse tensors that are too large for a device before a runtime makes them here. Raises GraphRejected."""
    try:
        graph = read_graph(data)
    except GraphRejected:  # as it comes; it may do in our form
        return
    too_large = infer_shapes(graph).too_large
    if too_large is not None:
        raise GraphRejected(f"{path}: {too_large}")

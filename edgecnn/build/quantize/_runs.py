"""Parts of a graph over the calibration images: feed by feed, so that no more than one is in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgecnn.artifact.files import temporary_folder
from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._graph import reads
from edgecnn.device.engines import Engine
from edgecnn.device.engines.ort import open_graph


@contextlib.contextmanager
def at_hand(calibration: Calibration) -> Iterator[Calibration]:
    """The same images, prepared once and read from a temporary folder while the block lasts: decoding photos again for each layer would take
    longer than all else. Raises OutputNotWritable where they don't fit on the disk, and whatever `calibration` raises."""
    with temporary_folder() as folder:
        count = 0
        for images in calibration():
            np.save(folder / f"{count}.npy", images)
            count += 1
        yield lambda: (np.load(folder / f"{number}.npy") for number in range(count))


def up_to(proto: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """The graph with these float tensors as its outputs, in this order, and nothing that they don't need."""
    wanted, kept = set(tensors), []
    for node in reversed(proto.graph.node):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(reads([node]))
    part = ModelProto(ir_version=proto.ir_version)
    part.opset_import.extend(proto.opset_import)
    part.functions.extend(proto.functions)
    part.graph.name = proto.graph.name
    part.graph.input.extend(proto.graph.input)
    part.graph.node.extend(reversed(kept))
    part.graph.initializer.extend(entry for entry in proto.graph.initializer if entry.name in wanted)
    part.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    return part


def outputs(part: ModelProto, calibration: Calibration, *, optimize: bool, together: int | None = None) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """The outputs of `part` for all calibration images, feed by feed. Where a fixed batch was filled up, what is too much is left out of those
    that have the batch as their first axis.

    together: how many images at once where the graph fixes no batch, None for as many as come.
    """
    engine = open_graph(part.SerializeToString(), optimize=optimize)
    for feed, real in feeds(calibration(), batch(engine) or together):
        yield tuple(found[:real] if len(found) == len(feed) else found for found in engine.run({engine.inputs[0].name: feed}))


def batch(engine: Engine) -> int | None:
    """The size that the graph fixes for its batch, None where it fixes none."""
    size = engine.inputs[0].shape[0]
    return size if isinstance(size, int) else None


def feeds(batches: Iterable[NDArray[Any]], size: int | None) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The images in batches of `size`, the last one filled up with its last image, and how many are real; as they come where size is None."""
    for images in batches:
        step = size or len(images)
        for start in range(0, len(images), max(step, 1)):
            part = images[start : start + step]
            real = len(part)
            if real < step:
                part = np.concatenate([part, np.repeat(part[-1:], step - real, axis=0)])
            yield np.ascontiguousarray(part, dtype=np.float32), real

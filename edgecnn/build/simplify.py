"""onnxsim, never trusted blindly: it runs in a child under limits, and what it makes counts only when it is valid, no larger, and answers alike."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecnn.artifact.files import temporary_folder
from edgecnn.build.chatter import log
from edgecnn.build.conform import DOMAINS, dims, infer_shapes
from edgecnn.build.metadata import name_nodes, strip
from edgecnn.build.onnx_io import check, parse, serialize
from edgecnn.device.engines import Engine, open_graph
from edgecnn.device.limits import run_limited
from edgecnn.errors import EdgecnnError

# folding a BatchNorm into its convolution rounds anew; this is half of what parity with the source network allows, the exporter has the other half
ANSWERS_ATOL = ANSWERS_RTOL = 5e-6
_CHILD = Path(__file__).with_name("_simplify_child.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Simplified:
    """model: the smaller graph, or the input's own bytes where `note` says why; tools: versions that took part."""

    model: bytes
    note: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    pass


def simplify(
    model: bytes, *, check_inputs: NDArray[np.float32], timeout_s: float = 120, memory_mb: int = 4096, command: Sequence[str] | None = None
) -> Simplified:
    """The graph simplified by onnxsim, or unchanged with a note.

    check_inputs: float32 (n, channels, height, width), n at least 1: on these both graphs, run without optimization, must answer alike: every
    logit within 5e-6 + 5e-6 * |logit|. command: the simplifier, called with the paths of its input and output; ours where not given.
    A crash, a timeout, too much memory, an invalid or larger graph, a lost open dimension, a changed edge or answer: all of these give the
    input's bytes back, with the reason in `note`; nothing is raised for them. OutputNotWritable is, where temporary files find no space.
    """
    tools = {name: importlib.metadata.version(name) for name in ("onnxsim", "onnx")}
    try:
        smaller = _child(model, [sys.executable, str(_CHILD)] if command is None else list(command), timeout_s, memory_mb)
        if smaller is None:
            return Simplified(model=model, note="nothing was left to simplify", tools=tools)
        _compare(model, smaller, check_inputs)
    except _Refused as refusal:
        return Simplified(model=model, note=f"the simplifier's result was rejected: {refusal}", tools=tools)
    return Simplified(model=smaller, tools=tools)


def _child(model: bytes, command: list[str], timeout_s: float, memory_mb: int) -> bytes | None:
    """The child's graph, tidied and checked; None when it has found nothing."""
    with temporary_folder() as folder:
        source, target = folder / "in.onnx", folder / "out.onnx"
        source.write_bytes(model)
        outcome = run_limited([*command, str(source), str(target)], timeout_s=timeout_s, memory_mb=memory_mb, folder=folder)
        for line in outcome.output.splitlines():
            log.info("onnxsim: %s", line)
        if outcome.failure is not None:
            raise _Refused(outcome.failure)
        if not target.is_file():
            raise _Refused("it wrote nothing")
        if target.stat().st_size > 2 * len(model) + (1 << 20):
            raise _Refused(f"the graph grew from {len(model)} to {target.stat().st_size} bytes")
        made = target.read_bytes()
    return _tidied(model, made)


def _tidied(model: bytes, made: bytes) -> bytes | None:
    before = parse(model)
    try:
        after = parse(made)
        name_nodes(after)
        strip(after)
        after.ir_version = before.ir_version
        after = infer_shapes(after)
        check(after)
    except EdgecnnError as error:
        raise _Refused(f"the graph is invalid ({str(error).rstrip('.')})") from None
    _check_edges(before, after)
    smaller = serialize(after)
    was, now = len(before.graph.node), len(after.graph.node)
    if was == now and _constants(before) == _constants(after):
        return None
    if len(smaller) > len(model):
        raise _Refused(f"the graph grew from {len(model)} to {len(smaller)} bytes")
    if now > was:
        raise _Refused(f"the graph grew from {was} to {now} nodes")
    return smaller


def _constants(model: onnx.ModelProto) -> int:
    return sum(tensor.ByteSize() for tensor in model.graph.initializer)


def _check_edges(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Inputs, outputs and operator sets must be what they were, open dimensions above all."""
    for kind, old, new in (("input", before.graph.input, after.graph.input), ("output", before.graph.output, after.graph.output)):
        if [value.name for value in old] != [value.name for value in new]:
            raise _Refused(f"the graph's {kind}s changed")
        for a, b in zip(old, new, strict=True):
            was, now = dims(a) or (), dims(b) or ()
            if len(was) == len(now) and any(isinstance(x, str) and isinstance(y, int) for x, y in zip(was, now, strict=True)):
                raise _Refused(f"the {kind} {a.name} lost its open dimension")
            if was != now or a.type.tensor_type.elem_type != b.type.tensor_type.elem_type:
                raise _Refused(f"the {kind} {a.name} changed its shape or type")
    old_sets = {entry.domain: entry.version for entry in before.opset_import}
    new_sets = {entry.domain: entry.version for entry in after.opset_import}
    if any(old_sets.get(domain, version) != version for domain, version in new_sets.items()):
        raise _Refused("the graph's operator set changed")
    foreign = next((node for node in after.graph.node if node.domain not in DOMAINS or node.domain not in old_sets), None)
    if foreign is not None:
        raise _Refused(f"it brought in the operator {foreign.domain}::{foreign.op_type}")


def _compare(model: bytes, smaller: bytes, inputs: NDArray[np.float32]) -> None:
    try:
        expected, found = (_answers(open_graph(graph, optimize=False), inputs) for graph in (model, smaller))
    except EdgecnnError as error:
        raise _Refused(f"the graph doesn't run ({str(error).rstrip('.')})") from None
    if expected.shape != found.shape or not expected.size:
        raise _Refused("it answers with another shape")
    excess = np.abs(found - expected) - (ANSWERS_ATOL + ANSWERS_RTOL * np.abs(expected))
    if not (excess <= 0).all():  # a NaN is no "<="
        raise _Refused(f"an answer changed by {np.nanmax(np.abs(found - expected), initial=0.0):.3g}")


def _answers(engine: Engine, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    first = engine.inputs[0].shape[0]
    size = first if isinstance(first, int) else len(inputs)
    count = -(-len(inputs) // size) * size
    filled = np.concatenate((inputs, np.repeat(inputs[-1:], count - len(inputs), axis=0)))
    return np.concatenate([engine.run_one(np.ascontiguousarray(filled[start : start + size])) for start in range(0, count, size)])

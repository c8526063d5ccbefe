"""The parity chain: after each stage the graph's answers are held against the stage before and against the source network.

Graphs are run as a device will run them: by the device's own engine, with its graph optimization.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from edgecnn.artifact.manifest import DeviceLimits
from edgecnn.artifact.records import ParityLimits, ParityReport, Scalar, Stage
from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.onnx_io import parse
from edgecnn.build.pixels import NORMALIZED
from edgecnn.data.collection import Collection
from edgecnn.device.host import available_cores
from edgecnn.device.parity import compare
from edgecnn.device.session import open_session
from edgecnn.device.statistics import PairedDifference, paired_difference
from edgecnn.device.validate import AccuracyReport, accuracy_report, evaluate_all

SOURCE = "source network"
FLOAT_ATOL = 1e-4
"""What float32 answers of the same graph may differ by between CPUs, for logits up to 100; see device_limits."""

Progress = Callable[[int, int], None]


class Network(Protocol):
    """The network that everything is held against: build.source.Source."""

    def logits(self, x: NDArray[np.float32], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a stage made of a graph: the new one, and how."""

    name: str
    model: bytes
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Link:
    """A graph of the chain, what it takes, its record, and its answers to the chain's inputs: float32 (n, labels)."""

    stage: Stage
    spec: ModelSpec
    model: bytes
    logits: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How many images the source network and the packed graph decided right, and the difference on the same images, in points."""

    source: AccuracyReport
    artifact: AccuracyReport
    difference: PairedDifference


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A link's answers over a collection: its record with comparisons on these images, and the accuracy where they have labels."""

    link: Link
    accuracy: Accuracy | None

    @property
    def passed(self) -> bool:
        return self.link.stage.against_source is not None and self.link.stage.against_source.passed


def sha256(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()


def float_limits(atol: float, rtol: float) -> ParityLimits:
    """A float32 graph gives its source's answers within atol + rtol * |answer|, and every decision."""
    return ParityLimits(atol=atol, rtol=rtol, min_agreement=1.0)


def add_link(made: Made, *, spec: ModelSpec, inputs: NDArray[Any], source: NDArray[np.float32], previous: Link | None, limits: ParityLimits) -> Link:
    """Run the graph on the chain's inputs, as `spec` wants them, and compare. source: the source network's answers, float32 (n, labels).

    Raises GraphRejected where the graph doesn't load or isn't the spec's.
    """
    logits = open_session(made.model, spec).logits(inputs)
    digest = sha256(made.model)
    stage = Stage(
        name=made.name,
        configuration=made.configuration,
        tools=made.tools,
        nodes=len(parse(made.model).graph.node),
        bytes=len(made.model),
        sha256=digest,
        against_previous=compare(previous.logits, logits, limits, graph_sha256=digest, reference=previous.stage.name, spec=spec)
        if previous
        else None,
        against_source=compare(source, logits, limits, graph_sha256=digest, reference=SOURCE, spec=spec),
        note=made.note,
    )
    return Link(stage=stage, spec=spec, model=made.model, logits=logits)


def measure(
    link: Link, previous: Link, network: Network, collection: Collection, *, spec: ModelSpec, limits: ParityLimits, progress: Progress | None = None
) -> Measured:
    """The last link once more, over a whole collection and beside the source network and the link before; each image is decoded once.

    Raises what `evaluate_all` raises.
    """
    sessions = [open_session(each.model, each.spec) for each in (previous, link)]
    found = evaluate_all([network, *sessions], collection, spec, progress, threads=available_cores(), keep_logits=True)
    source, before, after = (np.asarray(evaluation.logits) for evaluation in found)
    digest = link.stage.sha256
    stage = replace(
        link.stage,
        against_previous=compare(before, after, limits, graph_sha256=digest, reference=previous.stage.name, spec=spec),
        against_source=compare(source, after, limits, graph_sha256=digest, reference=SOURCE, spec=spec),
    )
    accuracy = None
    if found[0].targets is not None:
        accuracy = Accuracy(
            source=accuracy_report(found[0], spec),
            artifact=accuracy_report(found[2], spec),
            difference=paired_difference(found[0].correct, found[2].correct),
        )
    return Measured(link=replace(link, stage=stage), accuracy=accuracy)


def device_limits(model: bytes, *, golden: ParityReport, outputs: NDArray[np.float32]) -> DeviceLimits:
    """What a device's answers to the golden inputs may differ by. golden: the host's golden answers `outputs` against the source network's.

    From the host's: by nothing, where integers are computed all the way; by float32's rounding (1e-4, or 1e-6 of the largest answer), where
    floats are; and where floats are rounded to integers on the way, so that a last bit may become a whole step, by as much as quantization
    itself changed. From the source network's: by what the host's answers do, and that on top.
    """
    rounding = max(FLOAT_ATOL, 1e-6 * float(np.abs(outputs).max(initial=0.0)))
    atol = {"exact": 0.0, "floats": rounding, "rounded floats": max(rounding, golden.max_abs)}[_arithmetic(model)]
    reference = ParityLimits(atol=_two_digits_up(golden.max_abs + max(atol, rounding)), min_agreement=golden.agreement)
    return DeviceLimits(outputs_atol=_two_digits_up(atol), reference=reference)


_ROUNDING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_PRODUCTS = frozenset({"Gemm", "MatMul"})
# not Add and Mul: onnxruntime's integer kernels for these round in float on x86 and in fixed point on Arm. Measured on an emulated Cortex-A72:
# 26 of 1,000 images get other logits from an int8 ResNet-8, by up to 0.08, though none another decision.
_BETWEEN_PAIRS = frozenset({"Conv", "Concat", "LeakyRelu", "AveragePool", "GlobalAveragePool"})
_ELEMENTWISE = frozenset({"DequantizeLinear", "Relu", "Clip", "MaxPool", "Pad", "Cast", "MatMulInteger", "Identity", "Constant"})
_MOVING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice"})


def _arithmetic(model: bytes) -> str:
    """Which arithmetic the answers come from: "exact" gives the same bits on every CPU, "floats" nearly the same, and where "rounded floats"
    are turned into integers, a difference in the last bit may become one of a whole step."""
    graph = parse(model).graph
    restored = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    unrounded = {name for node in graph.node if node.op_type not in _ROUNDING for name in node.input} | {value.name for value in graph.output}
    floats: set[str] = set()
    for node in graph.node:
        inexact = not floats.isdisjoint(node.input)
        if node.op_type in _ROUNDING:
            if inexact:
                return "rounded floats"
        elif inexact or not _same_everywhere(node, restored, unrounded):
            floats.update(node.output)
    return "exact" if floats.isdisjoint(value.name for value in graph.output) else "floats"


def _same_everywhere(node: NodeProto, restored: set[str], unrounded: set[str]) -> bool:
    """Whether a node gives the same bits on every CPU, for equal inputs: it moves numbers, or onnxruntime runs it on integers."""
    if node.output[0] == NORMALIZED:  # one addition behind one product, each rounded once
        return True
    if node.op_type in _PRODUCTS:
        return node.input[0] in restored
    if node.op_type in _BETWEEN_PAIRS:
        return node.input[0] in restored and unrounded.isdisjoint(node.output)
    return node.op_type in _ELEMENTWISE | _MOVING


def _two_digits_up(value: float) -> float:
    """The next number of two significant digits; 0 stays."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.2g}")

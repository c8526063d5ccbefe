"""From nodes to the stages that a person follows: what only holds numbers is left out, and rounding to integers is part of what is rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgecnn.report.explain.network import Network, Node
from edgecnn.report.formulas import Array
from edgecnn.report.formulas.windows import Window, window

Role = Literal[
    "input",
    "conv",
    "linear",
    "relu",
    "clip",
    "maxpool",
    "avgpool",
    "gap",
    "add",
    "mul",
    "flatten",
    "batchnorm",
    "rounding",
    "dequantize",
    "softmax",
    "other",
]

_ROLES: dict[str, Role] = {
    "Add": "add",
    "AveragePool": "avgpool",
    "BatchNormalization": "batchnorm",
    "Clip": "clip",
    "Conv": "conv",
    "DequantizeLinear": "dequantize",
    "Flatten": "flatten",
    "Gemm": "linear",
    "GlobalAveragePool": "gap",
    "MatMul": "linear",
    "MaxPool": "maxpool",
    "Mul": "mul",
    "Relu": "relu",
    "Reshape": "flatten",
    "Softmax": "softmax",
    "Squeeze": "flatten",
}
_SIGNED = frozenset({"Conv", "Gemm", "MatMul", "Add", "BatchNormalization", "Sub"})
"""What gives negative numbers as well, so that a range from 0 on cuts them off as a ReLU does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """To integers and back: value = (integer - zero_point) * scale. low, high: the integers' ends; tensor: what comes back."""

    tensor: str
    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def range(self) -> tuple[float, float]:
        """What it can hold; what lies beyond becomes its ends."""
        return (self.low - self.zero_point) * self.scale, (self.high - self.zero_point) * self.scale

    @property
    def dtype(self) -> str:
        return {(0, 255): "uint8", (-128, 127): "int8", (0, 65535): "uint16"}.get((self.low, self.high), "int16")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """One step of the network.

    raw: the tensor that the node makes; shown: what goes on from here, which is `raw` rounded where `rounding` says so; sources: the tensors that
    it is made from, as they went on from earlier stages, with constants that take part number by number (a bias that is added); weight, bias:
    tensors of a convolution or a linear layer; node: None for the graph's input and for a rounding that is a stage of its own.
    """

    name: str
    operator: str
    role: Role
    raw: str
    shown: str
    sources: tuple[str, ...] = ()
    weight: str | None = None
    bias: str | None = None
    node: Node | None = None
    rounding: Rounding | None = None


def stages(network: Network) -> tuple[Stage, ...]:
    """The stages in the graph's order, the input first. What they are doesn't depend on an image."""
    return tuple(_Walk(network).found)


class _Walk:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.makers = {name: node for node in network.nodes for name in node.outputs}
        self.fixed = set(network.constants)
        self.readers: dict[str, list[Node]] = {}
        for node in network.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.skipped: set[int] = set()
        self.found: list[Stage] = []
        self._input()
        for node in network.nodes:
            self._node(node)

    def _input(self) -> None:
        name = self.network.input
        self.found.append(Stage(name=name, operator="input", role="input", raw=name, shown=name))
        rounding = self._rounding(name)
        if rounding is not None:
            self._rounded(name, rounding, name=name)

    def _node(self, node: Node) -> None:
        if all(name in self.fixed for name in node.inputs if name):  # makes weights: no image passes through it
            self.fixed.update(node.outputs)
            return
        if id(node) in self.skipped or not node.outputs:
            return
        role = self._role(node)
        raw = node.outputs[0]
        rounding = self._rounding(raw)
        own = rounding is not None and rounding.zero_point == rounding.low and node.operator in _SIGNED
        weight, bias = self._learnt(node, role)
        self.found.append(
            Stage(
                name=node.name,
                operator=node.operator,
                role=role,
                raw=raw,
                shown=raw if rounding is None or own else rounding.tensor,
                sources=self._sources(node, role),
                weight=weight,
                bias=bias,
                node=node,
                rounding=None if own else rounding,
            )
        )
        if rounding is not None and own:
            self._rounded(raw, rounding, name=node.name)

    def _rounded(self, source: str, rounding: Rounding, *, name: str) -> None:
        self.found.append(
            Stage(
                name=name,
                operator="QuantizeLinear",
                role="rounding",
                raw=source,
                shown=rounding.tensor,
                sources=(source,),
                rounding=rounding,
            )
        )

    def _role(self, node: Node) -> Role:
        if node.domain:
            return "other"
        if node.operator == "ReduceMean" and self._is_global(node):
            return "gap"
        if node.operator in ("Gemm", "MatMul") and (node.inputs[1] not in self.fixed or node.attributes.get("transA", 0)):
            return "other"
        return _ROLES.get(node.operator, "other")

    def _is_global(self, node: Node) -> bool:
        axes: Any = node.attributes.get("axes")
        if len(node.inputs) > 1 and node.inputs[1] in self.network.constants:
            axes = self.network.constants[node.inputs[1]].tolist()
        return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]

    def _learnt(self, node: Node, role: Role) -> tuple[str | None, str | None]:
        if role not in ("conv", "linear") or node.inputs[1] not in self.fixed:
            return None, None
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        return node.inputs[1], bias or None

    def _sources(self, node: Node, role: Role) -> tuple[str, ...]:
        if role in ("add", "mul"):
            return tuple(name for name in node.inputs if name)
        return tuple(name for name in node.inputs if name and name not in self.fixed)

    def _rounding(self, tensor: str) -> Rounding | None:
        """The QuantizeLinear and DequantizeLinear behind a tensor, where nothing else reads it; they become no stages of their own."""
        readers = self.readers.get(tensor, [])
        if len(readers) != 1 or readers[0].operator != "QuantizeLinear" or tensor == self.network.output:
            return None
        forth = readers[0]
        backs = self.readers.get(forth.outputs[0], [])
        constants = self.network.constants
        scale, zero_point = constants.get(forth.inputs[1]), constants.get(forth.inputs[2]) if len(forth.inputs) > 2 else np.zeros((), np.uint8)
        if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1 or zero_point.dtype.kind not in "iu":
            return None
        if not backs or any(back.operator != "DequantizeLinear" or back.inputs[1] != forth.inputs[1] for back in backs):
            return None
        if len({back.outputs[0] for back in backs}) != 1:
            return None
        self.skipped.update((id(forth), id(backs[0])))
        ends = np.iinfo(zero_point.dtype)
        return Rounding(
            tensor=backs[0].outputs[0], scale=float(scale.reshape(())), zero_point=int(zero_point.reshape(())), low=int(ends.min), high=int(ends.max)
        )


def slides(stage: Stage, values: Mapping[str, Array]) -> Window | None:
    """How the stage's window slides; None where it has none, or not over two axes."""
    if stage.node is None or stage.role not in ("conv", "maxpool", "avgpool"):
        return None
    image = values[stage.sources[0]].shape[2:]
    if len(image) != 2:
        return None
    kernel = values[stage.weight].shape[2:] if stage.weight is not None else stage.node.attributes.get("kernel_shape")
    return window(image, kernel, stage.node.attributes) if kernel is not None else None

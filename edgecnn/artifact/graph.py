"""What a graph is, without onnx: read it, judge whether a device may load it, and count what its layers cost."""

from __future__ import annotations

from pathlib import Path

from edgecnn.artifact.files import read_whole
from edgecnn.artifact.layers import layers
from edgecnn.artifact.model_proto import Attribute, Graph, Node, read_graph
from edgecnn.artifact.rules.operators import MICROSOFT, RULES
from edgecnn.artifact.shapes import infer_shapes
from edgecnn.artifact.sizes import shown
from edgecnn.artifact.spec import ModelSpec, TensorSpec
from edgecnn.artifact.tensor_proto import Initializer, Value
from edgecnn.errors import GraphRejected, InputMissing, ManifestRejected

__all__ = ["Attribute", "Graph", "Initializer", "Node", "Value", "check_agrees", "check_device_graph", "layers", "read_graph", "read_onnx"]

MAX_ONNX_BYTES = (1 << 31) - 1
"""More than protobuf takes in one message."""


def read_onnx(path: Path) -> bytes:
    """The bytes of a bare .onnx file, not looked into yet. Raises InputMissing, or GraphRejected for what can't be one."""
    try:
        return read_whole(path, MAX_ONNX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissing(f"{path} doesn't exist; an artifact or an .onnx file was wanted.") from None
    except OSError as error:
        raise GraphRejected(f"{path} can't be read ({error.strerror}); an .onnx file was wanted.") from None


def check_device_graph(graph: Graph) -> None:
    """Whether a device may hand the graph to its runtime, as far as that can be seen from outside.

    Raises GraphRejected for data in other files (wherever it hides), functions, training graphs, operators that `artifact.rules.operators` has
    no rule for (code of other domains, compiled blobs such as EPContext, loops and branches), and tensors whose size can't be told beforehand
    or is over what `artifact.shapes` allows.
    """
    if graph.external:
        raise GraphRejected(
            f"The graph keeps tensor {graph.external[0]!r} in another file, a device reads one file only; export it again with its weights inside."
        )
    if graph.functions or graph.training:
        what = "functions of its own" if graph.functions else "training graphs"
        raise GraphRejected(f"The graph holds {what}, which devices don't run; inline or remove them and export again.")
    for domain, operator in sorted(graph.operators, key=lambda found: (found[0] in ("", MICROSOFT), found)):  # foreign code is told first
        if domain not in ("", MICROSOFT):
            raise GraphRejected(f"The graph uses {operator} of the domain {domain!r}, devices have only ONNX's own and {MICROSOFT}; replace it.")
        if (domain, operator) not in RULES:
            name = f"{domain}:{operator}" if domain else operator
            raise GraphRejected(f"The graph uses {name}, which isn't among the operators that devices run for image classifiers; replace it.")
    fault = infer_shapes(graph).fault
    if fault is not None:
        raise GraphRejected(fault)


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
        said = f"{stated.dtype} {stated.name} of shape {shown(stated.shape)}"
        has = f"{value.dtype} {value.name} of shape {'unknown' if value.shape is None else shown(value.shape)}"
        raise ManifestRejected(f"The manifest says that the {role} is {said}, the graph has {has}.")

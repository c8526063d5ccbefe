"""One of two models to be compared: an artifact, or a bare .onnx and what it says of itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from edgecnn.artifact.bundle import Bundle
from edgecnn.artifact.codec import decode, strict_json
from edgecnn.artifact.graph import Graph, check_device_graph, read_graph
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.artifact.spec import ModelSpec, Postprocess, Preprocess, TensorSpec
from edgecnn.artifact.tensor_proto import Value
from edgecnn.device.session import Session, open_session
from edgecnn.errors import GraphRejected
from edgecnn.report.diff.net import Net, read_net
from edgecnn.report.diff.records import Named


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Side:
    """A model that was read, every byte of it checked. size: the file's, in bytes; digest: of the file's content, the same for the same file.

    spec: None where a bare graph doesn't state it; manifest, report: None for a bare graph.
    """

    file: str
    kind: Literal["artifact", "onnx"]
    size: int
    digest: str
    model: bytes = field(repr=False)
    graph: Graph = field(repr=False)
    spec: ModelSpec | None
    manifest: Manifest | None = None
    report: Report | None = None

    @property
    def named(self) -> Named:
        spec, manifest = self.spec, self.manifest
        return Named(
            file=self.file,
            kind=self.kind,
            bytes=self.size,
            graph_sha256=hashlib.sha256(self.model).hexdigest(),
            model=f"{spec.name} {spec.version}" if spec is not None else None,
            quantization=manifest.quantization if manifest is not None else None,
        )

    @property
    def equalized(self) -> bool:
        """See WeightChanges."""
        return self.report is not None and self.report.equalized

    def net(self) -> Net:
        return read_net(self.graph, self.model)

    def session(self, spec: ModelSpec, *, threads: int | None) -> Session:
        """Ready to answer as `spec` says. Raises GraphRejected where a device wouldn't load it, or it is another model's spec."""
        try:
            check_device_graph(self.graph)
            return open_session(self.model, spec, threads=threads)
        except GraphRejected as error:
            raise GraphRejected(f"{self.file}: {error}") from None


def of_artifact(bundle: Bundle, *, file: str) -> Side:
    """Raises ArtifactRejected for anything in it that isn't what was packed."""
    bundle.verify()
    model = bundle.read("model.onnx")
    return Side(
        file=file,
        kind="artifact",
        size=bundle.file_size,
        digest=hashlib.sha256(bundle.read("manifest.json")).hexdigest(),  # which states the digest of every other member
        model=model,
        graph=read_graph(model),
        spec=bundle.manifest.spec,
        manifest=bundle.manifest,
        report=bundle.report(),
    )


def of_graph(model: bytes, *, file: str) -> Side:
    """Raises GraphRejected for what is no ONNX model. Devices may refuse it all the same."""
    try:
        graph = read_graph(model)
    except GraphRejected as error:
        raise GraphRejected(f"{file}: {error}") from None
    return Side(file=file, kind="onnx", size=len(model), digest=hashlib.sha256(model).hexdigest(), model=model, graph=graph, spec=_own_spec(graph))


def _own_spec(graph: Graph) -> ModelSpec | None:
    """What edgecnn wrote into the graph of an artifact, where it is whole: but for the thresholds of a multi-label model all of its spec."""
    stated = graph.metadata
    if stated.get("edgecnn.task") != "single-label" or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    try:
        edges = [
            decode(TensorSpec, {"name": value.name, "dtype": value.dtype, "shape": _shape(value)}) for value in (graph.inputs[0], graph.outputs[0])
        ]
        return ModelSpec(
            name=stated["edgecnn.name"],
            version=stated["edgecnn.version"],
            task="single-label",
            labels=decode(tuple[str, ...], strict_json(stated["edgecnn.labels"].encode())),
            input=edges[0],
            output=edges[1],
            preprocess=decode(Preprocess, strict_json(stated["edgecnn.preprocess"].encode())),
            postprocess=Postprocess(activation="softmax"),
        )
    except (KeyError, ValueError, RecursionError):
        return None


def _shape(value: Value) -> list[int | str]:
    """A first axis that is open is the batch, whatever the graph calls it."""
    return [size if isinstance(size, int) else "batch" if at == 0 else "open" for at, size in enumerate(value.shape or ())]

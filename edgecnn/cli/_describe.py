"""What `edgecnn inspect` says of a file: the same facts as JSON and as aligned text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgecnn.artifact.codec import encode
from edgecnn.artifact.graph import Graph, Value, check_device_graph, layers, read_graph, read_onnx
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.artifact.records import Layer, ParityReport, Stage
from edgecnn.artifact.spec import Preprocess
from edgecnn.cli._memory import Need, need
from edgecnn.cli._options import columns, shown
from edgecnn.errors import GraphRejected
from edgecnn.sign import open_trusted

SCHEMA = 1
_LABELS_SHOWN = 12
_QDQ = ("QuantizeLinear", "DequantizeLinear")


class View(Protocol):
    """A file that was read, ready to be told of."""

    @property
    def need(self) -> Need: ...
    def facts(self) -> dict[str, Any]: ...
    def lines(self) -> Iterator[str]: ...


@dataclass(frozen=True, kw_only=True)
class ArtifactView:
    """An artifact, all of it verified."""

    path: Path
    size: int
    manifest: Manifest
    report: Report
    need: Need

    @classmethod
    def read(cls, path: Path) -> ArtifactView:
        """Raises InputMissing or ArtifactRejected."""
        with open_trusted(path, None) as bundle:
            bundle.verify()
            found = need(bundle.check_graph(), bundle.manifest.member("model.onnx").size)
            return cls(path=path, size=bundle.file_size, manifest=bundle.manifest, report=bundle.report(), need=found)

    def facts(self) -> dict[str, Any]:
        manifest = self.manifest
        facts: dict[str, Any] = {"schema": SCHEMA, "kind": "artifact", "file": str(self.path), "bytes": self.size, **encode(manifest)}
        facts["validated"] = manifest.validated
        facts["parity"] = _parity_facts(manifest.parity)
        facts["layers"] = encode(self.report.layers)
        facts["totals"] = _totals(self.report.layers)
        facts["memory"] = self.need.facts()
        facts["stages"] = [_stage_facts(stage) for stage in self.report.stages]
        return facts

    def lines(self) -> Iterator[str]:
        manifest, spec = self.manifest, self.manifest.spec
        labels = ", ".join(spec.labels[:_LABELS_SHOWN])
        if len(spec.labels) > _LABELS_SHOWN:
            labels += f" and {len(spec.labels) - _LABELS_SHOWN} more"
        rows = [
            ("model", f"{spec.name} {spec.version}, sequence {spec.sequence}"),
            ("file", f"{self.path}, {self.size:,} bytes"),
            ("task", f"{spec.task}, {spec.postprocess.activation}, {len(spec.labels)} labels: {labels}"),
            *([("thresholds", ", ".join(f"{t:g}" for t in spec.postprocess.thresholds[:_LABELS_SHOWN]))] if spec.postprocess.thresholds else []),
            ("input", _tensor(spec.input.name, spec.input.dtype, spec.input.shape)),
            ("output", _tensor(spec.output.name, spec.output.dtype, spec.output.shape)),
            *_preprocess(spec.preprocess),
            *([("target", self.report.target)] if self.report.target else []),
            ("graph", f"quantization {manifest.quantization}, opset {manifest.opset}, IR {manifest.ir_version}"),
            ("memory", shown(self.need.line())),
            ("parity", _parity(manifest)),
            ("licences", _pairs(manifest.licenses) or "none stated"),
            ("made with", _pairs({"edgecnn": manifest.edgecnn_version, **manifest.tools})),
        ]
        yield from columns(rows)
        yield from _stage_lines(self.report.stages)
        yield from _layer_lines(self.report.layers)
        yield from _section("Members", [("name", "bytes"), *((m.name, f"{m.size:,}") for m in manifest.members)], right=(1,))


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """A bare .onnx, read without onnx."""

    path: Path
    size: int
    graph: Graph

    @classmethod
    def read(cls, path: Path) -> GraphView:
        """Raises InputMissing or GraphRejected."""
        data = read_onnx(path)
        try:
            return cls(path=path, size=len(data), graph=read_graph(data))
        except GraphRejected as error:
            raise GraphRejected(f"{path}: {error}") from None

    @property
    def need(self) -> Need:
        return need(self.graph, self.size)

    def facts(self) -> dict[str, Any]:
        graph, table = self.graph, layers(self.graph)
        return {
            "schema": SCHEMA,
            "kind": "onnx",
            "file": str(self.path),
            "bytes": self.size,
            "producer": graph.producer,
            "ir_version": graph.ir_version,
            "opsets": dict(graph.opsets),
            "metadata": dict(graph.metadata),
            "inputs": [_value_facts(value) for value in graph.inputs],
            "outputs": [_value_facts(value) for value in graph.outputs],
            "nodes": len(graph.nodes),
            "operators": dict(sorted(Counter(node.operator for node in graph.nodes).items())),
            "external": list(graph.external),
            "refused_by_devices": self._refusal(),
            "layers": encode(table),
            "totals": _totals(table),
            "memory": self.need.facts(),
        }

    def lines(self) -> Iterator[str]:
        graph = self.graph
        operators = Counter(node.operator for node in graph.nodes)
        rows = [
            ("file", f"{self.path}, {self.size:,} bytes"),
            ("producer", shown(graph.producer) or "not stated"),
            ("graph", f"IR {graph.ir_version}, opset {', '.join(f'{shown(domain)} {version}'.strip() for domain, version in graph.opsets.items())}"),
            *(("input", _tensor(shown(value.name), value.dtype, value.shape)) for value in graph.inputs),
            *(("output", _tensor(shown(value.name), value.dtype, value.shape)) for value in graph.outputs),
            ("operators", ", ".join(f"{count} {shown(name)}" for name, count in operators.most_common())),
            ("devices", self._refusal() or "take this graph"),
            ("memory", shown(self.need.line())),
            *(("metadata", f"{shown(key)} = {shown(value[:200])}") for key, value in graph.metadata.items()),
        ]
        yield from columns(rows)
        yield from _layer_lines(layers(graph))

    def _refusal(self) -> str | None:
        """Why a device would not load the graph, as an artifact's."""
        try:
            check_device_graph(self.graph)
        except GraphRejected as error:
            return str(error)
        return None


def _totals(table: Sequence[Layer]) -> dict[str, int]:
    """macs_unknown: layers whose MACs can't be told, which the sum lacks."""
    return {
        "layers": len(table),
        "parameters": sum(layer.parameters for layer in table),
        "macs": sum(layer.macs or 0 for layer in table),
        "macs_unknown": sum(layer.macs is None for layer in table),
        "bytes": sum(layer.bytes for layer in table),
    }


def _layer_lines(table: Sequence[Layer]) -> Iterator[str]:
    """Quantize and dequantize nodes cost nothing by themselves and would be two of three lines: they are counted, not shown."""
    totals = _totals(table)
    rows = [("layer", "operator", "output", "parameters", "MACs", "bytes")]
    listed = [layer for layer in table if layer.operator not in _QDQ]
    for layer in listed:
        shape = "?" if layer.output_shape is None else "x".join(map(str, layer.output_shape))
        macs = "?" if layer.macs is None else f"{layer.macs:,}"
        rows.append((shown(layer.name), shown(layer.operator), shape, f"{layer.parameters:,}", macs, f"{layer.bytes:,}"))
    least = ">= " if totals["macs_unknown"] else ""
    rows.append((f"total of {len(table)}", "", "", f"{totals['parameters']:,}", f"{least}{totals['macs']:,}", f"{totals['bytes']:,}"))
    yield from _section("Layers", rows, right=(3, 4, 5))
    if len(listed) < len(table):
        yield f"  not listed: {len(table) - len(listed)} QuantizeLinear and DequantizeLinear"


def _stage_lines(stages: Sequence[Stage]) -> Iterator[str]:
    rows = [("stage", "nodes", "bytes", "largest difference", "agreement")]
    for stage in stages:
        parity = stage.against_source
        apart = "-" if parity is None else f"{parity.max_abs:.2e}"
        agreement = "-" if parity is None else f"{parity.agreeing}/{parity.samples}"
        rows.append((stage.name, f"{stage.nodes:,}", f"{stage.bytes:,}", apart, agreement))
    yield from _section("Stages", rows, right=(1, 2, 3, 4))
    details = [(stage.name, "; ".join(filter(None, (_pairs(stage.tools), _pairs(stage.configuration), stage.note)))) for stage in stages]
    if any(said for _, said in details):
        yield ""
        yield from columns([(name, shown(said)) for name, said in details if said], indent="  ")


def _section(title: str, rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> Iterator[str]:
    yield ""
    yield title
    yield from columns(rows, right=right, indent="  ")


def _stage_facts(stage: Stage) -> dict[str, Any]:
    facts: dict[str, Any] = encode(stage)
    facts["against_previous"] = _parity_facts(stage.against_previous)
    facts["against_source"] = _parity_facts(stage.against_source)
    return facts


def _parity_facts(parity: ParityReport | None) -> dict[str, Any] | None:
    """The report with what follows from it."""
    if parity is None:
        return None
    return {**encode(parity), "agreement": parity.agreement, "passed": parity.passed, "failures": list(parity.failures)}


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None or not manifest.validated:
        reason = "" if parity is None or parity.passed else f" ({'; '.join(parity.failures)})"
        return f"NOT PROVED: packed by force{reason}"
    return (
        f"passed against the {parity.reference}: largest difference {parity.max_abs:.2e}, "
        f"{parity.agreeing} of {parity.samples} decisions agree ({parity.agreement:.2%})"
    )


def _preprocess(pre: Preprocess) -> list[tuple[str, str]]:
    crop = f", crop to {pre.crop_size[0]} x {pre.crop_size[1]}" if pre.crop_size else ""
    antialias = "" if pre.antialias else ", no antialias"
    numbers = [f"({', '.join(f'{value:g}' for value in values)})" for values in (pre.image_mean, pre.image_std)]
    return [
        ("preprocess", f"{pre.channels}, {pre.resize_mode} to {pre.size[0]} x {pre.size[1]} (height x width), {pre.interpolation}{antialias}{crop}"),
        ("", f"(pixel * {pre.rescale_factor:.9g} - mean) / std, mean {numbers[0]}, std {numbers[1]}"),
    ]


def _value_facts(value: Value) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": None if value.shape is None else list(value.shape)}


def _tensor(name: str, dtype: str, shape: Sequence[int | str | None] | None) -> str:
    axes = "of unknown shape" if shape is None else f"[{', '.join('?' if axis is None else shown(str(axis)) for axis in shape)}]"
    return f"{name} {dtype} {axes}"


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{shown(str(key))} {shown(str(value))}" for key, value in values.items())

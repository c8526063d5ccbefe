"""The sheet as JSON, for programs: schema 1, no NaN, shares from 0 to 1, bytes, milliseconds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from edgecnn import __version__
from edgecnn.artifact.codec import encode
from edgecnn.artifact.records import Layer, ParityReport, Stage
from edgecnn.device.validate import AccuracyReport
from edgecnn.report.mistakes import Mistake
from edgecnn.report.reliability import Reliability, mean_ece
from edgecnn.report.sheet import Sheet
from edgecnn.report.subject import Artifact, Measured

SCHEMA = 1


def written(sheet: Sheet) -> str:
    """Plain ASCII, sorted keys, two spaces, one newline at the end."""
    return json.dumps(facts(sheet), sort_keys=True, indent=2, allow_nan=False) + "\n"


def facts(sheet: Sheet) -> dict[str, Any]:
    """What isn't known is null."""
    manifest, study = sheet.artifact.manifest, sheet.study
    return {
        "schema": SCHEMA,
        "kind": "report",
        "edgecnn_version": __version__,
        "artifact": _artifact(sheet.artifact),
        "float32": _artifact(sheet.float32) if sheet.float32 is not None else None,
        "spec": encode(manifest.spec),
        "accuracy": _measured(study.measured) if study is not None else None,
        "mistakes": [_mistake(kind) for kind in study.mistakes] if study is not None else None,
        "calibration": _calibration(sheet) if study is not None else None,
        "parity": _parity(manifest.parity),
        "limits": encode(manifest.limits),
        "stages": [_stage(stage) for stage in sheet.artifact.report.stages],
        "latency": _latency(sheet),
        "layers": [_layer(layer, sheet) for layer in sheet.artifact.report.layers],
        "memory": {
            "peak_bytes": sheet.memory.peak.bytes,
            "peak_at": sheet.memory.peak.name,
            "steps": [asdict(step) for step in sheet.memory.steps],
        },
        "training": [encode(epoch) for epoch in sheet.history] or None,
        "tools": {"edgecnn": manifest.edgecnn_version, **manifest.tools},
        "licenses": dict(manifest.licenses),
    }


def _artifact(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "file": artifact.name,
        "bytes": artifact.size,
        "sha256": artifact.sha256,
        "graph_sha256": artifact.graph_sha256,
        "graph_bytes": manifest.member("model.onnx").size,
        "quantization": manifest.quantization,
        "opset": manifest.opset,
        "ir_version": manifest.ir_version,
        "validated": manifest.validated,
        "parameters": sum(layer.parameters for layer in artifact.report.layers),
        "macs": sum(layer.macs or 0 for layer in artifact.report.layers),
        "macs_unknown": sum(layer.macs is None for layer in artifact.report.layers),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "data": measured.name,
        "data_sha256": measured.sha256,
        "packed": _accuracy(measured.packed),
        "float32": _accuracy(measured.float32) if measured.float32 is not None else None,
        "difference": asdict(measured.difference) if measured.difference is not None else None,
        "agreeing": measured.agreeing,
    }


def _accuracy(report: AccuracyReport) -> dict[str, Any]:
    return {
        **asdict(report),
        "top1": report.top1,
        "interval": report.interval,
        "per_label": [{**asdict(counts), "precision": counts.precision, "recall": counts.recall, "f1": counts.f1} for counts in report.per_label],
    }


def _mistake(kind: Mistake) -> dict[str, Any]:
    """Pictures stay on the page."""
    examples = [{"position": one.position, "name": one.name, "score": one.score} for one in kind.examples]
    return {"kind": kind.kind, "label": kind.label, "decided": kind.decided, "count": kind.count, "of": kind.of, "examples": examples}


def _calibration(sheet: Sheet) -> dict[str, Any]:
    assert sheet.study is not None
    found, spec = sheet.study.reliability, sheet.artifact.manifest.spec
    if spec.task == "single-label":
        return _reliability(found[0])
    return {"mean_ece": mean_ece(found), "labels": [{"label": label, **_reliability(one)} for label, one in zip(spec.labels, found, strict=True)]}


def _reliability(found: Reliability) -> dict[str, Any]:
    return {
        "ece": found.ece,
        "mce": found.mce,
        "ece_by_chance": found.ece_by_chance,
        "accuracy": found.accuracy,
        "confidence": found.confidence,
        "bins": [{**asdict(bin), "accuracy": bin.accuracy, "interval": bin.interval} for bin in found.bins],
    }


def _parity(parity: ParityReport | None) -> dict[str, Any] | None:
    """The report with what follows from it."""
    if parity is None:
        return None
    return {**encode(parity), "agreement": parity.agreement, "passed": parity.passed, "failures": list(parity.failures)}


def _stage(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = encode(stage)
    return {**found, "against_previous": _parity(stage.against_previous), "against_source": _parity(stage.against_source)}


def _latency(sheet: Sheet) -> dict[str, Any] | None:
    if sheet.timing is None:
        return None
    found = sheet.timing.report.to_json_dict()
    del found["samples_ns"], found["schema"], found["bursts"]
    return {**found, "machine": sheet.timing.machine}


def _layer(layer: Layer, sheet: Sheet) -> dict[str, Any]:
    return {**encode(layer), "macs": layer.macs, "ms": sheet.layer_times.get(layer.name)}

"""A small artifact and its parts, packed without running the graph."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgecnn.artifact.graph import layers, read_graph
from edgecnn.artifact.manifest import DeviceLimits, Manifest, Report
from edgecnn.artifact.pack import pack
from edgecnn.artifact.records import ParityLimits, ParityReport, Stage
from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from tests.fixtures.graphs import IR_VERSION, OPSET, tiny_classifier

LIMITS = ParityLimits(atol=1e-5, rtol=1e-5, min_agreement=1.0)


def spec(**changes: Any) -> ModelSpec:
    return make_spec(**{"name": "tiny", "labels": ("cat", "dog", "plane"), "preprocess": Preprocess(size=(8, 8)), **changes})


def parity(model: bytes, **changes: Any) -> ParityReport:
    facts: dict[str, Any] = {
        "graph_sha256": hashlib.sha256(model).hexdigest(),
        "reference": "source network",
        "samples": 4,
        "elements": 12,
        "nonfinite": 0,
        "max_abs": 1e-6,
        "mean_abs": 1e-7,
        "excess": -9e-6,
        "agreeing": 4,
        "limits": LIMITS,
    }
    return ParityReport(**{**facts, **changes})


def report(model: bytes) -> Report:
    stage = Stage(name="export", tools={"torch": "2.13.0"}, nodes=5, bytes=len(model), sha256=hashlib.sha256(model).hexdigest())
    return Report(stages=(stage,), layers=layers(read_graph(model)), golden=("chelsea.png",))


def arguments(model: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """What `pack` wants for a good artifact; `changes` replace some of it."""
    model = tiny_classifier() if model is None else model
    good: dict[str, Any] = {
        "spec": spec(),
        "quantization": "none",
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "model": model,
        "members": {"golden/inputs.npy": bytes(range(256)) * 3, "golden/00.png": b"not looked at here", "report.json": report(model).to_json()},
        "limits": DeviceLimits(outputs_atol=1e-4, reference=LIMITS),
        "parity": parity(model),
        "tools": {"onnx": "1.23.2"},
        "licenses": {"model": "Apache-2.0"},
        "edgecnn_version": "0.1.0",
    }
    return {**good, **changes}


def pack_sample(path: Path, **changes: Any) -> Manifest:
    return pack(path, **arguments(**changes))

"""What changed between two models, ordered by what matters: what they are fed, what their answers mean, what they compute, how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgecnn.artifact.layers import layers
from edgecnn.device.bench.report import BenchReport
from edgecnn.report.diff.graph import compare_graphs
from edgecnn.report.diff.match import match
from edgecnn.report.diff.records import Answers, Change, Diff
from edgecnn.report.diff.side import Side
from edgecnn.report.diff.spec import (
    compare_labels,
    compare_metadata,
    compare_preprocess,
    compare_proof,
    compare_provenance,
    compare_release,
    compare_task,
)
from edgecnn.report.diff.weights import compare_scales, compare_weights


def compare(a: Side, b: Side, *, answers: Answers | None = None, latency: tuple[BenchReport, BenchReport] | None = None) -> Diff:
    """All that can be told without running anything, with what was measured beside it."""
    nets = (a.net(), b.net())
    found = match(*nets)
    x, y = a.spec, b.spec
    both = (x, y) if x is not None and y is not None else None
    return Diff(
        a=a.named,
        b=b.named,
        identical=(a.kind, a.digest) == (b.kind, b.digest),
        preprocess=compare_preprocess(both[0].preprocess, both[1].preprocess) if both else None,
        labels=compare_labels(both[0].labels, both[1].labels) if both else None,
        task=compare_task(*both) if both else None,
        graph=compare_graphs(a.graph, b.graph, nets, found, same_bytes=a.model == b.model),
        weights=replace(compare_weights(nets, found), equalized=(a.equalized, b.equalized)),
        scales=compare_scales(nets, found),
        answers=answers,
        size=_size(a, b),
        latency=latency,
        release=compare_release(*both, sequence=a.kind == b.kind == "artifact") if both else (),
        proof=compare_proof(a.manifest, b.manifest) if a.manifest is not None and b.manifest is not None else (),
        provenance=_provenance(a, b),
    )


def _size(a: Side, b: Side) -> tuple[Change, ...]:
    """Always all of them: what stayed the same is worth knowing, too."""
    costs = [_costs(side) for side in (a, b)]
    return tuple(Change(what=name, a=costs[0][name], b=costs[1][name]) for name in costs[0])


def _costs(side: Side) -> Mapping[str, int | None]:
    table = layers(side.graph)
    known = all(layer.macs is not None for layer in table)
    return {
        "model.onnx, bytes": len(side.model),
        "file, bytes": side.size,
        "parameters": sum(layer.parameters for layer in table),
        "MACs": sum(layer.macs or 0 for layer in table) if known else None,
    }


def _provenance(a: Side, b: Side) -> tuple[Change, ...]:
    if a.manifest is not None and b.manifest is not None and a.report is not None and b.report is not None:
        return compare_provenance((a.manifest, a.report), (b.manifest, b.report))
    return compare_metadata(*(_metadata(side) for side in (a, b)))


def _metadata(side: Side) -> Mapping[str, Any]:
    own = {name: value for name, value in side.graph.metadata.items() if not name.startswith("edgecnn.")}
    return {"producer": side.graph.producer or None, **own}

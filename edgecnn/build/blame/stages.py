"""Each stage's answers to the same images, held against the stage before and against the source network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.build.blame import preprocessing
from edgecnn.build.blame.preprocessing import InputDifference
from edgecnn.build.blame.rebuilt import Graph, Tell
from edgecnn.build.blame.records import StageRow
from edgecnn.build.blame.subject import Reference, Subject
from edgecnn.build.chain import sha256
from edgecnn.data.collection import Collection
from edgecnn.device.differences import Differences, differences
from edgecnn.device.image import normalize
from edgecnn.device.session import open_session
from edgecnn.errors import DataRejected, EdgecnnError

FLOAT_TOLERANCE = 1e-5
"""For stages that stay in float, absolute and of the largest answer, where the artifact's record says nothing of what it was held to."""

MIN_AGREEMENT = 0.98
KEPT, KEPT_LEAST, KEPT_PIXELS = 64, 8, 64 * 64 * 64
"""Images that the layers are measured on: 64, fewer of large ones, because each layer runs all of them three times."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """rows: a stage each; pixels: the first images, uint8 (n, height, width, channels), as the artifact prepares them before normalization."""

    rows: tuple[StageRow, ...]
    pixels: NDArray[np.uint8]


@dataclass(kw_only=True, slots=True, eq=False)
class _Run:
    """Something that answers, and what it has answered; failure: why it can't."""

    spec: ModelSpec
    function: Callable[[NDArray[Any]], NDArray[np.float32]] | None
    answers: list[NDArray[np.float32]] = field(default_factory=list)
    failure: str | None = None

    def __call__(self, x: NDArray[Any]) -> None:
        if self.function is None or self.failure is not None:
            return
        try:
            self.answers.append(self.function(x))
        except EdgecnnError as error:
            self.failure = f"it fails on an image: {str(error).rstrip('.')}"

    @property
    def logits(self) -> NDArray[np.float32] | None:
        return np.concatenate(self.answers) if self.answers and self.failure is None else None


def _open(model: bytes | None, spec: ModelSpec, *, optimize: bool) -> _Run:
    if model is None:
        return _Run(spec=spec, function=None)
    try:
        return _Run(spec=spec, function=open_session(model, spec, optimize=optimize).logits)
    except EdgecnnError as error:
        return _Run(spec=spec, function=None, failure=f"it can't be opened: {str(error).rstrip('.')}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """atol: of float stages, of all answers; min_agreement and min_sqnr_db: of quantized ones."""

    atol: float
    min_agreement: float
    min_sqnr_db: float

    def words(self, *, quantized: bool) -> str:
        return f"{100 * self.min_agreement:g} % alike, {self.min_sqnr_db:g} dB" if quantized else f"atol {self.atol:.2g}"

    def failures(self, found: Differences, *, quantized: bool, other: str) -> tuple[str, ...]:
        """Why `found`, the differences from `other`, fall short."""
        if not quantized:
            return () if found.max_abs <= self.atol else (f"answers differ from {other}'s by up to {found.max_abs:.3g}, allowed are {self.atol:.2g}",)
        said = []
        if found.agreement < self.min_agreement:
            said.append(f"{found.agreeing} of {found.samples} decisions are {other}'s ({found.agreement:.2%}), wanted {self.min_agreement:.2%}")
        if found.sqnr_db is not None and found.sqnr_db < self.min_sqnr_db:
            said.append(f"the SQNR of the logits against {other}'s is {found.sqnr_db:.1f} dB, wanted {self.min_sqnr_db:g}")
        return tuple(said)


def _limits(subject: Subject, answers: NDArray[np.float32], min_sqnr_db: float) -> Limits:
    exported, quantized = subject.recorded("export"), subject.recorded("quantize")
    of_floats = exported.against_source.limits if exported is not None and exported.against_source is not None else None
    of_decisions = quantized.against_source.limits if quantized is not None and quantized.against_source is not None else None
    atol, rtol = (FLOAT_TOLERANCE, FLOAT_TOLERANCE) if of_floats is None else (of_floats.atol or 0.0, of_floats.rtol or 0.0)
    agreement = of_decisions.min_agreement if of_decisions is not None else None
    return Limits(
        atol=atol + rtol * float(np.abs(answers).max()),
        min_agreement=MIN_AGREEMENT if agreement is None else agreement,
        min_sqnr_db=min_sqnr_db,
    )


def measure(subject: Subject, reference: Reference, graphs: Sequence[Graph], images: Collection, *, min_sqnr_db: float, tell: Tell) -> Measured:
    """Each image is decoded once (twice where the reference prepares it otherwise) and answered by all; only the answers are kept.

    Raises DataRejected for no images or where the reference's own answers aren't finite; ImageRejected or InputMissing naming an image.
    """
    network, last = reference.network, graphs[-1]
    source, prepared = (_Run(spec=network.spec, function=network.logits) for _ in range(2))
    runs = {graph.stage: _open(graph.model, graph.spec, optimize=False) for graph in graphs}
    runs["optimized"] = _open(last.model, last.spec, optimize=True)
    runs["packaged"] = _open(subject.model, subject.spec, optimize=True)
    pixels, apart = _answer_all(subject, reference, images, (source, prepared), tuple(runs.values()), tell)
    expected = source.logits
    if expected is None or not np.isfinite(expected).all():
        raise DataRejected(f"the reference itself doesn't answer these images with finite numbers ({source.failure or 'NaN or infinity'}).")
    limits = _limits(subject, expected, min_sqnr_db)
    as_said = prepared.logits
    rows = [preprocessing.row(subject, reference, apart, None if as_said is None else differences(as_said, expected, network.spec))]
    previous, name = expected, "the source network"
    for stage, graph in ((graph.stage, graph) for graph in graphs):
        rows.append(_row(stage, runs[stage], limits, previous=previous, name=name, source=expected, subject=subject, graph=graph))
        if (found := _finite(runs[stage].logits)) is not None:
            previous, name = found, stage
    for stage in ("optimized", "packaged"):
        rows.append(_row(stage, runs[stage], limits, previous=previous, name=name, source=expected, subject=subject, last=last))
        if (found := _finite(runs[stage].logits)) is not None:
            previous, name = found, stage
    return Measured(rows=tuple(rows), pixels=pixels)


def _finite(logits: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return logits if logits is not None and np.isfinite(logits).all() else None


def _answer_all(
    subject: Subject, reference: Reference, images: Collection, sources: tuple[_Run, _Run], graphs: Sequence[_Run], tell: Tell
) -> tuple[NDArray[np.uint8], InputDifference]:
    ours = subject.float_spec.preprocess
    compared = preprocessing.comparable(subject, reference)
    theirs = reference.preprocess if compared and reference.preprocess is not None else ours
    kept: list[NDArray[np.uint8]] = []
    most = max(KEPT_LEAST, min(KEPT, KEPT_PIXELS // math.prod(ours.input_size)))
    apart, done = InputDifference(), 0
    for pixels, as_said in preprocessing.iterate(images, ours, theirs):
        fed: dict[Preprocess, NDArray[Any]] = {ours: normalize(pixels, ours)}
        if compared:
            wanted = normalize(as_said, theirs)
            apart.add(fed[ours], wanted)
            sources[1](wanted)
        sources[0](fed[ours])
        for run in graphs:
            pre = run.spec.preprocess
            if pre not in fed:
                fed[pre] = normalize(pixels, pre)
            run(fed[pre])
        if done < most:
            kept.append(pixels[: most - done])
        done += len(pixels)
        tell(f"comparing stages, {done} of {len(images)} images")
    if not done:
        raise DataRejected("there are no images to compare answers on; give at least one.")
    return np.concatenate(kept), apart


_WHAT = {
    "export": "exported, run as it stands",
    "simplify": "simplified, run as it stands",
    "quantize": "quantized, run as it stands",
    "optimized": "the same, optimized by onnxruntime",
    "packaged": "the file, opened again",
}
_ADVICE = {
    "export": "the exporter changed the network, so try another --opset or another version of torch and onnx",
    "simplify": "the simplifier changed the network, so try another version of onnxsim",
    "quantize": "give --calibration images that look like those it meets, another --config, or keep the worst layers in float",
    "optimized": "onnxruntime's optimizer changes the answers on this machine, so try another version of it, or --config reduce_range=true",
    "packaged": "export it again, and don't use this file",
}


def _row(
    stage: str,
    run: _Run,
    limits: Limits,
    *,
    previous: NDArray[np.float32],
    name: str,
    source: NDArray[np.float32],
    subject: Subject,
    graph: Graph | None = None,
    last: Graph | None = None,
) -> StageRow:
    quantized = subject.manifest.quantization != "none" and stage not in ("export", "simplify")
    recorded = graph.recorded if graph is not None else None
    model = graph.model if graph is not None else subject.model if stage == "packaged" else last.model if last is not None else None
    row = StageRow(
        stage=stage,
        what=_WHAT[stage],
        limit=limits.words(quantized=quantized),
        made=graph.made if graph is not None else None,
        graph_sha256=sha256(model) if model is not None else None,
        recorded_sha256=recorded.sha256 if recorded is not None else None,
        note=graph.note if graph is not None else None,
        judged=model is not None,
    )
    failures = list(_other_graph(subject)) if stage == "packaged" else []
    logits = run.logits
    if run.failure is not None:
        failures.append(run.failure)
    elif logits is not None and not np.isfinite(logits).all():
        failures.append(f"{int((~np.isfinite(logits)).any(axis=1).sum())} of {len(logits)} images are answered with NaN or infinity")
    elif logits is not None:
        pairs = [(differences(source, logits, run.spec), "the source network")]
        if name != "the source network":
            pairs.append((differences(previous, logits, run.spec), name))
        row = replace(row, against_source=pairs[0][0], against_previous=pairs[-1][0])
        failures += next((found for found in (limits.failures(d, quantized=quantized, other=other) for d, other in pairs) if found), ())
    return replace(row, failures=tuple(failures), advice=_ADVICE[stage] if failures else None)


def _other_graph(subject: Subject) -> Sequence[str]:
    """The packaged graph must be the one that was judged when the artifact was made."""
    found, parity = sha256(subject.model), subject.manifest.parity
    wanted = [(subject.stages[-1].sha256, "its last stage made")] if subject.stages else []
    wanted += [(parity.graph_sha256, "was validated")] if parity is not None else []
    return [f"the graph in it ({found[:12]}) isn't the one that {what} ({digest[:12]})" for digest, what in wanted if digest != found][:1]

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
from edgecnn.build.blame.subject import Originals, Reference, Subject
from edgecnn.build.chain import sha256
from edgecnn.build.onnx_io import parse
from edgecnn.build.pairs import floats_between_integers
from edgecnn.data.collection import Collection, evenly
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
    """rows: a stage each; limits: what quantized ones were held against; of some images, spread evenly: pixels, uint8 (n, height, width,
    channels), as the artifact prepares them before normalization, and expected, the source network's answers, float32 (n, labels)."""

    rows: tuple[StageRow, ...]
    limits: Limits
    pixels: NDArray[np.uint8]
    expected: NDArray[np.float32]


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
    """atol: of float stages, of all answers; min_agreement and min_sqnr_db: of quantized ones; spare: decisions that may be otherwise whatever
    their share, because of few images a single one is more than 2 %."""

    atol: float
    min_agreement: float
    min_sqnr_db: float
    spare: int = 0

    def words(self, *, quantized: bool) -> str:
        return f"{100 * self.min_agreement:g} % alike, {self.min_sqnr_db:g} dB" if quantized else f"atol {self.atol:.2g}"

    def failures(self, found: Differences, *, quantized: bool, other: str) -> tuple[str, ...]:
        """Why `found`, the differences from `other`, fall short."""
        if not quantized:
            return () if found.max_abs <= self.atol else (f"answers differ from {other}'s by up to {found.max_abs:.3g}, allowed are {self.atol:.2g}",)
        said = []
        if found.agreement < self.min_agreement and found.samples - found.agreeing > self.spare:
            said.append(f"{found.agreeing} of {found.samples} decisions are {other}'s ({found.agreement:.2%}), wanted {self.min_agreement:.2%}")
        if found.sqnr_db is not None and found.sqnr_db < self.min_sqnr_db:
            said.append(f"the SQNR of the logits against {other}'s is {found.sqnr_db:.1f} dB, wanted {self.min_sqnr_db:g}")
        return tuple(said)


def _limits(subject: Subject, answers: NDArray[np.float32], min_sqnr_db: float, *, golden: bool) -> Limits:
    exported, quantized = subject.recorded("export"), subject.recorded("quantize")
    of_floats = exported.against_source.limits if exported is not None and exported.against_source is not None else None
    of_decisions = quantized.against_source.limits if quantized is not None and quantized.against_source is not None else None
    said = of_floats is not None and (of_floats.atol is not None or of_floats.rtol is not None)
    atol, rtol = (of_floats.atol or 0.0, of_floats.rtol or 0.0) if of_floats is not None and said else (FLOAT_TOLERANCE, FLOAT_TOLERANCE)
    recorded = of_decisions.min_agreement if of_decisions is not None else None
    agreement = MIN_AGREEMENT if recorded is None else recorded
    return Limits(
        atol=atol + rtol * float(np.abs(answers).max()),
        min_agreement=agreement,
        min_sqnr_db=min_sqnr_db,
        spare=0 if golden or agreement == 1 else 1,  # golden images were chosen among those that are decided alike
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
    kept = _kept(subject, len(images))
    pixels, apart = _answer_all(subject, reference, images, (source, prepared), tuple(runs.values()), kept, tell)
    expected = source.logits
    if expected is None or not np.isfinite(expected).all():
        raise DataRejected(f"the reference itself doesn't answer these images with finite numbers ({source.failure or 'NaN or infinity'}).")
    limits = _limits(subject, expected, min_sqnr_db, golden=isinstance(images, Originals))
    as_said = prepared.logits
    rows = [preprocessing.row(subject, reference, apart, None if as_said is None else differences(as_said, expected, network.spec))]
    before = _Before(logits=expected, name="the source network", failed=False)
    made = {graph.stage: graph for graph in graphs}
    models = {**{graph.stage: graph.model for graph in graphs}, "optimized": last.model, "packaged": subject.model}
    for stage, run in runs.items():
        row = _row(stage, run, limits, before=before, source=expected, subject=subject, model=models[stage], graph=made.get(stage))
        rows.append(row)
        found = _finite(run.logits)
        before = replace(before, failed=True) if row.failures else before
        before = replace(before, logits=found, name=stage) if found is not None else before
    return Measured(rows=tuple(rows), limits=limits, pixels=pixels, expected=expected[list(kept)])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Before:
    """The last stage that answered, its answers, and whether a stage up to it fell short."""

    logits: NDArray[np.float32]
    name: str
    failed: bool


def _kept(subject: Subject, count: int) -> tuple[int, ...]:
    """The places of the images that the layers are measured on."""
    most = max(KEPT_LEAST, min(KEPT, KEPT_PIXELS // math.prod(subject.spec.preprocess.input_size)))
    return evenly(count, most)


def _finite(logits: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return logits if logits is not None and np.isfinite(logits).all() else None


def _answer_all(
    subject: Subject,
    reference: Reference,
    images: Collection,
    sources: tuple[_Run, _Run],
    graphs: Sequence[_Run],
    places: Sequence[int],
    tell: Tell,
) -> tuple[NDArray[np.uint8], InputDifference]:
    ours = subject.float_spec.preprocess
    compared = preprocessing.comparable(subject, reference)
    theirs = reference.preprocess if compared and reference.preprocess is not None else ours
    kept: list[NDArray[np.uint8]] = []
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
        kept.append(pixels[[place - done for place in places if done <= place < done + len(pixels)]])
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
    "quantize": "calibrate on images that look like those it meets, try another --config, or keep the worst layers in float",
    "optimized": "onnxruntime's optimizer changes the answers on this machine, so try another version of it, or --config reduce_range=true",
    "packaged": "export it again, and don't use this file",
}


def _advice(stage: str, model: bytes | None) -> str:
    rounded = floats_between_integers(parse(model)) if stage == "optimized" and model is not None else {}
    if not rounded:
        return _ADVICE[stage]
    return (
        f"onnxruntime's optimizer rounds the float weights of {', '.join(rounded)} to int8, with one scale for all channels, because integers "
        "go in and come out; so keep the layers that read its output in float too"
    )


def _row(
    stage: str,
    run: _Run,
    limits: Limits,
    *,
    before: _Before,
    source: NDArray[np.float32],
    subject: Subject,
    model: bytes | None,
    graph: Graph | None,
) -> StageRow:
    quantized = subject.manifest.quantization != "none" and stage not in ("export", "simplify")
    row = StageRow(
        stage=stage,
        what=_WHAT[stage],
        limit=limits.words(quantized=quantized),
        made=graph.made if graph is not None else None,
        graph_sha256=sha256(model) if model is not None else None,
        recorded_sha256=graph.recorded.sha256 if graph is not None and graph.recorded is not None else None,
        note=graph.note if graph is not None else None,
        judged=model is not None,
    )
    own = list(_other_graph(subject)) if stage == "packaged" else []
    inherited: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    logits = run.logits
    if run.failure is not None:
        own.append(run.failure)
    elif logits is not None and not np.isfinite(logits).all():
        own.append(f"{int((~np.isfinite(logits)).any(axis=1).sum())} of {len(logits)} images are answered with NaN or infinity")
    elif logits is not None:
        row = replace(row, against_source=differences(source, logits, run.spec), against_previous=differences(before.logits, logits, run.spec))
        assert row.against_source is not None
        assert row.against_previous is not None
        inherited = limits.failures(row.against_source, quantized=quantized, other="the source network")
        if before.name != "the source network":
            since = limits.failures(row.against_previous, quantized=quantized, other=before.name)
    advice = _advice(stage, model) if own or since or (inherited and not before.failed) else None
    return replace(row, failures=(*own, *(inherited or since)), advice=advice)


def _other_graph(subject: Subject) -> Sequence[str]:
    """The packaged graph must be the one that was judged when the artifact was made."""
    found, parity = sha256(subject.model), subject.manifest.parity
    wanted = [(subject.stages[-1].sha256, "its last stage made")] if subject.stages else []
    wanted += [(parity.graph_sha256, "was validated")] if parity is not None else []
    return [f"the graph in it ({found[:12]}) isn't the one that {what} ({digest[:12]})" for digest, what in wanted if digest != found][:1]

"""Does an artifact still give its answers on this machine? Its golden inputs, step by step, and its accuracy on a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.records import ParityLimits, ParityReport
from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.data.collection import Collection
from edgecnn.device.batches import iterate_inputs
from edgecnn.device.classify import decide
from edgecnn.device.golden import Golden, read_golden
from edgecnn.device.image import normalize, to_uint8
from edgecnn.device.parity import compare
from edgecnn.device.session import open_session
from edgecnn.device.statistics import wilson
from edgecnn.errors import AccuracyFailed, ArtifactRejected, DataRejected, ImageRejected

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle

Logits = Callable[[NDArray[Any]], NDArray[np.float32]]
"""(n, channels, height, width), float32 or (where the graph normalizes) uint8 -> float32 (n, labels)."""


class HasLogits(Protocol):
    """A Session or a Model."""

    def logits(self, x: NDArray[Any], /) -> NDArray[np.float32]: ...


# Golden answers, step by step


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the way from image to answer. samples: compared; max_abs: the largest difference; limit: what was allowed, in words;
    agreeing: samples with the same decision, where answers were compared; failures: why it falls short, empty when it passed."""

    name: str
    samples: int
    max_abs: float
    limit: str
    agreeing: int | None = None
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def message(self) -> str:
        return "; ".join(self.failures)


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """The three steps: golden image -> model input, input -> the host's outputs, input -> the reference network's answers."""

    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step.passed for step in self.steps)


def check_golden(bundle: Bundle, *, threads: int | None = None, session: HasLogits | None = None) -> GoldenReport:
    """Run the golden images and inputs here and hold the results against the limits in the manifest.

    The steps are told apart: preprocessing must give the stored inputs exactly; these must give the host's outputs within
    limits.outputs_atol (0 is exact) and the reference network's answers within limits.reference. session: where the graph is open already; one of
    another runtime than the host's rounds otherwise, so it may be as far from the host as from the reference.
    Raises ArtifactRejected for golden members that are absent, empty or don't fit, and what `open_session` raises.
    """
    manifest = bundle.manifest
    golden = read_golden(bundle)
    if session is None:
        session = open_session(bundle.read("model.onnx"), manifest.spec, threads=threads)
    answers = check_answers(bundle, golden, session)
    return GoldenReport(steps=(_preprocessing_step(bundle, golden, manifest.spec.preprocess), *answers))


def check_answers(bundle: Bundle, golden: Golden, session: HasLogits) -> tuple[Step, Step]:
    """The steps of `check_golden` from the model's inputs on."""
    manifest = bundle.manifest
    answers = session.logits(golden.inputs)
    graph = manifest.member("model.onnx").sha256
    limits = manifest.limits
    atol = limits.outputs_atol if _of_onnxruntime(session) else max(limits.outputs_atol, limits.reference.atol or 0.0)

    def against(name: str, expected: NDArray[np.float32], limits: ParityLimits, reference: str) -> Step:
        return _step(name, compare(expected, answers, limits, graph_sha256=graph, reference=reference, spec=manifest.spec))

    return (
        against("input -> host's outputs", golden.outputs, ParityLimits(atol=atol), "the host"),
        against("input -> reference's answers", golden.reference, limits.reference, "the reference network"),
    )


def _of_onnxruntime(session: HasLogits) -> bool:
    """Whether it computes as the host did; what can't be told is held to the host's own answers."""
    provider = getattr(getattr(session, "engine", None), "provider", "")
    return not provider or provider.endswith("ExecutionProvider")


def _preprocessing_step(bundle: Bundle, golden: Golden, pre: Preprocess) -> Step:
    largest, failures = 0.0, []
    for (name, data), stored in zip(golden.originals, golden.inputs, strict=False):
        try:
            found = normalize(to_uint8(data, pre, name=name), pre)
        except ImageRejected as error:
            raise ArtifactRejected(f"{bundle.path} holds a golden image that is none: {error}") from error
        apart = np.abs(found.astype(np.float64) - stored.astype(np.float64))
        if apart.any():
            failures.append(f"{name} gives {np.count_nonzero(apart)} other values of {apart.size}, by up to {apart.max():.3g}")
        largest = max(largest, float(apart.max()))
    return Step(
        name="golden image -> model input", samples=len(golden.originals), max_abs=largest, limit=describe_limits(None), failures=tuple(failures)
    )


def _step(name: str, report: ParityReport) -> Step:
    return Step(
        name=name,
        samples=report.samples,
        max_abs=report.max_abs,
        limit=describe_limits(report.limits),
        agreeing=report.agreeing,
        failures=report.failures,
    )


def describe_limits(limits: ParityLimits | None) -> str:
    """In a few words: "exact", "atol 0.0001", "98 % agreement"; None is exact."""
    if limits is None:
        return "exact"
    words = []
    if limits.atol is not None or limits.rtol is not None:
        bounds = (("atol", limits.atol), ("rtol", limits.rtol))
        words.append(" + ".join(f"{name} {value:g}" for name, value in bounds if value) or "exact")
    if limits.min_agreement is not None:
        words.append(f"{100 * limits.min_agreement:g} % agreement")
    return ", ".join(words)


# Accuracy on a collection


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """One model's answers over a collection of n images, in its order.

    decisions, targets: the top-1 label's index, int64 (n,), or for multi-label models bool (n, labels); indices are into the spec's
    labels; targets is None where the collection names no labels. logits: float32 (n, labels), where they were asked for.
    """

    names: tuple[str, ...]
    decisions: NDArray[Any]
    targets: NDArray[Any] | None
    logits: NDArray[np.float32] | None = None

    @property
    def correct(self) -> NDArray[np.bool_]:
        """bool (n,): which images were decided as their targets say, for multi-label models in every label. DataRejected without targets."""
        if self.targets is None:
            raise DataRejected("the images have no labels, so no accuracy can be told; give a collection with labels.")
        right: NDArray[np.bool_] = np.all(self.decisions == self.targets, axis=tuple(range(1, self.decisions.ndim)))
        return right


def evaluate(
    model: Logits | HasLogits,
    collection: Collection,
    spec: ModelSpec,
    progress: Callable[[int, int], None] | None = None,
    *,
    batch: int = 16,
    threads: int = 1,
    keep_logits: bool = False,
) -> Evaluation:
    """`evaluate_all` with one model."""
    return evaluate_all([model], collection, spec, progress, batch=batch, threads=threads, keep_logits=keep_logits)[0]


def evaluate_all(
    models: Sequence[Logits | HasLogits],
    collection: Collection,
    spec: ModelSpec,
    progress: Callable[[int, int], None] | None = None,
    *,
    batch: int = 16,
    threads: int = 1,
    keep_logits: bool = False,
) -> tuple[Evaluation, ...]:
    """Each model's answers over the same images, each image decoded once. A model with a spec of its own gets the input that this one says.

    The collection's labels are matched to the spec's by name; it may lack some. progress is called with (images done, of how many);
    threads decode. Raises DataRejected for labels that the spec hasn't, the other task, no images, or an image without its label;
    ImageRejected for an unreadable one; AccuracyFailed where a model answers NaN or infinity.
    """
    positions = _label_positions(collection, spec)
    functions = [(_logits_of(model), _preprocess_of(model, spec)) for model in models]
    names: list[str] = []
    targets: list[tuple[int, ...]] = []
    decisions: list[list[NDArray[Any]]] = [[] for _ in models]
    kept: list[list[NDArray[np.float32]]] = [[] for _ in models]
    for group in iterate_inputs(collection, spec.preprocess, batch=batch, threads=threads):
        inputs = {pre: normalize(group.pixels, pre) for pre in {pre for _, pre in functions}}
        for i, (function, pre) in enumerate(functions):
            logits = function(inputs[pre])
            _check_answers(logits, group.names, spec)
            decisions[i].append(decide(logits, spec))
            if keep_logits:
                kept[i].append(logits)
        names.extend(group.names)
        targets.extend(tuple(positions[index] for index in target) for target in group.targets)
        if progress is not None:
            progress(len(names), len(collection))
    if not names:
        raise DataRejected("the collection holds no images, so nothing can be told; give at least one.")
    wanted = _targets(names, targets, spec) if positions else None
    return tuple(
        Evaluation(names=tuple(names), decisions=np.concatenate(d), targets=wanted, logits=np.concatenate(k) if keep_logits else None)
        for d, k in zip(decisions, kept, strict=True)
    )


def _logits_of(model: Logits | HasLogits) -> Logits:
    found: Any = getattr(model, "logits", None) or model
    return cast(Logits, found)


def _preprocess_of(model: Logits | HasLogits, spec: ModelSpec) -> Preprocess:
    """The shared spec's, but for who normalizes: the graph of one model may do it itself, and that of another not."""
    own: Preprocess = getattr(model, "spec", spec).preprocess
    return replace(spec.preprocess, normalized_by=own.normalized_by)


def _label_positions(collection: Collection, spec: ModelSpec) -> tuple[int, ...]:
    """Where each of the collection's labels stands in the spec; empty where it has none."""
    if not collection.labels:
        return ()
    unknown = [label for label in collection.labels if label not in spec.labels]
    if unknown:
        raise DataRejected(f"the collection has the label {unknown[0]!r}, which {spec.name} doesn't know; it knows {_listed(spec.labels)}.")
    if collection.multi_label != (spec.task == "multi-label"):
        kind = "multi-label" if collection.multi_label else "single-label"
        raise DataRejected(f"the collection is {kind} and {spec.name} is {spec.task}; give a collection of the model's kind.")
    return tuple(spec.labels.index(label) for label in collection.labels)


def _listed(labels: Sequence[str], most: int = 12) -> str:
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _check_answers(logits: NDArray[np.float32], names: tuple[str, ...], spec: ModelSpec) -> None:
    if logits.shape != (len(names), len(spec.labels)):
        raise ValueError(f"logits of shape {logits.shape} for {len(names)} images and {len(spec.labels)} labels")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise AccuracyFailed(f"{spec.name} answers NaN or infinity for {names[int(np.argmin(finite))]}; finite numbers were wanted.")


def _targets(names: Sequence[str], targets: Sequence[tuple[int, ...]], spec: ModelSpec) -> NDArray[Any] | None:
    if spec.task == "multi-label":
        sets = np.zeros((len(targets), len(spec.labels)), dtype=np.bool_)
        for row, target in zip(sets, targets, strict=True):
            row[list(target)] = True
        return sets
    if not any(targets):
        return None
    wrong = next((name for name, target in zip(names, targets, strict=True) if len(target) != 1), None)
    if wrong is not None:
        raise DataRejected(f"{wrong} has no label or several; a single-label model is measured on images with one each.")
    return np.array([target[0] for target in targets], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCounts:
    """How one label fared. precision, recall and f1 are None where there is nothing to divide by."""

    label: str
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyReport:
    """Accuracy over `count` images, of which `correct` were decided right: the top-1 label, or for multi-label models all labels (exact match).

    confusion: images by true label (rows) and decided label (columns), in the spec's order; empty for multi-label models.
    """

    labels: tuple[str, ...]
    count: int
    correct: int
    per_label: tuple[LabelCounts, ...]
    confusion: tuple[tuple[int, ...], ...] = ()

    @property
    def top1(self) -> float:
        """Share decided right, 0 to 1: top-1 accuracy or exact-match ratio; 0 where there were no images."""
        return self.correct / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`."""
        return wilson(self.correct, self.count)


def accuracy(
    model: Logits | HasLogits,
    collection: Collection,
    spec: ModelSpec,
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int = 1,
) -> AccuracyReport:
    """A model's accuracy on a collection with labels. Raises what `evaluate_all` raises, and DataRejected for a collection without labels."""
    if not collection.labels:
        raise DataRejected("the images have no labels, so no accuracy can be told; give a collection with labels.")
    return accuracy_report(evaluate(model, collection, spec, progress, threads=threads), spec)


def accuracy_report(evaluation: Evaluation, spec: ModelSpec) -> AccuracyReport:
    """The report of answers taken before. Raises DataRejected where the collection had no labels."""
    correct = int(evaluation.correct.sum())
    wanted, found = np.asarray(evaluation.targets), evaluation.decisions
    if spec.task == "multi-label":
        confusion: tuple[tuple[int, ...], ...] = ()
        both, only_found, only_wanted = (np.sum(sets, axis=0) for sets in (wanted & found, found & ~wanted, wanted & ~found))
    else:
        size = len(spec.labels)
        matrix = np.bincount(wanted * size + found, minlength=size * size).reshape(size, size)
        confusion = tuple(tuple(row) for row in matrix.tolist())
        both = matrix.diagonal()
        only_found, only_wanted = matrix.sum(axis=0) - both, matrix.sum(axis=1) - both
    per_label = tuple(
        LabelCounts(label=label, true_positives=int(tp), false_positives=int(fp), false_negatives=int(fn))
        for label, tp, fp, fn in zip(spec.labels, both, only_found, only_wanted, strict=True)
    )
    return AccuracyReport(labels=spec.labels, count=len(evaluation.names), correct=correct, per_label=per_label, confusion=confusion)

"""What reports speak of: an artifact, its float32 twin, and how accurate both are on a collection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.graph import Graph
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.artifact.spec import ModelSpec
from edgecnn.data.collection import Collection
from edgecnn.device.model import Model, open_model
from edgecnn.device.statistics import PairedDifference, paired_difference
from edgecnn.device.validate import AccuracyReport, Evaluation, accuracy_report, evaluate_all
from edgecnn.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """An artifact, every byte of it verified. name, size (bytes) and sha256 are the file's; graph is model.onnx, read without onnx."""

    name: str
    size: int
    sha256: str
    manifest: Manifest
    report: Report
    graph: Graph

    @property
    def quantization(self) -> str:
        return "float32" if self.manifest.quantization == "none" else self.manifest.quantization

    @property
    def graph_sha256(self) -> str:
        return self.manifest.member("model.onnx").sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Accuracy on a collection called `name`, whose images have `sha256` (of their own sha256, in order).

    packed: the artifact's; float32, difference (packed less float32), agreeing (images that both decide alike): where there is a float32 twin.
    """

    name: str
    sha256: str
    packed: AccuracyReport
    float32: AccuracyReport | None = None
    difference: PairedDifference | None = None
    agreeing: int | None = None


def read_artifact(path: Path) -> Artifact:
    """Raises InputMissing or ArtifactRejected."""
    with open_bundle(path) as bundle:
        bundle.verify()
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return Artifact(name=path.name, size=len(data), sha256=digest, manifest=bundle.manifest, report=bundle.report(), graph=bundle.check_graph())


def check_twins(packed: Artifact, float32: Artifact) -> None:
    """Raises UsageError unless `float32` is the same model, not quantized."""
    if float32.manifest.quantization != "none":
        raise UsageError(
            f"{float32.name} is {float32.manifest.quantization}; the artifact of the same model exported with --quantize none was wanted."
        )
    if float32.manifest.spec != packed.manifest.spec:
        raise UsageError(
            f"{float32.name} is not the model of {packed.name}: name, version, labels or preprocessing differ; export both from one source."
        )


def measure(
    path: Path,
    collection: Collection,
    *,
    name: str,
    float32: Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Decide the collection's images with the artifact at `path`, and with its float32 twin on the same decoded images.

    Raises what `edgecnn.device.validate.evaluate_all` raises, and DataRejected for images without labels.
    """
    spec, evaluations = evaluate_twins(path, collection, float32=float32, threads=threads, progress=progress)
    return measured(evaluations, collection, spec, name=name)


def evaluate_twins(
    path: Path,
    collection: Collection,
    *,
    float32: Path | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[NDArray[np.float32]], None] | None = None,
) -> tuple[ModelSpec, tuple[Evaluation, ...]]:
    """The answers of the artifact at `path`, then those of its float32 twin. observe is called with the artifact's logits, a batch at a time,
    in the collection's order, so that nobody has to keep them all. Raises what `edgecnn.device.validate.evaluate_all` raises."""
    models: list[Any] = [open_model(place, threads=threads) for place in (path, float32) if place is not None]
    first: Model = models[0]
    if observe is not None:
        models[0] = _Observed(first, observe)
    decode_threads = first.session.engine.threads
    return first.spec, evaluate_all(models, collection, first.spec, progress, threads=decode_threads)


class _Observed:
    """A model whose logits someone else sees, too."""

    def __init__(self, model: Model, observe: Callable[[NDArray[np.float32]], None]) -> None:
        self.model, self.spec, self.observe = model, model.spec, observe

    def logits(self, x: NDArray[Any], /) -> NDArray[np.float32]:
        answered = self.model.logits(x)
        if np.isfinite(answered).all():  # what isn't is refused by whoever asked
            self.observe(answered)
        return answered


def measured(evaluations: tuple[Evaluation, ...], collection: Collection, spec: ModelSpec, *, name: str) -> Measured:
    """What answers taken before come to. Raises DataRejected for images without labels."""
    packed, *others = evaluations
    digest = hashlib.sha256("".join(item.sha256() for item in collection).encode()).hexdigest()
    if not others:
        return Measured(name=name, sha256=digest, packed=accuracy_report(packed, spec))
    same = np.asarray(packed.decisions == others[0].decisions)
    return Measured(
        name=name,
        sha256=digest,
        packed=accuracy_report(packed, spec),
        float32=accuracy_report(others[0], spec),
        difference=paired_difference(others[0].correct, packed.correct),
        agreeing=int(np.sum(same if same.ndim == 1 else same.all(axis=1))),
    )

"""An artifact, opened and ready: `edgecnn.load("x.edgecnn").predict("cat.jpg")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.bundle import Bundle
from edgecnn.artifact.manifest import Manifest
from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.classify import Milliseconds, Prediction, predictions
from edgecnn.device.host import may_saturate
from edgecnn.device.image import Source, normalize, open_image, to_uint8
from edgecnn.device.session import Session, open_session

_ROUND = 32
"""Images that `predict_batch` holds decoded at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A classifier from an artifact. One thread at a time may use it. notes: what there is to say of how it runs here, a sentence each without
    its full stop."""

    manifest: Manifest
    session: Session
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> ModelSpec:
        """What the model is: task, labels, tensors, preprocessing."""
        return self.manifest.spec

    def predict(self, source: Source, *, top_k: int = 5, name: str | None = None) -> Prediction:
        """What the model says of one image.

        source: a path, encoded bytes, uint8 pixels (height, width) or (height, width, 3) in RGB, or a Pillow image; name: what to call it in
        the Prediction and in messages, by default its path. Raises InputMissing or ImageRejected for what can't be read.
        """
        name = name or _name(source)
        x, decode, preprocess = self._prepare(source, name)
        return self._classify(x, [name], [(decode, preprocess)], top_k)[0]

    def twin(self) -> Model:
        """The same model for another thread, at no cost but its buffers."""
        return replace(self, session=self.session.twin())

    def predict_batch(self, sources: Iterable[Source], *, top_k: int = 5) -> list[Prediction]:
        """`predict` for each source, in order, several at a time where the model's batch allows; the first that can't be read raises.

        Each one's inference time is its share of its round's.
        """
        return [prediction for some in _rounds(sources) for prediction in self._predict_round(some, top_k)]

    def predict_input(self, x: NDArray[Any], *, top_k: int = 5, name: str | None = None) -> Prediction:
        """What the model says of one ready input, `spec.preprocess.dtype` (1, channels, height, width). Raises UsageError as `logits` does."""
        return self._classify(x, [name], [(0, 0)], top_k)[0]

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """(n, channels, height, width), float32 and normalized, or uint8 pixels where the spec says that the graph normalizes -> float32
        (n, labels). Raises UsageError for anything else."""
        return self.session.logits(x)

    def _predict_round(self, sources: list[Source], top_k: int) -> list[Prediction]:
        names = [_name(source) for source in sources]
        prepared = [self._prepare(source, name) for source, name in zip(sources, names, strict=True)]
        inputs = np.concatenate([x for x, _, _ in prepared])
        return self._classify(inputs, names, [(decode, preprocess) for _, decode, preprocess in prepared], top_k)

    def _prepare(self, source: Source, name: str | None) -> tuple[NDArray[Any], int, int]:
        """The input (1, channels, height, width), and the nanoseconds of decoding and of the rest."""
        pre = self.spec.preprocess
        start = perf_counter_ns()
        image = open_image(source, name=name)
        decoded = perf_counter_ns()
        x = normalize(to_uint8(image, pre, name=name), pre)[np.newaxis]
        return x, decoded - start, perf_counter_ns() - decoded

    def _classify(self, x: NDArray[Any], names: list[str | None], spent: list[tuple[int, int]], top_k: int) -> list[Prediction]:
        start = perf_counter_ns()
        logits = self.session.logits(x)
        inference = (perf_counter_ns() - start) / len(x) / 1e6
        ms = tuple(Milliseconds(decode=decode / 1e6, preprocess=preprocess / 1e6, inference=inference) for decode, preprocess in spent)
        return predictions(logits, self.spec, inputs=tuple(names), ms=ms, top_k=top_k)


def load(path: Path | str, *, threads: int | None = None, trust_key: Path | str | None = None, engine: str = "ort") -> Model:
    """Open an artifact: its structure, manifest and graph are verified first.

    threads: at most what this process may use, which is the default. An artifact that was packed without proof of its answers is loaded with a
    warning in the log "edgecnn" (standard error, unless logging is configured otherwise). trust_key: a PEM file with a public key, whose
    signature (beside the artifact, its whole name followed by .sig) is then required and checked before anything is parsed. engine: "ort",
    "openvino", or "auto" for the faster of those here that gives the golden answers (edgecnn.device.choice); what "auto" chose goes to the same log.
    Raises InputMissing, ArtifactRejected (SignatureRejected for the signature), KeyRejected, UsageError for threads, or MissingHere.
    """
    model = open_model(path, threads=threads, trust_key=trust_key, engine=engine)
    for told in notices(path, model):
        import logging

        logging.getLogger("edgecnn").warning(told)
    return model


def open_model(path: Path | str, *, threads: int | None = None, trust_key: Path | str | None = None, engine: str = "ort") -> Model:
    """`load` for callers that give the notices themselves."""
    from edgecnn.sign import open_trusted

    with open_trusted(path, trust_key) as bundle:
        return model_from(bundle, threads=threads, engine=engine)


def model_from(bundle: Bundle, *, threads: int | None = None, engine: str = "ort") -> Model:
    """The model in an open artifact, however it was opened; it outlives the bundle. Where int8 may saturate here, it is settled first how it is
    run: see edgecnn.device.saturation. Raises ArtifactRejected, UsageError or MissingHere (CpuUnfit where it can't be run rightly)."""
    manifest = bundle.manifest
    if engine != "ort":
        from edgecnn.device.choice import open_with

        session, notes = open_with(bundle, engine, threads=threads)
        return Model(manifest=manifest, session=session, notes=notes)
    if not may_saturate():
        return Model(manifest=manifest, session=open_session(bundle.graph_source(), manifest.spec, threads=threads))
    from edgecnn.device.saturation import settle

    session, told = settle(bundle, threads=threads)
    return Model(manifest=manifest, session=session, notes=(told,) if told else ())


def notices(path: Path | str, model: Model) -> tuple[str, ...]:
    """What to tell whoever uses the model of an artifact, a sentence each."""
    return (*filter(None, [unvalidated_notice(path, model.manifest)]), *(f"{told}." for told in model.notes))


def unvalidated_notice(path: Path | str, manifest: Manifest) -> str | None:
    """What to tell whoever uses an artifact whose answers were never proved to be its source network's; None for one that was validated."""
    if manifest.validated:
        return None
    return f"{path} was packed by force: its answers were not proved to be the source network's; don't rely on them."


def _name(source: Source) -> str | None:
    return str(source) if isinstance(source, (str, Path)) else None


def _rounds(sources: Iterable[Source]) -> Iterator[list[Source]]:
    waiting = iter(sources)
    while some := list(islice(waiting, _ROUND)):
        yield some

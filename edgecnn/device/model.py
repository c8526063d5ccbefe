"""An artifact, opened and ready: `edgecnn.load("x.edgecnn").predict("cat.jpg")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.bundle import Bundle
from edgecnn.artifact.manifest import Manifest
from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.classify import Milliseconds, Prediction, predictions
from edgecnn.device.host import may_saturate
from edgecnn.device.image import Source, fitted, normalize, open_image
from edgecnn.device.session import Session, open_session

_ROUND = 32
"""Images that `predict_batch` holds decoded at a time."""


class Prepared(NamedTuple):
    """An image on its way to the network: its name, the input `spec.preprocess.dtype` (1, channels, height, width), and the nanoseconds that it
    took to decode it and to do the rest."""

    name: str | None
    x: NDArray[Any]
    decode: int = 0
    preprocess: int = 0

    def ms(self, inference: float) -> Milliseconds:
        """The time of all steps, the network's in milliseconds."""
        return Milliseconds(decode=self.decode / 1e6, preprocess=self.preprocess / 1e6, inference=inference)


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
        return self.predict_prepared([self.prepare(source, name=name)], top_k=top_k)[0]

    def predict_batch(self, sources: Iterable[Source], *, top_k: int = 5) -> list[Prediction]:
        """`predict` for each source, in order, several at a time where the model's batch allows; the first that can't be read raises.

        Each one's inference time is its share of its round's.
        """
        return [prediction for some in _rounds(sources) for prediction in self._predict_round(some, top_k)]

    def predict_input(self, x: NDArray[Any], *, top_k: int = 5, name: str | None = None) -> Prediction:
        """What the model says of one ready input, `spec.preprocess.dtype` (1, channels, height, width). Raises UsageError as `logits` does."""
        return self.predict_prepared([Prepared(name, x)], top_k=top_k)[0]

    def prepare(self, source: Source, *, name: str | None = None) -> Prepared:
        """The first half of `predict`: decoding and preprocessing. Raises as that does."""
        pre = self.spec.preprocess
        start = perf_counter_ns()
        image = open_image(source, name=name)
        decoded = perf_counter_ns()
        x = normalize(fitted(image, pre, name=name), pre)[np.newaxis]
        return Prepared(name, x, decoded - start, perf_counter_ns() - decoded)

    def predict_prepared(self, inputs: Sequence[Prepared], *, top_k: int = 5) -> list[Prediction]:
        """The second half for each input, one after the other. Raises UsageError as `logits` does, and GraphRejected for answers of NaN."""
        found, spent = [], []
        for prepared in inputs:
            start = perf_counter_ns()
            found.append(self.session.logits(prepared.x))
            spent.append(prepared.ms((perf_counter_ns() - start) / 1e6))
        names = tuple([prepared.name for prepared in inputs])
        return predictions(np.concatenate(found), self.spec, inputs=names, ms=tuple(spent), top_k=top_k) if found else []

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """(n, channels, height, width), float32 and normalized, or uint8 pixels where the spec says that the graph normalizes -> float32
        (n, labels). Raises UsageError for anything else."""
        return self.session.logits(x)

    def _predict_round(self, sources: list[Source], top_k: int) -> list[Prediction]:
        inputs = [self.prepare(source, name=_name(source)) for source in sources]
        start = perf_counter_ns()
        logits = self.session.logits(np.concatenate([prepared.x for prepared in inputs]))
        inference = (perf_counter_ns() - start) / len(inputs) / 1e6
        names, ms = tuple(prepared.name for prepared in inputs), tuple(prepared.ms(inference) for prepared in inputs)
        return predictions(logits, self.spec, inputs=names, ms=ms, top_k=top_k)


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

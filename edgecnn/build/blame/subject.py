"""What blame looks at: the artifact, and the reference network that it is said to come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.codec import CodecError, decode, strict_json
from edgecnn.artifact.manifest import Manifest
from edgecnn.artifact.records import Stage
from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.build.describe import PreprocessLike
from edgecnn.build.onnx_io import parse
from edgecnn.build.source import Source, open_source
from edgecnn.data.collection import Collection, Item, Subset, evenly, open_collection
from edgecnn.device.golden import Golden, read_golden
from edgecnn.errors import GraphRejected, SourceRejected


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """The artifact's parts, verified. float_spec: its spec with the input in float32, as all stages but the last may have it."""

    path: Path
    manifest: Manifest
    stages: tuple[Stage, ...]
    golden: Golden
    model: bytes

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    @property
    def float_spec(self) -> ModelSpec:
        spec = self.spec
        if spec.preprocess.normalized_by is None:
            return spec
        return replace(spec, input=replace(spec.input, dtype="float32"), preprocess=replace(spec.preprocess, normalized_by=None))

    def recorded(self, name: str) -> Stage | None:
        """The record of the stage `name`."""
        return next((stage for stage in self.stages if stage.name == name), None)


def open_subject(path: Path) -> Subject:
    """Raises InputMissing or ArtifactRejected."""
    with open_bundle(path) as bundle:
        bundle.verify()
        return Subject(
            path=path, manifest=bundle.manifest, stages=bundle.report().stages, golden=read_golden(bundle), model=bundle.read("model.onnx")
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """The source network, with the artifact's spec, and how it wants its images prepared: None where nothing says it."""

    network: Source
    preprocess: Preprocess | None
    notes: tuple[str, ...] = ()


def open_reference(reference: str | Path, subject: Subject, *, preprocess: PreprocessLike | None = None, **described: Any) -> Reference:
    """The network at `reference`, whatever open_source takes. preprocess: how its images are prepared, where it doesn't say so itself or wrongly.

    Raises what open_source raises, and SourceRejected for a network that can't be the artifact's: other labels, or another input.
    """
    spec = subject.float_spec
    own = str(reference).endswith(".safetensors")  # a checkpoint of ours, which carries its spec
    height, width = spec.preprocess.input_size
    network = open_source(
        reference,
        batch=spec.input.shape[0],
        preprocess=preprocess,
        input_size=None if own or preprocess is not None else f"{spec.preprocess.depth}x{height}x{width}",
        **described,
    )
    said = network.spec.preprocess if own or preprocess is not None else _metadata(network)
    _check_fits(reference, network, subject)
    notes = tuple(_notes(network, subject, labelled=own))
    network = replace(network, spec=spec)
    try:
        network.logits(np.zeros((1, spec.preprocess.depth, height, width), dtype=np.float32))
    except SourceRejected as error:
        raise SourceRejected(f"{reference} doesn't take what {subject.path} does, so it isn't what that was made from. {error}") from error
    return Reference(network=network, preprocess=said, notes=notes)


def _check_fits(reference: str | Path, network: Source, subject: Subject) -> None:
    ours, theirs = subject.spec.labels, network.spec.labels
    if len(ours) != len(theirs):
        raise SourceRejected(
            f"{reference} answers with {len(theirs)} logits, {subject.path} with {len(ours)}; give the network that it was made from."
        )


def _metadata(network: Source) -> Preprocess | None:
    """What a graph of ours says of itself in its metadata. Raises GraphRejected where that is damaged."""
    if network.onnx is None:
        return None
    text = next((entry.value for entry in parse(network.onnx).metadata_props if entry.key == "edgecnn.preprocess"), None)
    if text is None:
        return None
    try:
        return replace(decode(Preprocess, strict_json(text.encode())), normalized_by=None)
    except CodecError as error:
        raise GraphRejected(
            f"the reference's metadata edgecnn.preprocess can't be read ({error}); say how it wants images with --preprocess."
        ) from None


def _notes(network: Source, subject: Subject, *, labelled: bool) -> Iterator[str]:
    ours, theirs = subject.spec.labels, network.spec.labels
    if labelled and ours != theirs:
        place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        yield f"answer {place} is called {ours[place]} by the artifact and {theirs[place]} by the reference"
    export = subject.recorded("export")
    recipe = export.configuration.get("recipe_sha256") if export is not None else None
    if recipe is not None and network.recipe_sha256 is not None and recipe != network.recipe_sha256:
        yield "the reference was trained by another recipe than the network that the artifact was made from"
    if subject.manifest.forced:
        yield "the artifact was packed by force: its answers weren't proved when it was made"


@dataclass(frozen=True, kw_only=True, slots=True)
class Originals:
    """The golden images as a collection without labels."""

    golden: Golden
    labels: tuple[str, ...] = ()
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.golden.originals)

    def __iter__(self) -> Iterator[Item]:
        return (Item(name=name, source=data) for name, data in self.golden.originals)


def open_images(subject: Subject, data: Collection | Path | str | None, most: int) -> Collection:
    """At most `most` of the images of `data`, spread evenly over it, or the golden ones where there is none. Raises what open_collection raises."""
    if data is None:
        return Originals(golden=subject.golden)
    whole = open_collection(data) if isinstance(data, (str, Path)) else data
    return whole if len(whole) <= most else Subset(whole=whole, positions=frozenset(evenly(len(whole), most)))

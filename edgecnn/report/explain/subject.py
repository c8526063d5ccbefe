"""An artifact ready to be explained, the images that it is explained with, and what it makes of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.bundle import Bundle
from edgecnn.artifact.manifest import Manifest
from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.device.image import Step, normalize, ordered, steps
from edgecnn.device.session import Session, check_input, open_session
from edgecnn.errors import UsageError
from edgecnn.report.explain.network import Agreement, Network, agreement, read_network
from edgecnn.report.explain.stages import Stage, stages
from edgecnn.report.formulas import Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """name: the file's. session: the artifact as a device runs it; network: the same graph, exactly as it stands, with every tensor to be seen."""

    name: str
    manifest: Manifest
    session: Session
    network: Network
    stages: tuple[Stage, ...]
    equalized: bool = False

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    @property
    def kind(self) -> str:
        return "float32" if self.manifest.quantization == "none" else self.manifest.quantization


def open_subject(bundle: Bundle, *, name: str, threads: int | None = None) -> Subject:
    """Raises what `Bundle.verify` and `open_session` raise, and ModuleNotFoundError where onnx isn't installed."""
    bundle.verify()
    spec = bundle.manifest.spec
    network = read_network(bundle.read("model.onnx"), batch=spec.batch or 1, threads=threads)
    return Subject(
        name=name,
        manifest=bundle.manifest,
        session=open_session(bundle.graph_source(), spec, threads=threads),
        network=network,
        stages=stages(network),
        equalized=bundle.report().equalized,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """An image before and after preprocessing. name: what the page calls it; steps, pixels: those of preprocessing, the pixels uint8 (height, width,
    channels) in the network's order; ready: the network's input, where that was given instead."""

    name: str
    steps: tuple[Step, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    ready: NDArray[Any] | None = None

    def input(self, spec: ModelSpec) -> NDArray[Any]:
        """(1, channels, height, width) as the model takes it. Raises UsageError where a ready input isn't its."""
        if self.pixels is not None:
            x: NDArray[Any] = normalize(self.pixels, spec.preprocess)[np.newaxis]
            return x.astype(spec.input.dtype, copy=False)
        assert self.ready is not None
        try:
            check_input(self.ready, spec)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from None
        return self.ready.astype(spec.input.dtype, copy=False)


def read_picture(read: Callable[[], Any], pre: Preprocess, *, name: str, ready: bool = False) -> Picture:
    """One input: `read` gives an image's source, or where `ready` the network's float32 input (1, channels, height, width).

    name: what messages call it, of which the page shows the last part. Raises InputMissing or ImageRejected.
    """
    source = read()
    shown = Path(name).name or name
    if ready:
        return Picture(name=shown, ready=source)
    made = tuple(steps(source, pre, name=name))
    return Picture(name=shown, steps=made, pixels=ordered(made[-1].image, pre))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """What a subject makes of one image. letter: which of the page's models it is, "a" or "b"; x: (1, channels, height, width); values: every tensor;
    logits: as a device gives them, float32 (1, labels); agreements: by a node's first output, its formula beside onnxruntime's answer,
    None where no formula is known."""

    letter: str
    subject: Subject
    x: NDArray[Any]
    values: Mapping[str, Array]
    logits: NDArray[np.float32]
    agreements: Mapping[str, Agreement | None]


def run(letter: str, subject: Subject, picture: Picture) -> Run:
    """Raises UsageError for a ready input that isn't the model's, GraphRejected where the graph fails on it."""
    x = picture.input(subject.spec)
    values = subject.network.trace(x)
    return Run(
        letter=letter,
        subject=subject,
        x=x,
        values=values,
        logits=subject.session.logits(x),
        agreements={node.outputs[0]: agreement(node, values) for node in subject.network.nodes if node.outputs},
    )

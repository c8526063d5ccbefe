"""The artifact's graphs made again from the reference, with the configuration that its report states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from edgecnn import __version__
from edgecnn.artifact.records import Stage
from edgecnn.artifact.spec import ModelSpec
from edgecnn.build import quantize as quantizers
from edgecnn.build.blame.records import Made
from edgecnn.build.blame.subject import Reference, Subject
from edgecnn.build.chain import sha256
from edgecnn.build.conform import MAX_OPSET, MIN_OPSET
from edgecnn.build.export import export_module
from edgecnn.build.images import batches, digest, spread
from edgecnn.build.metadata import stamp
from edgecnn.build.pixels import take_pixels
from edgecnn.build.quantize import needs_calibration
from edgecnn.build.quantize import quantize as run_quantizer
from edgecnn.build.quantizing import QAT_STEPS
from edgecnn.build.simplify import simplify
from edgecnn.data.collection import Collection
from edgecnn.errors import DataRejected, EdgecnnError

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Graph:
    """What a stage makes. model: None where it couldn't be made again, and `note` says why; spec: what it takes."""

    stage: str
    spec: ModelSpec
    model: bytes | None
    made: Made
    recorded: Stage | None
    note: str | None = None


def rebuild(
    subject: Subject, reference: Reference, calibration: Collection | None, *, check_inputs: NDArray[np.float32], tell: Tell
) -> tuple[Graph, ...]:
    """The graphs of export, simplify and, where the artifact is quantized, quantize.

    calibration: from calibration_images; without it the packaged graph itself stands for the quantized one.
    check_inputs: float32 (n, channels, height, width) that the simplifier is checked on.
    Raises what export_module raises.
    """
    spec = subject.float_spec
    opset = subject.manifest.opset if MIN_OPSET <= subject.manifest.opset <= MAX_OPSET else None
    tell("exporting the reference again")
    exported = stamp(export_module(reference.network, opset=opset), spec)
    tell("simplifying it again")
    simplified = stamp(simplify(exported, check_inputs=check_inputs).model, spec)
    graphs = [_graph(subject, "export", exported), _graph(subject, "simplify", simplified)]
    if subject.manifest.quantization != "none":
        graphs.append(_quantized(subject, simplified, calibration, tell))
    elif subject.spec.preprocess.normalized_by == "graph":
        graphs[-1] = _graph(subject, "simplify", _with_pixels(subject, simplified), subject.spec)
    return tuple(graphs)


def _graph(subject: Subject, stage: str, model: bytes, spec: ModelSpec | None = None) -> Graph:
    recorded = subject.recorded(stage)
    made: Made = "rebuilt, nothing recorded"
    note = None
    if recorded is not None:
        made = "rebuilt alike" if recorded.sha256 == sha256(model) else "rebuilt otherwise"
        note = None if made == "rebuilt alike" else _why_otherwise(subject, recorded)
    return Graph(stage=stage, spec=spec or subject.float_spec, model=model, made=made, recorded=recorded, note=note)


def _why_otherwise(subject: Subject, recorded: Stage) -> str:
    """What may have made another graph of the same network."""
    wanted = {"edgecnn": subject.manifest.edgecnn_version, **recorded.tools}
    others = [f"{name} {here} for {version}" for name, version in sorted(wanted.items()) if (here := _installed(name)) != version.split("+")[0]]
    name = str(recorded.configuration.get("quantizer"))
    declared = quantizers.options(name) if name in quantizers.names() else ()
    unsaid = [option.name for option in declared if option.name not in recorded.configuration]
    said = f"it comes out otherwise than recorded, with {' and '.join(others) if others else 'the same tools'}"
    return said + (f"; its record doesn't name {', '.join(unsaid)}, of which the default was taken" if unsaid else "")


def _installed(name: str) -> str:
    """The version that is here, without its build; "none" where there is none."""
    if name == "edgecnn":
        return __version__
    try:
        return metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return "none"


def _with_pixels(subject: Subject, model: bytes) -> bytes:
    return stamp(take_pixels(model, subject.float_spec), subject.spec)


def _quantized(subject: Subject, simplified: bytes, calibration: Collection | None, tell: Tell) -> Graph:
    recorded = subject.recorded("quantize")
    configuration = dict(recorded.configuration) if recorded is not None else {}
    name = str(configuration.get("quantizer", subject.manifest.quantization))
    if name not in quantizers.names():
        return _from_file(subject, recorded, f"there is no quantizer {name} here")
    read = None
    if configuration.get(QAT_STEPS):
        images = configuration.get("qat_images", "other")
        return _from_file(subject, recorded, f"it was fine-tuned on {images} training images, and can't be made again without them")
    if needs_calibration(name):
        if calibration is None:
            return _from_file(subject, recorded, "its ranges can't be measured again without --calibration")
        read = batches(calibration, subject.float_spec.preprocess, lambda done, total: tell(f"measuring ranges, {done} of {total} images"))
    tell(f"quantizing it again ({name})")
    try:
        model = run_quantizer(name, simplified, read, **quantizers.recorded(configuration)).model
    except EdgecnnError as error:
        return _from_file(subject, recorded, f"it can't be quantized again: {str(error).rstrip('.')}")
    pixels = subject.spec.preprocess.normalized_by == "graph"
    return _graph(subject, "quantize", _with_pixels(subject, model) if pixels else stamp(model, subject.spec), subject.spec)


def calibration_images(subject: Subject, given: Collection) -> Collection:
    """Those of `given` that the export took, as many and spread as it did. Raises DataRejected where they aren't the recorded ones."""
    quantized = subject.recorded("quantize")
    configuration = quantized.configuration if quantized is not None else {}
    count, recorded = configuration.get("calibration_images"), configuration.get("calibration_sha256")
    taken = spread(given, count) if isinstance(count, int) and count > 0 else given
    if recorded is not None and recorded != (found := digest(taken)):
        which = f"{len(taken)} of the {len(given)}" if len(taken) < len(given) else f"the {len(given)}"
        raise DataRejected(
            f"{which} images of --calibration (sha256 {found[:12]}) aren't the {count} that the ranges were measured on "
            f"({str(recorded)[:12]}); give these, as they were given to export, or leave --calibration away."
        )
    return taken


def _from_file(subject: Subject, recorded: Stage | None, why: str) -> Graph:
    """The packaged graph in the quantized one's place, where it is the one that was recorded."""
    same = recorded is None or recorded.sha256 == sha256(subject.model)
    return Graph(
        stage="quantize",
        spec=subject.spec,
        model=subject.model if same else None,
        made="taken from the file" if same else "not rebuilt",
        recorded=recorded,
        note=f"{why}, so {'the packaged graph stands for it' if same else 'it is left out: the packaged graph is another than was recorded'}",
    )

"""Who is to blame: the artifact's way from image to answer, stage by stage and layer by layer, against the network that it was made from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.build import quantize as quantizers
from edgecnn.build.blame import cures, layers, stages
from edgecnn.build.blame.changes import changed_attributes, changes, first_difference
from edgecnn.build.blame.rebuilt import Graph, Tell, calibration_images, rebuild
from edgecnn.build.blame.records import Advice, Cure, LayerRow, StageRow
from edgecnn.build.blame.stages import Measured
from edgecnn.build.blame.subject import Originals, Subject, open_images, open_reference, open_subject
from edgecnn.build.blame.verdict import Blame
from edgecnn.build.describe import PreprocessLike
from edgecnn.build.images import batches
from edgecnn.build.onnx_io import parse
from edgecnn.build.quantizing import QAT_STEPS
from edgecnn.build.sensitivity import matching_graph
from edgecnn.build.source import Source
from edgecnn.data.collection import Collection, open_collection
from edgecnn.device.differences import Differences
from edgecnn.device.image import normalize, to_uint8
from edgecnn.device.session import open_session
from edgecnn.errors import UsageError

__all__ = ["Advice", "Blame", "Cure", "LayerRow", "StageRow", "blame"]

IMAGES = 256
MIN_SQNR_DB = 15.0
"""Of the logits of a quantized graph: noise of 3 % of the signal's power. Sound int8 networks have 17 dB and more."""

Given = Collection | Path | str


def blame(
    file: Path | str,
    reference: str | Path,
    *,
    data: Given | None = None,
    calibration: Given | None = None,
    images: int = IMAGES,
    by_layer: bool = True,
    min_sqnr_db: float = MIN_SQNR_DB,
    preprocess: PreprocessLike | None = None,
    tell: Tell = lambda text: None,
    **described: Any,
) -> Blame:
    """Hold each stage of the artifact `file` against the network `reference` that it was made from, and each layer of a quantized graph.

    reference: a checkpoint, an .onnx, or what else `build.source.open_source` takes; `described` are its weights, args, output_index, ...
    data: images, of which `images` are taken, spread evenly; the artifact's few golden ones where none are given. calibration: the images that
    its ranges were measured on, so that it can be quantized again, and with other options. by_layer: whether the layers are measured, and such
    options tried where that may help. min_sqnr_db: of the logits of quantized graphs, the least that will do.
    preprocess: how the reference wants its images, where it doesn't say so itself. tell: what is being done, now and then.
    Raises InputMissing, ArtifactRejected, DataRejected, ImageRejected, UsageError, and what open_source raises.
    """
    if images < 1:
        raise UsageError(f"{images} images were asked for; at least 1 was wanted.")
    if not math.isfinite(min_sqnr_db):
        raise UsageError(f"an SQNR of {min_sqnr_db} dB was asked for; a finite number was wanted, such as 15.")
    tell("opening the artifact and the reference")
    subject = open_subject(Path(file))
    source = open_reference(reference, subject, preprocess=preprocess, **described)
    chosen = open_images(subject, data, images)
    measured_on = None if calibration is None else calibration_images(subject, _opened(calibration))
    graphs = rebuild(subject, source, measured_on, check_inputs=_golden_inputs(subject), tell=tell)
    measured = stages.measure(subject, source, graphs, chosen, min_sqnr_db=min_sqnr_db, tell=tell)
    untold = _why_no_layers(subject, measured.rows[-1])
    found = _layers(subject, graphs, measured, tell) if by_layer and untold is None else ()
    notes = [*source.notes, *_notes(subject, chosen, found, calibrated=measured_on is not None)]
    if by_layer and subject.manifest.quantization != "none" and not found:
        notes.append(f"no layer could be told: {untold or 'the graph has no QuantizeLinear/DequantizeLinear pairs'}")
    result = Blame(
        file=str(file),
        reference=str(reference),
        images=len(chosen),
        origin="golden" if isinstance(chosen, Originals) else "data",
        stages=measured.rows,
        layers=found,
        notes=tuple(notes),
    )
    result = replace(result, changed=_changed(result, subject, source.network, graphs, measured.pixels))
    if not by_layer:
        return result
    tried = _cures(result, subject, graphs, measured, measured_on, tell)
    return replace(result, cures=tried, layer_images=len(measured.pixels) if found or tried else 0)


def _opened(given: Given) -> Collection:
    return open_collection(given) if isinstance(given, (str, Path)) else given


def _golden_inputs(subject: Subject) -> NDArray[np.float32]:
    pre = subject.float_spec.preprocess
    return np.stack([normalize(to_uint8(data, pre, name=name), pre) for name, data in subject.golden.originals])


def _why_no_layers(subject: Subject, packaged: StageRow) -> str | None:
    """None where they can be measured."""
    if packaged.against_source is None:
        return "the packaged graph doesn't answer"
    return "it isn't quantized" if subject.manifest.quantization == "none" else None


def _quantizer(subject: Subject) -> tuple[str, dict[str, Any]]:
    """The name and all options of what made the artifact; no options where there is no such quantizer here, or it takes others."""
    recorded = subject.recorded("quantize")
    configuration = recorded.configuration if recorded is not None else {}
    name = str(configuration.get("quantizer", subject.manifest.quantization))
    try:
        return name, quantizers.configure(name, quantizers.recorded(configuration))
    except UsageError:
        return name, {}


def _layers(subject: Subject, graphs: tuple[Graph, ...], measured: Measured, tell: Tell) -> tuple[LayerRow, ...]:
    """Of the packaged graph, against the simplified one."""
    simplified = graphs[1].model
    assert simplified is not None
    return layers.measure(
        simplified,
        subject.model,
        normalize(measured.pixels, subject.float_spec.preprocess),
        quantized_inputs=normalize(measured.pixels, subject.spec.preprocess),
        options=_quantizer(subject)[1],
        allowed_db=measured.limits.min_sqnr_db,
        progress=lambda done, total: tell(f"measuring layers, {done} of {total}"),
    )


def _cures(
    found: Blame, subject: Subject, graphs: tuple[Graph, ...], measured: Measured, calibration: Collection | None, tell: Tell
) -> tuple[Cure, ...]:
    """Where the quantizer is to blame, or a layer stands out: what else might be done, tried where there are the images for it."""
    culprit, simplified = found.culprit, graphs[1].model
    apart = [row for row in found.layers if row.advice]
    name, options = _quantizer(subject)
    wanted = bool(apart) if culprit is None else culprit.stage in ("quantize", "optimized")
    if not wanted or not options or options.get(QAT_STEPS) or simplified is None or found.stages[-1].against_source is None or found.foreign:
        return ()

    def enough(answers: Differences) -> bool:
        return not measured.limits.failures(answers, quantized=True, other="the source network")

    spec = subject.float_spec
    inputs = normalize(measured.pixels, spec.preprocess)
    answers = open_session(subject.model, subject.spec).logits(normalize(measured.pixels, subject.spec.preprocess))
    now = cures.as_it_is(answers, measured.expected, spec, enough)
    worst = apart or found.layers[: min(3, max(1, len(found.layers) // 4))]
    candidates = tuple(cures.cures(name, options, cures.to_keep(worst, subject.model), simplified))
    if calibration is None and quantizers.needs_calibration(name):
        return (now, *candidates)
    tried = cures.try_out(
        candidates,
        quantizer=name,
        options=options,
        float_model=simplified,
        calibration=batches(calibration, spec.preprocess) if calibration is not None else None,
        spec=spec,
        inputs=inputs,
        expected=measured.expected,
        enough=enough,
        progress=lambda done, total: tell(f"trying other options, {done} of {total}"),
    )
    return (now, *tried)


def _changed(result: Blame, subject: Subject, network: Source, graphs: tuple[Graph, ...], pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Where in the graph the culprit's answers leave those before it, as far as it can be told."""
    culprit = result.culprit
    stage = "" if culprit is None else culprit.stage
    models = {"source": network.onnx, **{graph.stage: graph.model for graph in graphs}}
    before = {"export": "source", "simplify": "export", "quantize": "simplify", "packaged": graphs[-1].stage}.get(stage, "")
    wanted, found = models.get(before), subject.model if stage == "packaged" else models.get(stage)
    if wanted is None or found is None or wanted == found:
        return ()
    if stage == "packaged":
        return changes(wanted, found)
    if stage == "quantize":
        return changed_attributes(matching_graph(wanted), parse(found))
    said = first_difference(wanted, found, normalize(pixels[:8], subject.float_spec.preprocess), tolerance=stages.FLOAT_TOLERANCE)
    return () if said is None else (said,)


def _notes(subject: Subject, chosen: Collection, found: tuple[LayerRow, ...], *, calibrated: bool) -> Iterator[str]:
    if isinstance(chosen, Originals):
        count = len(chosen)
        images = "image is" if count == 1 else "images are"
        yield f"the artifact's {count} golden {images} few, and chosen among those that are decided alike; give --data to tell more"
    if calibrated and not any("calibration_sha256" in stage.configuration for stage in subject.stages):
        yield "the calibration images weren't needed: no ranges were measured when the artifact was made"
    if found and _quantizer(subject)[1].get(QAT_STEPS):
        yield "its weights were fine-tuned together, so what one layer costs alone says less of it"
    strangers = [tensor.tensor for layer in found for tensor in layer.tensors if not tensor.matched and tensor.kind != "bias"]
    if strangers:
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        yield f"the float graph has nothing like {', '.join(strangers[:3])}{more}, so no error can be told there"

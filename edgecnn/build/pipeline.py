"""From a network to an artifact: export, simplify, quantize, validate, pack. The only file that knows the order of the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn import __version__
from edgecnn.artifact.graph import check_device_graph, layers, read_graph
from edgecnn.artifact.licenses import check_licenses
from edgecnn.artifact.manifest import Manifest, Quantization, Report
from edgecnn.artifact.pack import pack
from edgecnn.artifact.records import ParityLimits, ParityReport, Scalar, Stage
from edgecnn.artifact.spec import ModelSpec
from edgecnn.build import auto, chain, golden
from edgecnn.build.chain import Accuracy, Link, Made
from edgecnn.build.export import export_module
from edgecnn.build.export_recipe import InputType, write_export_recipe
from edgecnn.build.images import CALIBRATION_IMAGES, Given, Images, Unlabelled, digest, open_images
from edgecnn.build.metadata import stamp
from edgecnn.build.notes import notes
from edgecnn.build.outputs import check_outputs
from edgecnn.build.pixels import pixel_spec, take_pixels
from edgecnn.build.quantizing import configured, quantized
from edgecnn.build.search import Search
from edgecnn.build.search.progress import Status
from edgecnn.build.search.records import Goal
from edgecnn.build.simplify import simplify
from edgecnn.build.source import Source, open_source
from edgecnn.build.target import aim
from edgecnn.data.collection import Subset
from edgecnn.device.classify import decide
from edgecnn.device.parity import compare
from edgecnn.device.session import open_session
from edgecnn.device.validate import evaluate
from edgecnn.errors import ParityFailed, SourceRejected, UsageError

if TYPE_CHECKING:
    import torch

STAGES = ("export", "simplify", "quantize", "validate", "pack")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happens in a stage: it starts, it has done so many of so many (`of` says what), it ends with its record where it changed the graph.

    parity: at the end of "validate", what the graph is judged by; search: how far `--quantize auto` is.
    """

    stage: str
    kind: Literal["start", "progress", "end"]
    done: int = 0
    total: int = 0
    of: str = ""
    record: Stage | None = None
    parity: ParityReport | None = None
    search: Status | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What was written. accuracy: of the source network and the artifact on validation images with labels, where those were given;
    search: what `quantize="auto"` tried; notes: what to know of it, a sentence each."""

    path: Path
    manifest: Manifest
    report: Report
    accuracy: Accuracy | None = None
    search: Search | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Options:
    """pixels: whether the last graph takes the image's bytes; note: for the quantizing stage."""

    quantize: str
    config: Mapping[str, Any]
    pixels: bool
    opset: int | None
    float_limits: ParityLimits
    decision_limits: ParityLimits
    force: bool
    note: str | None
    tell: Callable[[Event], None] = field(repr=False)

    @property
    def quantizes(self) -> bool:
        return self.quantize != "none"

    @property
    def limits(self) -> ParityLimits:
        """Of the last graph: a float32 one is judged by its numbers, the others by their decisions."""
        return self.float_limits if self.quantize == "none" else self.decision_limits


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Task:
    """What every stage looks at. answers: the network's to the golden candidates, float32 (n, labels)."""

    network: Source
    images: Images
    answers: NDArray[np.float32]
    options: _Options

    @property
    def spec(self) -> ModelSpec:
        return self.network.spec


def export(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    spec: ModelSpec | None = None,
    *,
    output: Path | str,
    quantize: str = "none",
    config: Mapping[str, Any] | None = None,
    max_drop: float | None = None,
    objective: str | None = None,
    threads: int | None = None,
    target: Path | str | None = None,
    recipe: Path | str | None = None,
    calibration: Given | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    validation: Given | None = None,
    qat: Given | None = None,
    input_type: InputType = "float32",
    opset: int | None = None,
    batch: int | str | None = None,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    min_agreement: float = 0.98,
    licenses: Mapping[str, str] | None = None,
    force: bool = False,
    on_stage: Callable[[Event], None] | None = None,
    **described: Any,
) -> ExportResult:
    """Export a network, prove that the graph still gives its answers, and write the artifact `output`.

    source: an nn.Module (with its `spec`), a checkpoint of ours, package.module:callable, file.py:callable, a .pt2 or an .onnx; `described`
    is what else `build.source.open_source` takes: name, version, sequence, labels, preprocess, weights, args, input_size, output_index, ...
    quantize: none, dynamic, fp16 or int8, which needs calibration; config: its options. calibration, validation: a Collection, or a path that
    `data.open_collection` reads; no image may be in both. Of calibration, calibration_images are taken, spread evenly. qat: training images,
    to fine-tune an int8 graph on. input_type: "uint8" for a graph that takes the image's bytes and normalizes them itself. quantize="auto"
    finds what is fastest here on `threads` threads, by default one (objective="bytes": smallest), of all that loses at most max_drop points of
    accuracy on the validation images, and writes the file `recipe`, where one is named; without "auto" that file is read, and what it says is
    made again. batch: a number (by default the spec's, or 1), or "dynamic" to leave it open.
    target: the device that it is for, a profile of edgecnn.targets or the path of a probe: see build.target, which says what it decides.
    atol, rtol: what float32 answers may differ by on the golden candidates, all of which are to be decided alike; min_agreement: the least
    share of the validation images (for want of them the calibration images, else the candidates) that a quantized graph decides as the
    network does. licenses: SPDX expressions for "model" and "data". force: pack what falls short, marked so. on_stage: told of each stage.

    Raises ParityFailed where it falls short, AccuracyFailed where the images are too few to tell whether max_drop holds; UsageError, RecipeError;
    the errors of open_source; DataRejected, InputMissing and ImageRejected for images; OutputNotWritable. Nothing is written then.
    """
    aimed = aim(target, quantize=quantize, config=config, opset=opset, threads=threads, replays=recipe is not None and quantize != auto.AUTO)
    config, opset, threads = aimed.config, aimed.opset, aimed.threads
    asked = auto.resolve(
        auto.Asked(
            quantize=quantize,
            config=config or {},
            input_type=input_type,
            opset=opset,
            batch=batch,
            atol=atol,
            rtol=rtol,
            min_agreement=min_agreement,
        ),
        max_drop=max_drop,
        objective=objective,
        threads=threads,
        recipe=recipe,
        has_calibration=calibration is not None,
        has_validation=validation is not None,
    )
    if asked.goal is None:
        asked = replace(asked, config=configured(asked.quantize, asked.config, calibrates=calibration is not None, trains=qat is not None))
    options = _options(asked, force=force, tell=on_stage or (lambda _: None))
    check_outputs(Path(output), None if asked.goal is None else recipe, (source, *described.values(), asked.recipe and recipe))
    aimed.check(quantize=asked.quantize, config=asked.config, opset=asked.opset)
    network = open_source(source, spec=spec, batch=asked.batch, **described)
    check_licenses({**network.licenses, **(licenses or {})})
    if options.quantize == "dynamic" and network.spec.batch != 1:
        raise UsageError("dynamic measures its ranges on a whole batch, so an image's answer would depend on its company; take --batch 1.")
    if options.pixels:
        pixel_spec(network.spec)  # which refuses what can't be fed so
    most = auto.calibration_images(asked) or calibration_images
    images = open_images(network.spec, calibration, validation, most=most, training=qat)
    auto.check_images(asked, images)
    if images.validation is not None:  # labels that don't fit are told before the work rather than after it
        evaluate(network, Subset(whole=images.validation, positions=frozenset({0})), network.spec)
    task = _Task(network=network, images=images, answers=_answers(network, images), options=options)

    links = [_export(task, target=aimed.name or (asked.recipe.target if asked.recipe else None))]
    links.append(_simplify(task, links[-1]))
    check_device_graph(read_graph(links[-1].model))  # what no device takes is told before the work rather than after it
    told = [*network.notes, *aimed.notes, *auto.differences(asked, links[-1].model, images)]
    found = None
    if asked.goal is not None:
        found = _search(task, links[-1], asked.goal)
        told += found.notes
        task = replace(task, options=replace(options, quantize=found.winner.quantizer, config=found.winner.config, note=auto.note(found)))
    if task.options.quantizes:
        links.append(_quantize(task, links[-1]))
    links[-1], accuracy, notes = _validate(task, links)
    result = _pack(task, links, Path(output), licenses or {}, accuracy=accuracy, notes=(*told, *notes))
    if found is not None and recipe is not None:
        write_export_recipe(recipe, replace(auto.recipe_of(found, asked, links[0].model, links[1].model, images), target=aimed.name))
    return replace(result, search=found)


def _options(asked: auto.Asked, *, force: bool, tell: Callable[[Event], None]) -> _Options:
    return _Options(
        quantize=asked.quantize,
        config=asked.config,
        pixels=asked.input_type == "uint8",
        opset=asked.opset,
        float_limits=_limits(atol=asked.atol, rtol=asked.rtol, min_agreement=1.0),
        decision_limits=_limits(min_agreement=asked.min_agreement),
        force=force,
        note=asked.note,
        tell=tell,
    )


def _limits(**bounds: float) -> ParityLimits:
    try:
        return ParityLimits(**bounds)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{error}.") from None


def _answers(network: Source, images: Images) -> NDArray[np.float32]:
    answers = network.logits(images.candidates.inputs)
    if not np.isfinite(answers).all():
        raise SourceRejected("The network answers NaN or infinity to ordinary images; such answers can't be compared, look at its weights.")
    return answers


def _export(task: _Task, *, target: str | None) -> Link:
    task.options.tell(Event(stage="export", kind="start"))
    network = task.network
    model = export_module(network, opset=task.options.opset)
    configuration: dict[str, Scalar] = {"batch": task.spec.input.shape[0], "source": network.kind}
    if network.recipe_sha256:
        configuration["recipe_sha256"] = network.recipe_sha256
    if target is not None:
        configuration["target"] = target
    libraries = ("onnx",) if network.kind == "onnx" else ("onnx", "onnxscript", "torch")
    return _link(task, Made(name="export", model=model, configuration=configuration, tools=_versions(libraries)), None)


def _simplify(task: _Task, previous: Link) -> Link:
    task.options.tell(Event(stage="simplify", kind="start"))
    made = simplify(previous.model, check_inputs=task.images.candidates.inputs)
    return _link(task, Made(name="simplify", model=made.model, tools=made.tools, note=made.note), previous)


def _search(task: _Task, previous: Link, goal: Goal) -> Search:
    tell = task.options.tell
    tell(Event(stage="search", kind="start"))
    found = auto.find(
        task.network,
        previous.model,
        task.images,
        goal=goal,
        tell=lambda status: tell(Event(stage="search", kind="progress", done=status.done, total=status.total, search=status)),
    )
    tell(Event(stage="search", kind="end"))
    return found


def _quantize(task: _Task, previous: Link) -> Link:
    options = task.options
    options.tell(Event(stage="quantize", kind="start"))
    made = quantized(
        previous.model,
        task.images,
        task.spec,
        name=options.quantize,
        config=options.config,
        note=options.note,
        images_read=_progress(task, "quantize", "calibration images"),
        steps_done=_progress(task, "quantize", "steps of fine-tuning"),
    )
    return _link(task, made, previous)


def _progress(task: _Task, stage: str, of: str) -> Callable[[int, int], None]:
    return lambda done, total: task.options.tell(Event(stage=stage, kind="progress", done=done, total=total, of=of))


def _link(task: _Task, made: Made, previous: Link | None) -> Link:
    """The next link of the chain: the graph signed, run, compared, and told of. A float32 graph that falls short ends it here."""
    quantized = made.name == "quantize"
    spec, inputs, model = task.spec, task.images.candidates.inputs, made.model
    if task.options.pixels and made.name == ("quantize" if task.options.quantizes else "simplify"):
        spec, model = pixel_spec(spec), take_pixels(model, spec)
        inputs = task.images.candidates.inputs_for(spec.preprocess)
    link = chain.add_link(
        replace(made, model=stamp(model, spec)),
        spec=spec,
        inputs=inputs,
        source=task.answers,
        previous=previous,
        limits=task.options.decision_limits if quantized else task.options.float_limits,
    )
    task.options.tell(Event(stage=made.name, kind="end", record=link.stage))
    if not quantized:  # which is judged later, on more images
        _demand(task, link.stage.against_source, made.name, "raise --atol or --rtol where larger differences will do")
    return link


def _demand(task: _Task, parity: ParityReport | None, stage: str, advice: str) -> None:
    if parity is not None and not parity.passed and not task.options.force:
        raise ParityFailed(
            f"after {stage} the answers are not the {parity.reference}'s: {'; '.join(parity.failures)}; {advice}. Nothing was written."
        )


def _validate(task: _Task, links: Sequence[Link]) -> tuple[Link, Accuracy | None, tuple[str, ...]]:
    """The last link, judged: a float32 graph was already, on the candidates; every graph is judged on the validation images, where there are
    some, and a quantized one on the calibration images for want of them."""
    task.options.tell(Event(stage="validate", kind="start"))
    images, last, quantized = task.images, links[-1], task.options.quantize != "none"
    collection = images.validation
    judged_on: dict[str, Scalar] = {"judged_on": images.origin}
    if collection is None and quantized and images.calibration is not None:
        collection = Unlabelled(whole=images.calibration)
    accuracy, judged = None, last.stage.against_source
    if collection is not None:
        limits, progress = task.options.decision_limits, _progress(task, "validate", "images judged")
        measured = chain.measure(last, links[-2], task.network, collection, spec=task.spec, limits=limits, progress=progress)
        judged_on["judged_sha256"] = digest(collection)
        judged = measured.link.stage.against_source
        accuracy = measured.accuracy
        last = measured.link if quantized or not measured.passed else last  # a float32 graph's record keeps the stricter comparison
    last = replace(last, stage=replace(last.stage, configuration={**last.stage.configuration, **judged_on}))
    task.options.tell(Event(stage="validate", kind="end", parity=judged))
    advice = "give more calibration images, another --quantize, or a lower --min-agreement where that will do" if quantized else "try another --opset"
    _demand(task, judged, task.options.quantize if quantized else last.stage.name, advice)
    return last, accuracy, notes(images, judged, quantizer=task.options.quantize, min_agreement=task.options.decision_limits.min_agreement or 0.0)


def _pack(
    task: _Task, links: Sequence[Link], output: Path, licenses: Mapping[str, str], *, accuracy: Accuracy | None, notes: tuple[str, ...]
) -> ExportResult:
    task.options.tell(Event(stage="pack", kind="start"))
    last, candidates = links[-1], task.images.candidates
    spec = last.spec
    kept = list(golden.choose(_alike(task.answers, last.logits, spec), golden.how_many(spec.preprocess)))
    inputs, reference = candidates.inputs_for(spec.preprocess)[kept], task.answers[kept]
    outputs = open_session(last.model, spec).logits(inputs)  # together, as a device will run them: dynamic ranges span the batch
    on_golden = compare(reference, outputs, task.options.limits, graph_sha256=last.stage.sha256, reference=chain.SOURCE, spec=spec)
    members = golden.members(tuple(candidates.originals[i] for i in kept), inputs=inputs, reference=reference, outputs=outputs)
    graph = read_graph(last.model)
    pictures = tuple(name for name in members if name.endswith(".png"))
    report = Report(stages=tuple(link.stage for link in links), layers=layers(graph), golden=pictures)
    manifest = pack(
        output,
        spec=spec,
        quantization=cast("Quantization", task.options.quantize),
        opset=graph.opsets[""],
        ir_version=graph.ir_version,
        model=last.model,
        members={"report.json": report.to_json(), **members},
        limits=chain.device_limits(last.model, golden=on_golden, outputs=outputs),
        parity=last.stage.against_source,
        edgecnn_version=__version__,
        tools={**_versions(("numpy", "onnxruntime", "pillow")), **{name: v for link in links for name, v in link.stage.tools.items()}},
        licenses={**task.network.licenses, **licenses},
        force=task.options.force,
    )
    task.options.tell(Event(stage="pack", kind="end"))
    return ExportResult(path=output, manifest=manifest, report=report, accuracy=accuracy, notes=notes)


def _alike(expected: NDArray[np.float32], found: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.bool_]:
    """bool (n,): which candidates are decided alike."""
    same: NDArray[np.bool_] = decide(expected, spec) == decide(found, spec)
    return np.asarray(same if same.ndim == 1 else same.all(axis=1))


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    return {name: metadata.version(name) for name in libraries}

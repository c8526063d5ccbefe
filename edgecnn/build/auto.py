"""`--quantize auto` as a part of an export: what may be asked, the search in its place, and the recipe that makes the same artifact without one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from edgecnn import __version__
from edgecnn.artifact.graph import read_graph
from edgecnn.build import export_recipe
from edgecnn.build.conform import MAX_OPSET, MIN_OPSET
from edgecnn.build.export_recipe import ExportRecipe, InputType, Limits, Wanted, check_image_sets, image_set, read_export_recipe
from edgecnn.build.images import Images
from edgecnn.build.onnx_io import parse
from edgecnn.build.quantizing import reader
from edgecnn.build.search import Search, demand_enough, search
from edgecnn.build.search.candidates import QAT, complete
from edgecnn.build.search.lab import Task
from edgecnn.build.search.progress import Tell
from edgecnn.build.search.records import Goal
from edgecnn.build.source import Source
from edgecnn.device.engines import allowed_threads
from edgecnn.device.host import describe
from edgecnn.errors import UsageError

AUTO = "auto"
INPUT_TYPES: tuple[InputType, ...] = ("float32", "uint8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an export is asked for that a recipe decides as well. goal: where --quantize is auto; recipe: where one is made again."""

    quantize: str
    config: Mapping[str, Any] = field(default_factory=dict)
    input_type: InputType = "float32"
    opset: int | None = None
    batch: int | str | None = None
    atol: float
    rtol: float
    min_agreement: float
    goal: Goal | None = None
    recipe: ExportRecipe | None = None

    @property
    def note(self) -> str | None:
        return self.recipe.note if self.recipe else None


def resolve(
    asked: Asked,
    *,
    max_drop: float | None,
    objective: str | None,
    threads: int | None,
    recipe: Path | str | None,
    has_calibration: bool,
    has_validation: bool,
) -> Asked:
    """`asked` with its goal, or with what the recipe says in its place. Raises UsageError, and what reading the recipe raises."""
    if asked.input_type not in INPUT_TYPES:
        raise UsageError(f"there is no input type {asked.input_type}; give {' or '.join(INPUT_TYPES)}.")
    if asked.quantize == AUTO:
        _check_search(asked, max_drop, has_calibration, has_validation)
        assert max_drop is not None
        wanted: Any = objective or "latency"  # Goal refuses others
        goal = Goal(
            max_drop=max_drop, min_agreement=asked.min_agreement, objective=wanted, threads=allowed_threads(1 if threads is None else threads)
        )
        return replace(asked, goal=goal)
    for given, option in ((max_drop, "--max-drop"), (objective, "--objective"), (threads, "--threads")):
        if given is not None:
            raise UsageError(f"{option} is for --quantize auto, and --quantize is {asked.quantize}; take auto, or leave {option} away.")
    return asked if recipe is None else _replayed(asked, read_export_recipe(recipe))


def _check_search(asked: Asked, max_drop: float | None, has_calibration: bool, has_validation: bool) -> None:
    if max_drop is None:
        raise UsageError("--quantize auto needs a goal: --max-drop, the points of accuracy that may be lost at most, such as 0.5.")
    if not has_calibration:
        raise UsageError("--quantize auto needs images to measure ranges on; give some hundred real ones with --calibration.")
    if not has_validation:
        raise UsageError("--quantize auto needs other images to measure accuracy on, some thousand with labels; give them with --validation.")
    if asked.config:
        raise UsageError(f"--quantize auto finds out {next(iter(asked.config))} itself; name the quantizer, e.g. --quantize int8, to configure it.")


def _replayed(asked: Asked, recipe: ExportRecipe) -> Asked:
    if asked.quantize not in ("none", recipe.quantize) or asked.config:
        raise UsageError(f"the recipe says --quantize {recipe.quantize} and how; leave --quantize and --config away, or export without --recipe.")
    for option, given, says in (("--opset", asked.opset, recipe.opset), ("--batch", asked.batch, recipe.batch)):
        if given is not None and given != says:
            raise UsageError(f"{option} is {given} and the recipe says {says}; leave {option} away, or export without --recipe.")
    if asked.input_type not in ("float32", recipe.input_type):
        raise UsageError(f"--input-type is {asked.input_type} and the recipe says {recipe.input_type}; leave it away, or export without --recipe.")
    limits = recipe.limits
    return Asked(
        quantize=recipe.quantize,
        config=recipe.config,
        input_type=recipe.input_type,
        opset=recipe.opset,
        batch=recipe.batch,
        atol=limits.atol,
        rtol=limits.rtol,
        min_agreement=limits.min_agreement,
        recipe=recipe,
    )


def find(network: Source, model: bytes, images: Images, *, goal: Goal, tell: Tell) -> Search:
    """The search on the simplified float32 graph `model`. Raises what `search` raises."""
    assert images.calibration is not None
    assert images.validation is not None
    spec = network.spec
    task = Task(
        network=network,
        model=model,
        spec=spec,
        calibration=reader(images, spec),
        calibration_images=len(images.calibration),
        validation=images.validation,
        example=images.candidates.inputs[[0] * (spec.batch or 1)].astype(spec.input.dtype),
        goal=goal,
        tell=tell,
    )
    return search(task)


def note(found: Search) -> str:
    """For the stage's record: it names no time, so that it is the same wherever it is made again."""
    judged = sum(trial.judged is not None for trial in found.trials)
    goal = found.goal
    return (
        f"chosen by --quantize auto of {len(found.trials)} candidates, {judged} of them judged, "
        f"for the least {goal.objective} with at most {goal.max_drop:g} points of {found.measure} lost"
    )


def recipe_of(found: Search, asked: Asked, exported: bytes, float32: bytes, images: Images) -> ExportRecipe:
    """What makes the artifact of a search again. exported, float32: the graphs of the export and simplify stages."""
    graph = read_graph(exported)
    opset, (batch, *_) = graph.opsets[""], graph.inputs[0].shape or (None,)
    return ExportRecipe(
        quantize=found.winner.quantizer,
        input_type=asked.input_type,
        opset=opset if MIN_OPSET <= opset <= MAX_OPSET else None,
        batch=batch if isinstance(batch, int) else "dynamic",
        note=None if found.winner.quantizer == "none" else note(found),
        float32_sha256=_content(float32),
        config=complete(found.winner),
        limits=Limits(atol=asked.atol, rtol=asked.rtol, min_agreement=asked.min_agreement),
        goal=Wanted(max_drop=found.goal.max_drop, objective=found.goal.objective),
        calibration=image_set(images.calibration) if images.calibration is not None else None,
        validation=image_set(images.validation) if images.validation is not None else None,
        training=image_set(images.training) if images.training is not None and found.winner.config.get(QAT) else None,
        tools=versions(),
    )


def check_images(asked: Asked, images: Images) -> None:
    """Raises DataRejected where a recipe's ranges were measured on other images, AccuracyFailed where they are too few for a goal."""
    if asked.goal is not None and images.validation is not None:
        demand_enough(len(images.validation), asked.goal)
    if asked.recipe is not None:
        check_image_sets(asked.recipe, calibration=images.calibration, training=images.training)


def calibration_images(asked: Asked) -> int | None:
    """How many a recipe was made with."""
    return asked.recipe.calibration.images if asked.recipe is not None and asked.recipe.calibration is not None else None


def differences(asked: Asked, float32: bytes, images: Images) -> tuple[str, ...]:
    """Why a recipe's artifact may come out otherwise than it did, a sentence each; float32: the graph of the simplify stage."""
    if asked.recipe is None:
        return ()
    return export_recipe.differences(asked.recipe, validation=images.validation, float32_sha256=_content(float32), tools=versions())


def _content(model: bytes) -> str:
    """Of a graph, whatever it is signed with: the model's name and version may change."""
    proto = parse(model)
    del proto.metadata_props[:]
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def versions() -> dict[str, str]:
    """Of all that has a part in an artifact's bytes and is installed; and the CPU, whose instructions and threads the last bit of a sum
    depends on."""
    machine = describe()
    found = {"edgecnn": __version__, "cpu": " ".join([machine.machine, *machine.isa, f"{machine.cores} cores"])}
    for name in ("numpy", "onnx", "onnxruntime", "onnxscript", "onnxsim", "pillow", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

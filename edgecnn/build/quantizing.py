"""The quantizing stage: a quantizer with its options on an export's images, and what its record says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgecnn.artifact.records import Scalar
from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.chain import Made
from edgecnn.build.images import Batches, Images, batches, digest, training_images
from edgecnn.build.quantize import configure, needs_calibration, options
from edgecnn.build.quantize import quantize as run_quantizer
from edgecnn.errors import UsageError

QAT_STEPS = "qat_steps"
"""The option of a quantizer that fine-tunes."""

DEFAULT_STEPS = 300

Progress = Callable[[int, int], None]


def configured(name: str, config: Mapping[str, Any], *, calibrates: bool, trains: bool) -> Mapping[str, Any]:
    """All options of the quantizer `name`, so that what is wrong is told before the work; `config` itself for "none".

    calibrates, trains: whether calibration images were given, and others to fine-tune on. Raises UsageError.
    """
    if name == "none":
        if config or trains:
            unused = f"--config {next(iter(config))}" if config else "--qat"
            raise UsageError(f"{unused} is for a quantizer, and --quantize is none; add --quantize int8, or leave it away.")
        return config
    if needs_calibration(name) and not calibrates:
        raise UsageError(f"{name} needs calibration images to measure ranges on; give some hundred real ones with --calibration.")
    if trains and QAT_STEPS not in {option.name for option in options(name)}:
        raise UsageError(f"--qat fine-tunes int8, and --quantize is {name}; take int8, or leave --qat away.")
    found = configure(name, ({QAT_STEPS: DEFAULT_STEPS} if trains else {}) | dict(config))
    if bool(found.get(QAT_STEPS)) != trains:
        said = "there are images to fine-tune on and no steps" if trains else "there are no images to fine-tune on; give training images with --qat"
        raise UsageError(f"{QAT_STEPS} is {found[QAT_STEPS]}, but {said}.")
    return found


def quantized(
    model: bytes,
    images: Images,
    spec: ModelSpec,
    *,
    name: str,
    config: Mapping[str, Any],
    note: str | None,
    images_read: Progress,
    steps_done: Progress,
) -> Made:
    """The float32 graph `model` of `spec` through the quantizer. note: said before the quantizer's own; images_read hears of calibration,
    steps_done of fine-tuning.

    Raises what `build.quantize.quantize` raises.
    """
    configuration: dict[str, Scalar] = {"quantizer": name}
    read = None
    if images.calibration is not None and needs_calibration(name):
        configuration |= {"calibration_images": len(images.calibration), "calibration_sha256": digest(images.calibration)}
        read = reader(images, spec, images_read=images_read, steps_done=steps_done)
    made = run_quantizer(name, model, read, **config)
    configuration |= made.configuration
    if read is not None and read.training is not None and configuration.get(QAT_STEPS):
        configuration |= {"qat_images": read.training.count, "qat_sha256": read.training.sha256}
    said = "; ".join(filter(None, (note, made.note))) or None
    return Made(name="quantize", model=made.model, configuration=configuration, tools=made.tools, note=said)


def _nobody(done: int, total: int) -> None:
    pass


def reader(images: Images, spec: ModelSpec, *, images_read: Progress = _nobody, steps_done: Progress = _nobody) -> Batches:
    """What a quantizer measures ranges on, and fine-tunes on where there are training images."""
    assert images.calibration is not None
    training = training_images(images.training, spec, steps_done) if images.training is not None else None
    return batches(images.calibration, spec.preprocess, images_read, training=training)

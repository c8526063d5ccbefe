"""What to know of an export, a sentence each without its full stop: what the images can't show, and what wasn't needed."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.artifact.records import ParityReport
from edgecnn.build.images import CALIBRATION_IMAGES, Images
from edgecnn.build.quantize import needs_calibration

ENOUGH_IMAGES = 300
"""With fewer, 98 % agreement can hardly be told from 96 %: the 95 % interval of 294 in 300 is 95.7 to 99.1 %."""

FEW_IMAGES = 100
"""A third of what is taken of a large set: fewer miss the rare values that ranges are made of."""


def notes(images: Images, judged: ParityReport | None, *, quantizer: str, min_agreement: float) -> tuple[str, ...]:
    """judged: what the artifact is judged by; quantizer: "none" for a float graph."""
    calibrated = quantizer != "none" and needs_calibration(quantizer)
    return (*_calibration(images, calibrated), *_proof(images, judged.samples if judged else 0, quantizer, calibrated, min_agreement))


def _calibration(images: Images, calibrated: bool) -> Iterator[str]:
    if images.calibration is None:
        return
    count = len(images.calibration)
    if not calibrated:
        yield "the calibration images measured no ranges, because the graph stays in float; add --quantize int8 where it should not"
    elif count < FEW_IMAGES:
        yield f"ranges were measured on {count} calibration images, which is few; give some {CALIBRATION_IMAGES} with --calibration"


def _proof(images: Images, count: int, quantizer: str, calibrated: bool, min_agreement: float) -> Iterator[str]:
    """What the proof is worth."""
    if images.origin == "synthetic":
        yield f"no images were given: answers were compared on {count} synthetic patterns, which says little of real ones; give --validation"
    elif images.origin == "calibration" and calibrated:
        here = f"no validation images were given: agreement was measured on the {count} calibration images themselves, which flatters it"
        yield f"{here}; give {ENOUGH_IMAGES} others with --validation"
    elif quantizer != "none" and count < ENOUGH_IMAGES:
        yield f"{count} images are too few to be sure of {min_agreement:.0%} agreement; give {ENOUGH_IMAGES} or more with --validation"

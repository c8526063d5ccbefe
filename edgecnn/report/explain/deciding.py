"""A decision as pictures and sentences: logits, scores, and what they rested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.classify import Milliseconds, predictions, scores
from edgecnn.report.explain import pictures
from edgecnn.report.explain.evidence import Heat, evidence
from edgecnn.report.explain.numbers import Json
from edgecnn.report.explain.subject import Run
from edgecnn.report.explain.words import say
from edgecnn.report.page import png_uri

_LABELS, _HEATS = 12, 3
"""Labels in the table of scores, and with a map of what they rested on."""
_LITTLE = 0.02
"""A change of a score that says nothing."""


def best(logits: NDArray[np.float32], spec: ModelSpec) -> tuple[int, ...]:
    """Of (1, labels): the labels worth explaining, the best first: of a multi-label model those that hold, or the best where none does."""
    order: list[int] = np.argsort(-logits[0], kind="stable").tolist()
    if spec.task == "multi-label":
        order = [label for label in order if _holds(label, scores(logits, spec)[0], spec)] or order[:1]
    return tuple(order[:_HEATS])


def _holds(label: int, table: NDArray[np.float64], spec: ModelSpec) -> bool:
    if spec.postprocess.thresholds is None:
        return label == int(np.argmax(table))
    return bool(table[label] >= spec.postprocess.thresholds[label])


def answer(one: Run) -> Json:
    """What the artifact says, and how far the logits of the graph as it stands are from those of the optimized one, where that matters."""
    spec = one.subject.spec
    spent = Milliseconds(decode=0, preprocess=0, inference=0)
    (found,) = predictions(one.logits, spec, inputs=(None,), ms=(spent,), top_k=1)
    stepwise = one.values[one.subject.network.output][:1].astype(np.float64)
    off = float(np.abs(stepwise - one.logits).max())
    return {
        "kind": one.subject.kind,
        "label": ", ".join(found.labels) or "none of its labels",
        "score": f"{found.score:.3f}" if len(found.labels) == 1 else None,
        "off": say(off, 2) if off > 1e-5 * max(1.0, float(np.abs(one.logits).max())) else None,
    }


def decision(runs: Sequence[Run], logit_keys: Sequence[str], score_keys: Sequence[str]) -> Json:
    """The best labels with each model's logit and score. keys: by which the script knows each run's last stage and its scores."""
    spec = runs[0].subject.spec
    order = np.argsort(-runs[0].logits[0], kind="stable").tolist()[:_LABELS]
    most = max(float(np.abs(one.logits[0, order]).max()) for one in runs) or 1.0
    tables = [scores(one.logits, spec)[0] for one in runs]
    thresholds = spec.postprocess.thresholds
    rows = [
        {
            "label": spec.labels[label],
            "place": label,
            "threshold": thresholds[label] if thresholds else None,
            "sides": [
                {
                    "kind": one.subject.kind,
                    "logit": f"{one.logits[0, label]:.3f}".replace("-", "−"),
                    "share": abs(float(one.logits[0, label])) / most,
                    "negative": bool(one.logits[0, label] < 0),
                    "score": float(table[label]),
                    "text": score_text(float(table[label])),
                    "holds": _holds(label, table, spec),
                    "key": logit_key,
                    "score_key": score_key,
                }
                for one, table, logit_key, score_key in zip(runs, tables, logit_keys, score_keys, strict=True)
            ],
        }
        for label in order
    ]
    return {"rows": rows, "hidden": len(spec.labels) - len(rows)}


def score_text(score: float) -> str:
    return f"{score:.3f}" if score >= 0.0005 else "< 0.001"


def rested_on(one: Run, photo: NDArray[np.uint8], labels: Sequence[int]) -> Json:
    """photo: the image that the network gets, (height, width) or (height, width, 3)."""
    subject = one.subject
    found = evidence(subject.network, subject.stages, one.values, subject.session.logits, one.x, subject.spec, labels)
    most = max(float(np.abs(heat.pixels).max()) for heat in found.heats)
    heats = []
    for heat in found.heats:
        scale = most if found.kind == "cam" else max(_LITTLE, float(np.abs(heat.pixels).max()))
        heats.append(
            {
                "label": subject.spec.labels[heat.label],
                "score": score_text(heat.score),
                "text": _cam_text(heat) if found.kind == "cam" else _occlusion_text(heat),
                "uri": png_uri(pictures.overlay(photo, heat.pixels, scale)),
                "width": photo.shape[1],
            }
        )
    return {"kind": found.kind, "model": subject.kind, "patch": found.patch, "fill": found.fill, "heats": heats}


def _cam_text(heat: Heat) -> str:
    mean = float(heat.cells.mean())
    total = f"{mean:.3f} {'−' if heat.offset < 0 else '+'} {abs(heat.offset):.3f} = {mean + heat.offset:.3f}"
    rounded = f", which is {heat.logit:.3f} as this network rounds the means" if f"{heat.logit:.2f}" != f"{mean + heat.offset:.2f}" else ""
    cells = "\u00a0×\u00a0".join(map(str, heat.cells.shape))
    return f"The mean of the {cells} cells and the bias are the logit: {total}{rounded}.".replace("-", "−")


def _occlusion_text(heat: Heat) -> str:
    assert heat.lowest is not None
    assert heat.at is not None
    if heat.lowest >= heat.score:
        return f"Wherever the patch lies, its score never falls below the {score_text(heat.score)} of the whole image."
    (top, bottom), (left, right) = heat.at
    text = (
        f"With rows {top} to {bottom - 1} and columns {left} to {right - 1} covered its score falls to {score_text(heat.lowest)}, "
        f"the lowest of {heat.cells.size} places."
    )
    return text if heat.score - heat.lowest >= _LITTLE else f"{text} That is little: no single place decides."

"""What a page shows of one image, as plain values for the template."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.report.explain import pictures
from edgecnn.report.explain.deciding import answer, best, decision, rested_on
from edgecnn.report.explain.layers import Layers
from edgecnn.report.explain.numbers import Json, Numbers, packed
from edgecnn.report.explain.preparation import preparation
from edgecnn.report.explain.subject import Picture, Run
from edgecnn.report.page import png_uri


def view(number: int, picture: Picture, runs: Sequence[Run], numbers: Numbers, *, images: int) -> tuple[Json, dict[str, list[Json]]]:
    """(what the template shows of the image, what the script knows of the stages). runs: of FILE, and of the other artifact where there is one;
    images: how many share the page."""
    first = runs[0]
    spec = first.subject.spec
    pre = spec.preprocess
    photo = pictures.in_color(picture.pixels, pre.channels) if picture.pixels is not None else pictures.photo(first.x[0], pre.channels)
    layers = Layers(number, picture, runs, numbers, images=images)
    scripts = layers.scripts
    last: list[str] = []
    scores: list[str] = []
    for one in runs:
        key = f"{number}{one.letter}"
        stages = scripts[key]
        last.append(f"{key}:{len(stages) - 1}")
        scores.append(f"{key}:{len(stages)}")
        numbers.tensors[f"{key}/scores"] = packed(one.logits.reshape(-1, 1, 1))
        stages[-1]["labels"] = True
        stages.append(
            {
                "kind": "scores",
                "title": "Softmax" if spec.task == "single-label" else "Sigmoid",
                "y": f"{key}/scores",
                "shape": [len(spec.labels), 1, 1],
                "most": 1,
            }
        )
    rows = layers.rows
    differences = [
        {"name": f"{row['number']}. {row['title']}", "value": max(0.0, row["apart"]["sqnr"]), "text": f"{row['apart']['sqnr']:.1f} dB"}
        for row in rows
        if row["apart"] is not None and row["apart"]["sqnr"] is not None
    ]
    shown = {
        "id": f"image-{number}",
        "name": picture.name,
        "thumb": png_uri(photo),
        "answers": [answer(one) for one in runs],
        "steps": preparation(picture, pre, first.x),
        "layers": rows,
        "decision": decision(runs, last, scores),
        "evidence": [rested_on(one, photo, best(first.logits, spec)) for one in runs],
        "differences": differences,
        "unpaired": sum(row["only"] is not None for row in rows),
    }
    return shown, scripts

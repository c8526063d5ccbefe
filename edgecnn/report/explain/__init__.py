"""A page on how a network comes from an image's pixels to its decision: every step as pictures, with the numbers behind each pixel.

From an artifact alone, with onnxruntime, onnx and Jinja2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgecnn import __version__
from edgecnn.report.explain.network import Agreement
from edgecnn.report.explain.numbers import BUDGET, POINTS, Json, Numbers
from edgecnn.report.explain.pairs import check_comparable
from edgecnn.report.explain.subject import Picture, Subject, run
from edgecnn.report.explain.view import view
from edgecnn.report.page import render

MOST_IMAGES = 16
"""A page with more grows too large to open."""


def explain(
    subject: Subject,
    pictures: Sequence[Picture],
    *,
    other: Subject | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """The page. other: the same network in another form, shown beside it. Equal artifacts and images give equal pages on one machine.

    Raises UsageError where `other` is another network, or a ready input isn't the model's; GraphRejected where a graph fails or answers NaN.
    """
    import onnxruntime

    subjects = [subject] if other is None else [subject, other]
    if other is not None:
        check_comparable(subject.spec, other.spec, (subject.name, other.name))
    shown: list[Json] = []
    scripts: dict[str, list[Json]] = {}
    tensors: dict[str, Json] = {}
    checks: dict[tuple[str, str], list[Agreement | None]] = {}
    for number, picture in enumerate(pictures, start=1):
        numbers = Numbers(left=BUDGET // len(pictures), points=POINTS // len(pictures), tensors=dict(tensors))
        runs = [run(letter, one, picture) for letter, one in zip("ab", subjects, strict=False)]
        image, more = view(number, picture, runs, numbers, images=len(pictures))
        tensors = numbers.tensors
        scripts.update(more)
        shown.append(image)
        for one in runs:
            for name, found in one.agreements.items():
                checks.setdefault((one.letter, name), []).append(found)
        progress(number, len(pictures))
    stages = [stage for some in scripts.values() for stage in some if stage["kind"] != "scores"]
    whole = sum("points" not in stage and stage["kind"] not in ("none", "value") for stage in stages)
    return render(
        "explain.html.j2",
        spec=subject.spec,
        models=[
            {"file": one.name, "kind": one.kind, "validated": one.manifest.validated, "sha256": one.manifest.member("model.onnx").sha256}
            for one in subjects
        ],
        images=shown,
        checks={
            "count": sum(None not in found for found in checks.values()),
            "bad": sum(any(one is not None and not one.close for one in found) for found in checks.values()),
            "unknown": sum(None in found for found in checks.values()),
        },
        steps=len(shown[0]["layers"]),
        stages=len(stages),
        whole=whole,
        complete=whole == len(stages),
        numbers={
            "tensors": tensors,
            "stages": scripts,
            "labels": list(subject.spec.labels),
            "kinds": {letter: one.kind for letter, one in zip("ab", subjects, strict=False)},
            "activation": subject.spec.postprocess.activation,
        },
        version=__version__,
        runtime=onnxruntime.__version__,
    )

"""A Diff as one HTML page, with the images on which the two models part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgecnn import __version__
from edgecnn.report.diff.records import Answers, Diff
from edgecnn.report.diff.words import decision, named, percent, sections, verdict
from edgecnn.report.page import render

_BARS = 16


def page(diff: Diff, most: int) -> str:
    """most: rows of each section; 0 is all. Raises ModuleNotFoundError where Jinja2 isn't installed."""
    found = [] if diff.identical else list(sections(diff, most))
    return render(
        "diff.html.j2",
        a=named(diff.a),
        b=named(diff.b),
        lead=verdict(diff),
        chips=[] if diff.identical else list(_chips(diff)),
        parts=found,
        bars=list(_bars(diff)),
        images=list(_images(diff.answers)),
        version=__version__,
    )


def _chips(diff: Diff) -> Iterator[tuple[str, str]]:
    """(class, text)."""
    answers = diff.answers
    if answers is not None:
        yield ("good" if not answers else "warn"), f"{answers.agreeing:,} of {answers.images:,} decided alike"
        if answers.difference is not None:
            gap = answers.difference
            yield ("bad" if gap.high < 0 else "good" if gap.low > 0 else ""), f"accuracy {gap.points:+.2f} points ({gap.low:+.2f} to {gap.high:+.2f})"
    model = diff.size[0]
    if isinstance(model.a, int) and isinstance(model.b, int) and model.a:
        yield "", f"model.onnx {100 * (model.b / model.a - 1):+.1f} %"


def _bars(diff: Diff) -> Iterator[dict[str, Any]]:
    """The layers whose weights changed most."""
    known = [row for row in diff.weights.rows if row.relative is not None and len(row.shape_a) > 1]
    for row in known[:_BARS]:
        assert row.relative is not None
        yield {"name": f"{row.layer}, {row.tensor}", "value": row.relative, "text": percent(row.relative)}


def _images(answers: Answers | None) -> Iterator[dict[str, Any]]:
    for row in answers.shown if answers is not None else ():
        if row.picture is not None:
            yield {
                "picture": row.picture,
                "name": row.name,
                "verdict": row.verdict,
                "truth": None if row.truth is None else decision(row.truth),
                "a": f"{decision(row.a)} {row.score_a:.2f}",
                "b": f"{decision(row.b)} {row.score_b:.2f}",
            }

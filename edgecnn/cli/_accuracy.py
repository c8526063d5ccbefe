"""An AccuracyReport as lines of text: the figure with its interval, then what is confused with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgecnn.cli._options import columns

if TYPE_CHECKING:
    from edgecnn.device.validate import AccuracyReport

_MATRIX_LABELS = 20
"""With more labels than this, the most frequent confusions stand in for the matrix."""

_PAIRS = 10


def accuracy_lines(report: AccuracyReport) -> list[str]:
    low, high = report.interval
    kind = "top-1 accuracy" if report.confusion else "exact-match ratio"
    lines = [f"{kind} {report.top1:.2%}: {report.correct} of {report.count} images, 95 % interval {low:.2%} to {high:.2%}"]
    if not report.confusion:
        return lines + _per_label_lines(report)
    return lines + (_matrix_lines(report) if len(report.labels) <= _MATRIX_LABELS else _pair_lines(report))


def _matrix_lines(report: AccuracyReport) -> list[str]:
    heads = abbreviate(report.labels)
    rows = [["true \\ decided", *heads, "recall"]]
    for label, counts, row in zip(report.labels, report.per_label, report.confusion, strict=True):
        rows.append([_cut(label, 24), *(str(count) if count else "." for count in row), _percent(counts.recall)])
    return ["confusion matrix, images:", *columns(rows, right=range(1, len(heads) + 2))]


def _pair_lines(report: AccuracyReport) -> list[str]:
    pairs = sorted(
        ((count, i, j) for i, row in enumerate(report.confusion) for j, count in enumerate(row) if count and i != j),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    rows = [["true", "decided", "images"]] + [[_cut(report.labels[i], 40), _cut(report.labels[j], 40), str(count)] for count, i, j in pairs[:_PAIRS]]
    return [f"most frequent confusions, {min(len(pairs), _PAIRS)} of {len(pairs)}:", *columns(rows, right=(2,))]


def _per_label_lines(report: AccuracyReport) -> list[str]:
    rows = [["label", "images", "precision", "recall", "F1"]]
    for counts in report.per_label:
        images = counts.true_positives + counts.false_negatives
        rows.append([_cut(counts.label, 40), str(images), _percent(counts.precision), _percent(counts.recall), _percent(counts.f1)])
    return list(columns(rows, right=(1, 2, 3, 4)))


def abbreviate(labels: Sequence[str]) -> list[str]:
    """The labels cut to the fewest characters, from 5 to 8, that still tell them apart; their numbers from 1 where none does."""
    for width in range(5, 9):
        short = [_cut(label, width, mark="") for label in labels]
        if len(set(short)) == len(labels):
            return short
    return [f"#{number}" for number in range(1, len(labels) + 1)]


def _cut(label: str, width: int, *, mark: str = "~") -> str:
    return label if len(label) <= width else label[: width - len(mark)].rstrip() + mark


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"

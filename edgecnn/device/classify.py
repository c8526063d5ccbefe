"""From logits to what a person wants to know: softmax where one label holds, sigmoid and thresholds where several may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, Task
from edgecnn.errors import GraphRejected, UsageError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A label and its score, 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Milliseconds:
    """Where the time went: decoding the file, the rest of the preprocessing, the network. 0 for a step that wasn't needed."""

    decode: float
    preprocess: float
    inference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a model says of one input.

    label: the best label; in a multi-label model the best of those that hold, None where none does; score: of `label`, or the highest of all;
    labels: all that hold, best first (single-label: just `label`); top: the k best, best first; input: the file's name, where there is one.
    """

    input: str | None
    task: Task
    label: str | None
    labels: tuple[str, ...]
    score: float
    top: tuple[Score, ...]
    ms: Milliseconds

    def to_json_dict(self) -> dict[str, Any]:
        """What `edgecnn run --json` prints: schema 1, scores in float32's seven digits, times in milliseconds."""
        ms = self.ms
        return {
            "schema": SCHEMA,
            "input": self.input,
            "task": self.task,
            "label": self.label,
            "labels": list(self.labels),
            "score": _seven_digits(self.score),
            "top": [{"label": entry.label, "score": _seven_digits(entry.score)} for entry in self.top],
            "ms": {"decode": round(ms.decode, 3), "preprocess": round(ms.preprocess, 3), "inference": round(ms.inference, 3)},
        }

    def _repr_html_(self) -> str:
        from html import escape

        def row(entry: Score) -> str:
            name = f"<b>{escape(entry.label)}</b>" if entry.label in self.labels else escape(entry.label)
            bar = f'<div style="background:#4c78a8;height:0.8em;width:{entry.score * 160:.0f}px"></div>'
            return f'<tr><td style="text-align:left">{name}</td><td style="text-align:right">{entry.score:.3f}</td><td>{bar}</td></tr>'

        title = ", ".join(self.labels) or "none"
        caption = f"{escape(self.input)}: {escape(title)}" if self.input else escape(title)
        caption += f" <small>({self.ms.decode + self.ms.preprocess + self.ms.inference:.1f} ms)</small>"
        return f'<table><caption style="text-align:left">{caption}</caption>{"".join(map(row, self.top))}</table>'


def scores(logits: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float64]:
    """(n, labels) logits -> float64 (n, labels) scores between 0 and 1: softmax over the labels, or sigmoid of each.

    Raises UsageError for another shape, GraphRejected for NaN or infinities: a network that answers so says nothing.
    """
    return _scores(_check(logits, spec), spec)


def _scores(values: NDArray[np.float64], spec: ModelSpec) -> NDArray[np.float64]:
    if spec.postprocess.activation == "softmax":
        grown = np.exp(values - values.max(axis=1, keepdims=True))
        result: NDArray[np.float64] = grown / grown.sum(axis=1, keepdims=True)
        return result
    shrunk = np.exp(-np.abs(values))  # never overflows
    return np.where(values >= 0, 1 / (1 + shrunk), shrunk / (1 + shrunk))


def decide(logits: NDArray[np.float32], spec: ModelSpec) -> NDArray[Any]:
    """What the model decides: int64 (n,), the first label with the highest logit; multi-label: bool (n, labels), True where the score
    reaches the label's threshold. Raises what `scores` raises."""
    if spec.task == "single-label":
        best: NDArray[np.int64] = _check(logits, spec).argmax(axis=1)
        return best
    reached: NDArray[np.bool_] = scores(logits, spec) >= np.array(spec.postprocess.thresholds)
    return reached


def predictions(
    logits: NDArray[np.float32], spec: ModelSpec, *, inputs: tuple[str | None, ...], ms: tuple[Milliseconds, ...], top_k: int = 5
) -> list[Prediction]:
    """A Prediction for each row of (n, labels) logits; `inputs` and `ms` have an entry each. Raises UsageError for top_k below 1."""
    if top_k < 1:
        raise UsageError(f"the best {top_k} labels were asked for; give at least 1.")
    values = _check(logits, spec)
    table = _scores(values, spec)
    order = np.argsort(-values, axis=1, kind="stable")  # by logits: scores near 0 or 1 may round to equal ones
    held = None if spec.task == "single-label" else (table >= np.array(spec.postprocess.thresholds)).tolist()
    rows = zip(table.tolist(), order.tolist(), held or [None] * len(values), inputs, ms, strict=True)
    return [_prediction(spec, *row, top_k) for row in rows]


def _prediction(
    spec: ModelSpec, row: list[float], order: list[int], held: list[bool] | None, name: str | None, spent: Milliseconds, top_k: int
) -> Prediction:
    labels = spec.labels
    holding = order[:1] if held is None else [i for i in order if held[i]]
    return Prediction(
        input=name,
        task=spec.task,
        label=labels[holding[0]] if holding else None,
        labels=tuple([labels[i] for i in holding]),
        score=row[holding[0] if holding else order[0]],
        top=tuple([Score(label=labels[i], score=row[i]) for i in order[:top_k]]),
        ms=spent,
    )


def _check(logits: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float64]:
    if logits.ndim != 2 or logits.shape[1] != len(spec.labels):
        raise UsageError(f"logits of shape {list(logits.shape)} were found, (n, {len(spec.labels)}) was wanted: one for each label of {spec.name}.")
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        raise GraphRejected(f"{spec.name} answered NaN or infinity for this input, so it says nothing of it; export the model again.")
    return values


def _seven_digits(value: float) -> float:
    return float(f"{value:.7g}")

"""What a race says: cells, whether threads were kept to, who is ahead, and whether it is the same network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AHEAD = 0.05
"""By what share of our time another runtime must be faster for the cell to be lost."""

TOO_MANY_CORES = 0.15
FLOAT32_ERROR, INT8_DB = 2e-3, 1.0
OURS = ("edgecnn", "edgecnn_auto")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One runtime on one network at one precision and number of threads. seconds: an inference, CPU time on one thread, which other programs'
    load hardly changes, wall time on several; wall: that; cores: CPU time over wall time; sqnr_db: its logits'
    against PyTorch's, None where they are the same; reason: why there is no figure."""

    net: str
    precision: str
    threads: int
    runtime: str
    seconds: float | None = None
    wall: float | None = None
    cores: float | None = None
    sqnr_db: float | None = None
    note: str = ""
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.net, self.precision, self.threads

    @property
    def too_many_cores(self) -> bool:
        return self.cores is not None and self.cores > self.threads + TOO_MANY_CORES

    def to_json_dict(self) -> dict[str, Any]:
        return {"schema": 1, **asdict(self), "too_many_cores": self.too_many_cores}


def another_network(expected: NDArray[np.float32], actual: NDArray[np.float32], precision: str) -> str:
    """Why these answers can't be those of the same network; "" where they can. With fresh weights int8 need only have more signal than
    noise: one answer to everything would have 0 dB."""
    if actual.shape != expected.shape or not actual.size:
        return f"it answers {list(actual.shape)}, {list(expected.shape)} was wanted"
    if not np.isfinite(actual).all():
        return "it answers NaN or infinity"
    if precision == "float32":
        largest = float(np.abs(actual - expected).max() / np.abs(expected).max())
        return "" if largest <= FLOAT32_ERROR else f"its answers are off by {largest:.2g} of the largest"
    found = sqnr_db(expected, actual)
    return "" if found is None or found >= INT8_DB else f"its answers have {found:.1f} dB, {INT8_DB:g} were wanted"


def sqnr_db(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float | None:
    """Of the logits less each one's mean over the inputs, which says nothing of an input; None where nothing differs."""
    mean = expected.mean(axis=0, dtype=np.float64)
    noise = float(np.sum((actual.astype(np.float64) - expected) ** 2))
    return 10 * float(np.log10(np.sum((expected - mean) ** 2) / noise)) if noise else None


def lost(cells: Iterable[Cell]) -> list[tuple[Cell, Cell, float]]:
    """(our best cell, the other's, how far ahead it is as a share of our time) for each other runtime that is ahead by more than the margin and kept
    to its threads."""
    known = [cell for cell in cells if cell.seconds is not None]
    found = []
    for cell in known:
        ours = [other for other in known if other.key == cell.key and other.runtime in OURS]
        if cell.runtime in OURS or cell.too_many_cores or not ours:
            continue
        best = min(ours, key=lambda other: other.seconds or 0)
        ahead = 1 - (cell.seconds or 0) / (best.seconds or 1)
        if ahead > AHEAD:
            found.append((best, cell, ahead))
    return found


def lines(cells: Sequence[Cell], runtimes: Sequence[str]) -> list[str]:
    """A Markdown table, microseconds an inference and in brackets the time over edgecnn's; reasons and warnings below it."""
    found = {(cell.key, cell.runtime): cell for cell in cells}
    keys = list(dict.fromkeys(cell.key for cell in cells))
    titles = [name.replace("_", " ") for name in runtimes]
    table = [f"| network | precision | threads | {' | '.join(titles)} |", f"| --- | --- | ---: |{' ---: |' * len(titles)}"]
    for key in keys:
        ours = found.get((key, OURS[0]))
        row = (_shown(found.get((key, name)), None if ours is None or name == OURS[0] else ours.seconds) for name in runtimes)
        table.append(f"| {key[0]} | {key[1]} | {key[2]} | {' | '.join(row)} |")
    return [*table, "", *_reasons(cells), *_cores(cells), *_lost(cells)]


def _shown(cell: Cell | None, ours: float | None) -> str:
    if cell is None or cell.seconds is None:
        return "--"
    ratio = f" ({cell.seconds / ours:.2f})" if ours else ""
    return f"{cell.seconds * 1e6:,.0f}{ratio}{'!' if cell.too_many_cores else ''}"


def _reasons(cells: Sequence[Cell]) -> list[str]:
    """One line for each runtime and reason, with the nets that it holds for."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells:
        if cell.reason:
            grouped.setdefault((cell.runtime, cell.precision, cell.reason), []).append(cell.net)
    return [
        f"-- {runtime.replace('_', ' ')} {precision}, {', '.join(dict.fromkeys(nets))}: {reason}"
        for (runtime, precision, reason), nets in grouped.items()
    ]


def _cores(cells: Sequence[Cell]) -> list[str]:
    return [
        f"! {cell.runtime.replace('_', ' ')} on {cell.net} {cell.precision} kept {cell.cores:.2f} cores busy with {cell.threads} threads"
        for cell in cells
        if cell.too_many_cores
    ]


def _lost(cells: Sequence[Cell]) -> list[str]:
    said = [
        f"lost: {ours.net} {ours.precision}, {ours.threads} threads: {other.runtime.replace('_', ' ')} takes {share:.0%} less than "
        f"{ours.runtime.replace('_', ' ')}"
        for ours, other, share in lost(cells)
    ]
    return said or ["no other runtime is more than 5 % ahead"]

"""What int8 has to reach on each network, and whether a row of ours does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
OURS = "edgecnn"

LARGE, SHARE_OF_LARGE, SHARE = 2_000_000, 0.28, 0.33
"""model.onnx: of a float32 graph above so many bytes int8 takes at most such a share, of others such a one."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """points: how many the accuracy may fall at most; sqnr_db: of the logits, at least; ahead: whether no other quantizer may lose less, with the
    same images."""

    points: float | None = None
    sqnr_db: float | None = None
    ahead: bool = False


GOALS: Mapping[str, Goal] = {
    "simplecnn-fashion": Goal(points=0.1),
    "resnet8-cifar10": Goal(points=0.1),
    "mobilenetv2": Goal(points=0.3, ahead=True),
    "mobilenetv1": Goal(points=0.3, ahead=True),
    "efficientnet-lite0": Goal(sqnr_db=22.0, ahead=True),
    "mobilenetv2-relu": Goal(points=0.3),
    "mobilenetv2-relu-rescaled": Goal(points=0.5),
}


def verdicts(rows: Sequence[Row], goal: Goal) -> list[tuple[bool, str]]:
    """Of one network's rows, the first of them float32: whether one of ours reaches the accuracy, and one (maybe another) its bytes as well as
    the accuracy's limit, though others be ahead; each with which one it is, or what each lacks."""
    ours = [row for row in rows if row["quantizer"].startswith(OURS)]
    others = [row for row in rows[1:] if not row["quantizer"].startswith(OURS)]
    accurate = {row["quantizer"]: [*off_limit(row, goal), *behind(row, others, goal)] for row in ours}
    small = {row["quantizer"]: [*off_limit(row, goal), *too_large(row, rows[0])] for row in ours}
    return [_said("accuracy", accurate), _said("bytes", small)]


def _said(what: str, lacks: Mapping[str, Sequence[str]]) -> tuple[bool, str]:
    for name, missing in lacks.items():
        if not missing:
            return True, f"{what} reached by {name}"
    return False, f"{what} missed: " + "; ".join(f"{name} {', '.join(missing)}" for name, missing in lacks.items())


def off_limit(row: Row, goal: Goal) -> list[str]:
    """In words; what isn't a number falls short."""
    found = []
    if goal.points is not None and not row["points"] >= -goal.points - 1e-9:
        found.append(f"changes by {row['points']:+.2f} points, not {-goal.points}")
    if goal.sqnr_db is not None and not (row["sqnr_db"] is None or row["sqnr_db"] >= goal.sqnr_db):
        found.append(f"has {row['sqnr_db']:.1f} dB, not {goal.sqnr_db}")
    return found


def behind(row: Row, others: Sequence[Row], goal: Goal) -> list[str]:
    measure = "points" if goal.points is not None else "sqnr_db"
    return [f"lies behind {other['quantizer']}" for other in others if goal.ahead and not row[measure] >= other[measure] - 1e-9]


def too_large(row: Row, source: Row) -> list[str]:
    share = SHARE_OF_LARGE if source["bytes"] > LARGE else SHARE
    return [] if row["share"] <= share else [f"has {row['share']:.3f} of float32's bytes, not {share}"]

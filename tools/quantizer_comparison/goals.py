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


def verdict(rows: Sequence[Row], goal: Goal) -> tuple[bool, str]:
    """Of one network's rows, the first of them float32: whether one of ours reaches all of the goal, and which one, or what each lacks."""
    ours = [row for row in rows if row["quantizer"].startswith(OURS)]
    others = [row for row in rows[1:] if not row["quantizer"].startswith(OURS)]
    lacks = {row["quantizer"]: lacking(row, rows[0], others, goal) for row in ours}
    for name, missing in lacks.items():
        if not missing:
            return True, f"reached by {name}"
    return False, "missed: " + "; ".join(f"{name} {', '.join(missing)}" for name, missing in lacks.items())


def lacking(row: Row, source: Row, others: Sequence[Row], goal: Goal) -> list[str]:
    """What a row falls short of, in words. An accuracy or SQNR that isn't a number falls short."""
    found = []
    share = SHARE_OF_LARGE if source["bytes"] > LARGE else SHARE
    if not row["share"] <= share:
        found.append(f"has {row['share']:.3f} of float32's bytes, not {share}")
    if goal.points is not None and not row["points"] >= -goal.points - 1e-9:
        found.append(f"changes by {row['points']:+.2f} points, not {-goal.points}")
    if goal.sqnr_db is not None and not (row["sqnr_db"] is None or row["sqnr_db"] >= goal.sqnr_db):
        found.append(f"has {row['sqnr_db']:.1f} dB, not {goal.sqnr_db}")
    measure = "points" if goal.points is not None else "sqnr_db"
    before = [other["quantizer"] for other in others if goal.ahead and not row[measure] >= other[measure] - 1e-9]
    return [*found, *(f"lies behind {name}" for name in before)]

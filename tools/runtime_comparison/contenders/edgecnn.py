"""edgecnn's artifact as `edgecnn export` makes it, run as `edgecnn run` runs it: on onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime_comparison.loaded import Loaded

PACKAGES: tuple[str, ...] = ()
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    """The artifact is there."""


def load(folder: Path, precision: str, threads: int, engine: str = "ort") -> Loaded:
    import edgecnn

    model: Any = edgecnn.load(folder / f"{precision}.edgecnn", threads=threads, engine=engine)
    return Loaded(run=model.logits, note=model.session.engine.provider)

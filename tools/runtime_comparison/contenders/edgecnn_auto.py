"""edgecnn's artifact with `--engine auto`."""

from __future__ import annotations

from pathlib import Path

from runtime_comparison.contenders import edgecnn
from runtime_comparison.loaded import Loaded

PACKAGES: tuple[str, ...] = ()
NOT: dict[str, str] = {}
convert = edgecnn.convert


def load(folder: Path, precision: str, threads: int) -> Loaded:
    return edgecnn.load(folder, precision, threads, engine="auto")

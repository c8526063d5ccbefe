"""tract, which computes on one thread, on the ONNX graphs of edgecnn."""

from __future__ import annotations

from pathlib import Path

from runtime_comparison.loaded import Loaded

PACKAGES = ("numpy", "tract==0.23.9")
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    """It reads ONNX."""


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import tract

    runnable = tract.onnx().load(str(folder / f"{precision}.onnx")).into_model().into_runnable()
    return Loaded(run=lambda x: runnable.run([x])[0].to_numpy(), note="one thread, however many are asked for")

"""The quantizers of others, each as its documentation says to use it, with its defaults."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from environments import environment as make
from numpy.typing import NDArray

from edgecnn.build.quantize._graph import import_tidily, root_log_aside

CHILD = Path(__file__).with_name("nncf_child.py")
NNCF = ("torch==2.13.0", "nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1")
"""torch, because nncf imports it where it is there and says so where it isn't; first, at the version that is built for CPUs alone."""


def onnxruntime_static(graph: bytes, inputs: NDArray[np.float32], *, per_channel: bool) -> bytes:
    """`quantize_static` with its defaults, but for per_channel. inputs: float32 (n, channels, height, width)."""
    library: Any = import_tidily("onnxruntime.quantization")

    class Reader(library.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self, name: str) -> None:
            self.rest: Iterator[dict[str, NDArray[np.float32]]] = ({name: x[np.newaxis]} for x in inputs)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.rest, None)

    import onnx

    with tempfile.TemporaryDirectory() as folder, root_log_aside():
        source, prepared, made = (Path(folder) / name for name in ("float32.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(graph)
        import_tidily("onnxruntime.quantization.shape_inference").quant_pre_process(str(source), str(prepared))
        name = onnx.load(prepared).graph.input[0].name
        library.quantize_static(str(prepared), str(made), Reader(name), per_channel=per_channel)
        return made.read_bytes()


def nncf(graph: bytes, inputs: NDArray[np.float32], *, environment: Path) -> bytes:
    """`nncf.quantize` on the ONNX graph with its defaults, in an environment of its own, which is made where there is none."""
    python = str(make(environment, NNCF))
    with tempfile.TemporaryDirectory() as folder:
        source, images, made = (Path(folder) / name for name in ("float32.onnx", "inputs.npy", "int8.onnx"))
        source.write_bytes(graph)
        np.save(images, inputs)
        done = subprocess.run([python, str(CHILD), str(source), str(images), str(made)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"nncf failed:\n{done.stderr[-3000:]}")
        return made.read_bytes()

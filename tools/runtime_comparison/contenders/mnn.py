"""MNN through its module API. Its converter's core is called, not the command, which installs a package that reports its use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime_comparison.loaded import Loaded

PACKAGES = ("numpy", "MNN==3.6.1")
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    import _tools  # comes with MNN

    made = folder / "mnn"
    arguments = ["-f", "ONNX", "--modelFile", str(folder / "float32.onnx"), "--MNNModel", str(made / "float32.mnn"), "--bizCode", "none"]
    _tools.mnnconvert(["mnnconvert", *arguments])
    if precision == "int8":
        _quantize(_tools, folder, made)


def _quantize(tools: Any, folder: Path, made: Path) -> None:
    """Its offline quantization tool, on the calibration images themselves: pixels over 255, as the networks take them. By EMA: with KL, its
    default, 3.6.1 crashes on all but the smallest network."""
    import json

    import numpy as np

    count, _, height, width = np.load(folder / "calibration.npy").shape
    asked = {"format": "RGB", "mean": [0.0] * 3, "normal": [1 / 255] * 3, "width": width, "height": height, "path": f"{folder / 'images'}/"}
    asked |= {"used_image_num": count, "feature_quantize_method": "EMA", "weight_quantize_method": "MAX_ABS"}
    (made / "quantize.json").write_text(json.dumps(asked))
    tools.mnnquant(["mnnquant", *(str(made / name) for name in ("float32.mnn", "int8.mnn", "quantize.json"))])
    if not (made / "int8.mnn").exists():
        raise RuntimeError("mnnquant wrote nothing")


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import MNN
    import numpy as np

    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "normal", "memory": "normal"},))
    net = MNN.nn.load_module_from_file(str(folder / "mnn" / f"{precision}.mnn"), ["input"], ["logits"], runtime_manager=manager)

    def run(x: Any) -> Any:
        return net.forward(x).read()

    return Loaded(run=run, prepare=lambda x: MNN.expr.const(x, list(x.shape), MNN.expr.NCHW), finish=np.array)

"""ncnn, converted by pnnx from ONNX with weights in float32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runtime_comparison.loaded import Loaded

PACKAGES = ("torch==2.13.0", "ncnn==1.0.20261020", "pnnx==20261020")
NOT = {"int8": "its quantization tools (ncnn2table, ncnn2int8) come in no pip package"}


def convert(folder: Path, precision: str) -> None:
    import shutil

    import numpy as np

    made = folder / "ncnn"
    shutil.copy(folder / "float32.onnx", made / "net.onnx")
    shape = ",".join(map(str, np.load(folder / "inputs.npy")[:1].shape))
    tool = Path(sys.executable).with_name("pnnx")
    subprocess.run([str(tool), "net.onnx", f"inputshape=[{shape}]f32", "fp16=0"], cwd=made, check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL)


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import ncnn
    import numpy as np

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.load_param(str(folder / "ncnn" / "net.ncnn.param"))
    net.load_model(str(folder / "ncnn" / "net.ncnn.bin"))

    def run(x: object) -> object:
        with net.create_extractor() as extractor:
            extractor.input("in0", x)
            return extractor.extract("out0")[1]

    return Loaded(run=run, prepare=lambda x: ncnn.Mat(x[0]).clone(), finish=np.array)

"""OpenVINO with the latency hint; int8 is NNCF's post-training quantization of its own model, as its documentation says.

In float32, not bfloat16, which it would take by itself on some CPUs: the same arithmetic for all.
"""

from __future__ import annotations

from pathlib import Path

from runtime_comparison.loaded import Loaded

PACKAGES = ("openvino==2026.4.1", "nncf==3.4.0")
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    import numpy as np
    import openvino

    model = openvino.Core().read_model(str(folder / "float32.onnx"))
    if precision == "int8":
        import nncf

        model = nncf.quantize(model, nncf.Dataset([x[np.newaxis] for x in np.load(folder / "calibration.npy")]))
    openvino.save_model(model, str(folder / "openvino" / f"{precision}.xml"), compress_to_fp16=False)


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(folder / "openvino" / f"{precision}.xml"), "CPU", settings)
    request = compiled.create_infer_request()
    return Loaded(run=lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0])

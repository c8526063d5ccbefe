"""LiteRT with XNNPACK, which its interpreter takes by itself; converted by litert-torch, int8 by ai-edge-quantizer's static recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime_comparison.loaded import Loaded

PACKAGES = ("torch==2.13.0", "ai-edge-litert==2.3.0", "litert-torch==0.10.0")
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    import numpy as np

    made = folder / "litert"
    if not (made / "float32.tflite").exists():
        import litert_torch
        import torch

        net = torch.export.load(folder / "net.pt2").module()
        x = torch.from_numpy(np.load(folder / "inputs.npy")[:1].transpose(0, 2, 3, 1).copy())
        # pixels' channels last, as its kernels want them
        litert_torch.convert(litert_torch.to_channel_last_io(_Plain(net).module(), args=[0]), (x,)).export(str(made / "float32.tflite"))
    if precision == "int8":
        from ai_edge_quantizer import quantizer, recipe

        work = quantizer.Quantizer(str(made / "float32.tflite"))
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(made / "float32.tflite"))
        ((key, signature),) = runner.get_signature_list().items()
        images = [{signature["inputs"][0]: x[np.newaxis].transpose(0, 2, 3, 1).copy()} for x in np.load(folder / "calibration.npy")]
        work.quantize(work.calibrate({key: images})).export_model(str(made / "int8.tflite"), overwrite=True)


class _Plain:
    """A module around an exported one, which refuses .eval()."""

    def __init__(self, net: object) -> None:
        self._net = net

    def module(self) -> object:
        import torch

        outer = self

        class Around(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return outer._net(x)  # type: ignore[no-any-return, operator]

        return Around().eval()


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "litert" / f"{precision}.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    place, answer = source["index"], result["index"]

    def run(x: Any) -> Any:
        interpreter.set_tensor(place, x)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    def prepare(x: Any) -> Any:
        x = x.transpose(0, 2, 3, 1).copy()
        scale, zero = source["quantization"]
        return np.clip(np.round(x / scale + zero), -128, 127).astype(np.int8) if scale else x

    def finish(y: Any) -> Any:
        scale, zero = result["quantization"]
        return (y.astype(np.float32) - zero) * scale if scale else y

    return Loaded(run=run, prepare=prepare, finish=finish, note=f"{source['dtype'].__name__} in and out")

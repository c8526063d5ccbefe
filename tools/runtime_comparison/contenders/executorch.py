"""ExecuTorch lowered to XNNPACK; int8 by its XNNPACKQuantizer, per channel."""

from __future__ import annotations

from pathlib import Path

from runtime_comparison.loaded import Loaded

PACKAGES = ("torch==2.13.0", "executorch==1.5.1")
NOT: dict[str, str] = {}


def convert(folder: Path, precision: str) -> None:
    import numpy as np
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(folder / "net.pt2")
    x = torch.from_numpy(np.load(folder / "inputs.npy")[:1])
    if precision == "int8":
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(program.module(), quantizer)
        for image in np.load(folder / "calibration.npy"):
            prepared(torch.from_numpy(image[np.newaxis]))
        program = torch.export.export(convert_pt2e(prepared), (x,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "executorch" / f"{precision}.pte").write_bytes(lowered.buffer)


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import torch
    from executorch.extension.pybindings import portable_lib

    # it takes all cores unless told
    portable_lib._unsafe_reset_threadpool(threads)
    module = portable_lib._load_for_executorch(str(folder / "executorch" / f"{precision}.pte"))
    note = f"a pool of {portable_lib._threadpool_get_thread_count()}"
    return Loaded(run=lambda x: module.forward(x), prepare=lambda x: (torch.from_numpy(x.copy()),), finish=lambda y: y[0].numpy(), note=note)

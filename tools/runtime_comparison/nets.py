"""The networks of the comparison: fresh weights, batch norms that have seen some pictures, and artifacts as `edgecnn export` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Net:
    """architecture: a file of edgecnn/train/nets; size: of the square input."""

    architecture: str
    size: int
    classes: int
    options: Mapping[str, Any]


NETS = {
    "simplecnn": Net("simplecnn", 32, 10, {}),
    "resnet8": Net("resnet8", 32, 10, {}),
    "mobilenetv1": Net("mobilenetv1", 96, 10, {"width": 0.25}),
    "mobilenetv2": Net("mobilenetv2", 224, 1000, {}),
    "resnet18": Net("resnet18", 224, 1000, {}),
}
CALIBRATION, INPUTS = 48, 8


def build(name: str) -> nn.Module:
    import torch

    from edgecnn.train.nets import build_net

    wanted = NETS[name]
    torch.manual_seed(0)
    net = build_net(wanted.architecture, num_classes=wanted.classes, in_channels=3, input_size=(wanted.size, wanted.size), options=wanted.options)
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(torch.rand(8, 3, wanted.size, wanted.size))
    return net.eval()


def make(name: str, folder: Path) -> None:
    """FOLDER with float32 and int8 .edgecnn and .onnx, net.pt2, calibration.npy, inputs.npy and weights.pt; whole once `whole` is there."""
    import numpy as np
    import torch

    import edgecnn
    from edgecnn.artifact.bundle import open_bundle
    from edgecnn.artifact.spec import Preprocess, make_spec
    from edgecnn.build.images import batches
    from edgecnn.data.collection import open_collection

    if (folder / "whole").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    size, net = NETS[name].size, build(name)
    images = _pictures(folder / "images", size)
    pre = Preprocess(size=(size, size))
    spec = make_spec(name=name, labels=tuple(f"class{i}" for i in range(NETS[name].classes)), preprocess=pre)
    for precision in ("float32", "int8"):
        how: dict[str, Any] = {} if precision == "float32" else {"quantize": "int8", "calibration": images, "force": True}
        edgecnn.export(net, spec, output=folder / f"{precision}.edgecnn", **how)
        with open_bundle(folder / f"{precision}.edgecnn") as bundle:
            (folder / f"{precision}.onnx").write_bytes(bundle.read("model.onnx"))
    inputs = np.concatenate(list(batches(open_collection(images), pre)()))
    np.save(folder / "calibration.npy", inputs[:CALIBRATION])
    np.save(folder / "inputs.npy", inputs[-INPUTS:])
    torch.save(net.state_dict(), folder / "weights.pt")
    (folder / "net.txt").write_text(name)
    torch.export.save(torch.export.export(net, (torch.from_numpy(inputs[:1]),)), folder / "net.pt2")
    with torch.no_grad():
        np.save(folder / "answers.npy", net(torch.from_numpy(inputs[-INPUTS:])).numpy())
    (folder / "whole").touch()


def rebuilt(folder: Path) -> nn.Module:
    import torch

    net = build((folder / "net.txt").read_text())
    net.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return net.eval()


def _pictures(folder: Path, size: int) -> Path:
    """Noise at several scales, so that there are edges and areas."""
    import numpy as np
    from PIL import Image

    folder.mkdir(exist_ok=True)
    random = np.random.Generator(np.random.PCG64(0))
    for place in range(CALIBRATION + INPUTS):
        layers = [Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)).resize((size, size), 3) for cells in (3, 8, 24)]
        mixed = np.mean([np.asarray(layer, dtype=np.float32) for layer in layers], axis=0)
        Image.fromarray(((mixed - mixed.min()) / np.ptp(mixed) * 255).astype(np.uint8)).save(folder / f"{place:03}.png")
    return folder

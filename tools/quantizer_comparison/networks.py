"""The networks that quantizers are compared on, each with images to calibrate and others to judge by."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from model_making.published import crops, fetch, load_published
from model_making.trained import with_data
from torch import nn

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import ModelSpec, make_spec
from edgecnn.build.pipeline import export
from edgecnn.data.collection import Collection, open_collection
from edgecnn.errors import InputMissing
from edgecnn.train.checkpoint import load_checkpoint
from edgecnn.train.fetch import locate
from edgecnn.train.nets.efficientnet_lite0 import build as efficientnet_lite0
from edgecnn.train.nets.efficientnet_lite0 import convert_published
from edgecnn.train.nets.mobilenetv2 import MobileNetV2
from edgecnn.train.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
OWN = Path(__file__).resolve().parent / "nets"
MODELS = ROOT / "models"


@dataclass(frozen=True, kw_only=True)
class Network:
    """graph: the float32 ONNX graph that all quantizers start from; judged: images with labels, or without, where decisions are compared."""

    name: str
    spec: ModelSpec
    graph: bytes
    calibration: Collection
    judged: Collection


def trained(folder: Path, *, data: Path | None, calibration: Path | None = None, change: Callable[[nn.Module], None] = lambda _: None) -> Network:
    """A network of ours: a folder with recipe.toml and model.safetensors, judged on the recipe's test images."""
    checkpoint = folder / "model.safetensors"
    if not checkpoint.exists():
        raise InputMissing(f"{checkpoint} doesn't exist; `edgecnn train {folder / 'recipe.toml'}` makes it.")
    loaded = load_checkpoint(checkpoint)
    module = loaded.module().eval()
    change(module)
    recipe = with_data(load_recipe(folder / "recipe.toml"), data)
    assert recipe.data.test is not None
    judged = open_collection(locate(recipe.data.test, folder=folder), labels=loaded.spec.labels)
    return Network(
        name=folder.name,
        spec=loaded.spec,
        graph=_graph(module, loaded.spec),
        calibration=open_collection(calibration or folder / "calibration"),
        judged=judged,
    )


def rescaled(network: nn.Module, *, seed: int = 0, factor: float = 16.0) -> None:
    """Make a ReLU MobileNetV2's ranges hostile, in place: each channel between two convolutions of a block is multiplied by a factor,
    log-uniform from 1/`factor` to `factor`, and divided by it again behind the ReLU, so that the function stays the same."""
    assert isinstance(network, MobileNetV2)
    random = np.random.Generator(np.random.PCG64(seed))
    for block in (module for module in network.features if hasattr(module, "residual")):
        convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm, behind in zip(norms, convolutions[1:], strict=False):
            scale = torch.from_numpy(np.exp(random.uniform(-np.log(factor), np.log(factor), norm.num_features)).astype(np.float32))
            norm.weight.data *= scale
            norm.bias.data *= scale
            behind.weight.data /= scale.reshape(-1, 1, 1, 1) if behind.groups > 1 else scale.reshape(1, -1, 1, 1)


def published_efficientnet() -> Network:
    """EfficientNet-Lite0 with its published weights and 1000 classes, on crops of photos as in models/five."""
    recipe = load_published(MODELS / "five" / "recipe.toml")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        weights.write_bytes(fetch(recipe.weights))
        state = torch.load(weights, map_location="cpu", weights_only=True)
    module = efficientnet_lite0(num_classes=1000, in_channels=3, input_size=recipe.preprocess.input_size)
    module.load_state_dict(convert_published(state))
    spec = make_spec(name="efficientnet-lite0", labels=tuple(f"class {row}" for row in range(1000)), preprocess=recipe.preprocess)
    photos = recipe.photos
    return Network(
        name=spec.name,
        spec=spec,
        graph=_graph(module.eval(), spec),
        calibration=crops(photos.calibration, photos.calibration_crops, seed=photos.seed),
        judged=crops(photos.validation, photos.validation_crops, seed=photos.seed + 1),
    )


def _graph(module: nn.Module, spec: ModelSpec) -> bytes:
    """The graph of `edgecnn export --quantize none`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.edgecnn"
        # a rescaled network's answers are large sums of small parts: what counts here is that the graph decides alike
        export(module, spec, output=path, atol=1e-3, rtol=1e-3)
        with open_bundle(path) as bundle:
            return bundle.read("model.onnx")


NETWORKS: dict[str, Callable[[Path | None], Network]] = {
    "simplecnn-fashion": lambda data: trained(MODELS / "simplecnn-fashion", data=data),
    "resnet8-cifar10": lambda data: trained(MODELS / "resnet8-cifar10", data=data),
    "mobilenetv2": lambda data: trained(OWN / "mobilenetv2", data=data, calibration=MODELS / "resnet8-cifar10" / "calibration"),
    "mobilenetv1": lambda data: trained(OWN / "mobilenetv1", data=data, calibration=MODELS / "resnet8-cifar10" / "calibration"),
    "efficientnet-lite0": lambda data: published_efficientnet(),
    "mobilenetv2-relu": lambda data: trained(OWN / "mobilenetv2-relu", data=data, calibration=MODELS / "resnet8-cifar10" / "calibration"),
    "mobilenetv2-relu-rescaled": lambda data: trained(
        OWN / "mobilenetv2-relu", data=data, calibration=MODELS / "resnet8-cifar10" / "calibration", change=rescaled
    ),
}

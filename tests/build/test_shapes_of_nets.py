"""No honest network is refused for its sizes: before and after quantization, with a fixed and an open batch, as several exporters write it."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build.export import export_module
from edgecnn.build.quantize import names, quantize
from edgecnn.build.source import open_source
from edgecnn.train import nets
from tests.fixtures.modules import NETS, Net
from tests.fixtures.onnx_nets import residual
from tests.fixtures.real_shapes import check_shapes

ROOT = Path(__file__).parents[2]


def images(count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(3)).standard_normal((count, *shape), dtype=np.float32)


class Windows(nn.Module):
    """Attention within shifted windows, with a bias by relative position and merged patches, as Swin does."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qkv, self.merge, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48), nn.Linear(64, 24), nn.Linear(24, 5)
        self.bias = nn.Parameter(torch.randn(49, 2))
        self.register_buffer("places", torch.randint(0, 49, (16, 16)))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.roll(self.patches(x).permute(0, 2, 3, 1), (-2, -2), (1, 2))
        batch, height, width, channels = x.shape
        windows = x.view(batch, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
        q, k, v = self.qkv(windows).reshape(-1, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) + self.bias[self.places.view(-1)].view(16, 16, 2).permute(2, 0, 1)
        weights = scores.view(batch, -1, 2, 16, 16).softmax(-1).view(-1, 2, 16, 16)
        x = (weights @ v).transpose(1, 2).reshape(batch, height // 4, width // 4, 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(batch, height, width, channels), (2, 2), (1, 2))
        x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.head(self.merge(x).mean((1, 2)))


class Tokens(nn.Module):
    """A class token before the patches, unfolded neighbourhoods, a grid that is sampled, a position that is interpolated."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 16, 5, 5))
        self.attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x) + F.interpolate(self.position, size=(8, 8), mode="bicubic")
        x = F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2)
        grid = F.affine_grid(torch.eye(2, 3).expand(x.shape[0], 2, 3), [x.shape[0], 16, 6, 6], align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)
        return self.head(self.attention(x)[:, 0])


@pytest.mark.parametrize(("make", "opset"), [(Windows, 18), (Tokens, 20)], ids=["windows", "tokens"])
def test_attention(make: type[nn.Module], opset: int) -> None:
    source = open_source(Net(make, (3, 32, 32), 5).build(), input_size=(3, 32, 32), batch="dynamic")
    data, x = export_module(source, opset=opset), images(3, (3, 32, 32))
    check_shapes(data, x)
    if make is Windows:
        check_shapes(quantize("int8", data, lambda: iter([x])).model, x)


BROUGHT = ("feature pyramid", "channel shuffle", "attention", "transposed convolution", "layer norm and group norm")


def traced(module: nn.Module, shape: tuple[int, int, int], opset: int) -> bytes:
    """As torch's older exporter writes it, which computes every shape within the graph where the batch is open."""
    file = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}, "do_constant_folding": False}
        torch.onnx.export(module, (torch.zeros(2, *shape),), file, dynamo=False, opset_version=opset, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("name", BROUGHT)
def test_networks_that_people_bring_traced(name: str, opset: int) -> None:
    net = NETS[name]
    check_shapes(traced(net.build(), net.input_shape, opset), images(3, net.input_shape))


@pytest.mark.parametrize("name", nets.names())
def test_our_own_networks_traced(name: str) -> None:
    module = nets.build_net(name, num_classes=4, in_channels=3, input_size=(32, 32)).eval()
    check_shapes(traced(module, (3, 32, 32), 17), images(2, (3, 32, 32)))


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("name", names())
def test_every_quantizer(name: str, batch: int | str) -> None:
    x = images(3, (3, 16, 16))
    model = quantize(name, residual(batch=batch), lambda: iter([x])).model
    check_shapes(model, x[:1] if batch == 1 else x)


@pytest.mark.parametrize("path", sorted(ROOT.glob("models/*/*.edgecnn")), ids=lambda path: path.stem)
def test_shipped_models(path: Path) -> None:
    with open_bundle(path) as bundle:
        check_shapes(bundle.read("model.onnx"), images(1, bundle.manifest.spec.input.shape[1:]))  # type: ignore[arg-type]

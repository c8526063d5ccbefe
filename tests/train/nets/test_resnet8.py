"""ResNet-8 is MLPerf Tiny's: its parameters, counted as its Keras model counts them, and its shapes."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.train.nets import build_net


def test_counted_as_keras_counts_it_has_the_published_78666():
    net = build_net("resnet8", num_classes=10, in_channels=3, input_size=(32, 32))
    trainable = sum(p.numel() for p in net.parameters())
    norms = [m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    biases_left_out = sum(norms)
    running = 2 * sum(norms)
    assert trainable == 77_946
    assert trainable + biases_left_out + running == 78_666


def test_stacks_have_16_32_and_64_channels_and_halve_twice():
    net = build_net("resnet8", num_classes=10, in_channels=3, input_size=(32, 32)).eval()
    seen = []
    for stack in net.stacks:
        stack.register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape[1:])))
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    assert seen == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert [type(stack.shortcut).__name__ for stack in net.stacks] == ["Identity", "Conv2d", "Conv2d"]


def test_the_shortcut_carries_what_the_convolutions_drop():
    """With the convolutions of a stack silenced, what comes out is its input."""
    net = build_net("resnet8", num_classes=10, in_channels=3, input_size=(32, 32)).eval()
    stack = net.stacks[0]
    nn.init.zeros_(stack.conv2.weight)
    x = torch.rand(1, 16, 8, 8)
    with torch.no_grad():
        assert torch.equal(stack(x), x)

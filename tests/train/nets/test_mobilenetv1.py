"""MobileNetV1: depthwise and pointwise in turn, and a width that scales every layer."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.train.nets import build_net


def test_a_quarter_of_the_width_is_the_person_detector_of_mlperf_tiny():
    net = build_net("mobilenetv1", num_classes=2, in_channels=3, input_size=(96, 96), options={"width": 0.25})
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convs[0].out_channels == 8
    assert convs[-1].out_channels == 256
    normed = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    biases_left_out, running = normed, 2 * normed  # its Keras summary counts both
    assert sum(p.numel() for p in net.parameters()) + biases_left_out + running == 221_794


def test_depthwise_convolutions_see_one_channel_each():
    net = build_net("mobilenetv1", num_classes=2, in_channels=3, input_size=(32, 32))
    wide = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][1:]
    assert len(wide) == 13
    assert all(m.groups == m.in_channels == m.out_channels for m in wide)


def test_the_image_is_halved_five_times():
    net = build_net("mobilenetv1", num_classes=2, in_channels=1, input_size=(64, 64), options={"width": 0.25}).eval()
    with torch.no_grad():
        assert net.features(torch.zeros(1, 1, 64, 64)).shape == (1, 256, 2, 2)

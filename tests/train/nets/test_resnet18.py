"""ResNet-18: torchvision's names, the published stem by default, a small one for small images."""

from __future__ import annotations

import torch

from edgecnn.train.nets import build_net


def test_the_weights_are_named_as_in_torchvision():
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in build_net("resnet18", num_classes=1000, in_channels=3, input_size=(224, 224)).state_dict().items()}
    assert len(shapes) == 122
    for key, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.weight": (128,),
        "layer4.1.bn2.bias": (512,),
        "fc.weight": (1000, 512),
    }.items():
        assert shapes[key] == shape


def test_the_last_stage_of_a_224_image_is_7_by_7():
    net = build_net("resnet18", num_classes=2, in_channels=3, input_size=(224, 224), options={"width": 8}).eval()
    seen = []
    net.layer4.register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape[1:])))
    with torch.no_grad():
        net(torch.zeros(1, 3, 224, 224))
    assert seen == [(64, 7, 7)]


def test_small_images_get_a_3x3_stem_and_no_max_pooling():
    net = build_net("resnet18", num_classes=10, in_channels=3, input_size=(32, 32), options={"small_images": True})
    assert net.conv1.kernel_size == (3, 3)
    assert sum(p.numel() for p in net.parameters()) == 11_173_962  # the common CIFAR-10 variant

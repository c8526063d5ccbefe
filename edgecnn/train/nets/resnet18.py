"""ResNet-18 (He et al., arXiv 1512.03385): eight residual blocks of two 3x3 convolutions, after its table 1.

Modules are named as in torchvision, whose published weights `load_state_dict` takes as they are.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.train.nets._layers import check_positive, initialise


class BasicBlock(nn.Module):
    """(n, cin, h, w) -> (n, cout, ceil(h/stride), ceil(w/stride)), with a shortcut that is projected by 1x1 where the shapes differ."""

    def __init__(self, cin: int, cout: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride=stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


def _stage(cin: int, cout: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(cin, cout, stride=stride), BasicBlock(cout, cout, stride=1))


class ResNet18(nn.Module):
    def __init__(self, *, num_classes: int, in_channels: int, width: int, small_images: bool) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_images else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise(self, head=self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def build(*, num_classes: int, in_channels: int, input_size: tuple[int, int], width: int = 64, small_images: bool = False) -> nn.Module:
    """ResNet-18 for images of any size. With 1000 classes: 11,689,512 trainable parameters.

    width: channels of the first stage; the others have twice, four and eight times as many;
    small_images: for about 32 x 32; a 3x3 stem with stride 1 and no max pooling in place of the 7x7 one with both,
    so 4 x 4 positions are left at the end, not 1.
    """
    check_positive("resnet18", width=width)
    return ResNet18(num_classes=num_classes, in_channels=in_channels, width=width, small_images=small_images)

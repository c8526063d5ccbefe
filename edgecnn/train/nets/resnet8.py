"""ResNet-8 of MLPerf Tiny (image classification, 32 x 32): a stem and three residual stacks of 16, 32 and 64 channels.

After https://github.com/mlcommons/tiny, benchmark/training/image_classification/keras_model.py (`resnet_v1_eembc`).
Two differences that change nothing it can learn: convolutions before a batch norm have no bias (the batch norm takes it
away again), and stride-2 padding is symmetric.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgecnn.train.nets._layers import check_positive, initialise


class Stack(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: (n, cin, h, w) -> (n, cout, ceil(h/stride), ceil(w/stride))."""

    def __init__(self, cin: int, cout: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity() if stride == 1 and cin == cout else nn.Conv2d(cin, cout, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class ResNet8(nn.Module):
    def __init__(self, *, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stacks = nn.Sequential(
            Stack(width, width, stride=1),
            Stack(width, 2 * width, stride=2),
            Stack(2 * width, 4 * width, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, num_classes)
        initialise(self, head=self.head)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x)))
        x = self.pool(self.stacks(x))
        logits: Tensor = self.head(x.flatten(1))
        return logits


def build(*, num_classes: int, in_channels: int, input_size: tuple[int, int], width: int = 16) -> nn.Module:
    """ResNet-8 for images of any size.

    width: channels of the stem and the first stack; the others have twice and four times as many. MLPerf Tiny's is 16:
    with 10 classes 77,946 trainable parameters; the 78,666 of its Keras summary also count 240 biases before
    batch norms and 480 running statistics.
    """
    check_positive("resnet8", width=width)
    return ResNet8(num_classes=num_classes, in_channels=in_channels, width=width)

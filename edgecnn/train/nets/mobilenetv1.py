"""MobileNetV1 (Howard et al., arXiv 1704.04861): depthwise 3x3 and pointwise 1x1 convolutions in turn, after its table 1."""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.train.nets._layers import check_dropout, check_positive, conv_bn, initialise, make_divisible

# (output channels at width 1, stride) of the 13 depthwise separable blocks
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    def __init__(self, *, num_classes: int, in_channels: int, width: float, small_images: bool, dropout: float) -> None:
        super().__init__()
        depth = make_divisible(32 * width)
        layers: list[nn.Module] = [conv_bn(in_channels, depth, stride=1 if small_images else 2)]
        for index, (channels, stride) in enumerate(_BLOCKS):
            cout = make_divisible(channels * width)
            step = 1 if small_images and index == 1 else stride
            layers += [conv_bn(depth, depth, stride=step, groups=depth), conv_bn(depth, cout, 1)]
            depth = cout
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(depth, num_classes)
        initialise(self, head=self.head)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x)).flatten(1)
        logits: Tensor = self.head(self.dropout(x))
        return logits


def build(
    *, num_classes: int, in_channels: int, input_size: tuple[int, int], width: float = 1.0, small_images: bool = False, dropout: float = 0.001
) -> nn.Module:
    """MobileNetV1 for images of any size. With 1000 classes and width 1: 4,231,976 trainable parameters.

    width: multiplies all channels, rounded to multiples of 8; MLPerf Tiny's person detector has 0.25;
    small_images: for about 32 x 32; neither the stem nor the first strided block shrinks them, so 4 x 4 positions are left at the end, not 1;
    dropout: the share of features switched off before the last layer in training.
    """
    check_positive("mobilenetv1", width=width)
    check_dropout("mobilenetv1", dropout)
    return MobileNetV1(num_classes=num_classes, in_channels=in_channels, width=width, small_images=small_images, dropout=dropout)

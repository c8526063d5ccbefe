"""MobileNetV2 (Sandler et al., arXiv 1801.04381): inverted residuals with linear bottlenecks, after its table 2.

Modules are named as in torchvision, whose published weights `load_state_dict` takes as they are.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.train.nets._layers import check_activation, check_dropout, check_positive, conv_bn, initialise, make_divisible

# expansion, output channels at width 1, repeats, stride of the first
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter depthwise by 3x3, narrow by 1x1 without an activation; a shortcut around it where the shapes agree."""

    def __init__(self, cin: int, cout: int, *, stride: int, expansion: int, activation: str) -> None:
        super().__init__()
        self.residual = stride == 1 and cin == cout
        wide = cin * expansion
        widen = [conv_bn(cin, wide, 1, activation=activation)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            conv_bn(wide, wide, stride=stride, groups=wide, activation=activation),
            nn.Conv2d(wide, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    def __init__(self, *, num_classes: int, in_channels: int, width: float, small_images: bool, dropout: float, activation: str) -> None:
        super().__init__()
        depth = make_divisible(32 * width)
        layers: list[nn.Module] = [conv_bn(in_channels, depth, stride=1 if small_images else 2, activation=activation)]
        for index, (expansion, channels, repeats, stride) in enumerate(_STAGES):
            cout = make_divisible(channels * width)
            for repeat in range(repeats):
                step = 1 if repeat or (small_images and index == 1) else stride
                layers.append(InvertedResidual(depth, cout, stride=step, expansion=expansion, activation=activation))
                depth = cout
        last = make_divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, conv_bn(depth, last, 1, activation=activation))
        self.pool = nn.AdaptiveAvgPool2d(1)
        head = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), head)
        initialise(self, head=head)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


def build(
    *,
    num_classes: int,
    in_channels: int,
    input_size: tuple[int, int],
    width: float = 1.0,
    small_images: bool = False,
    dropout: float = 0.2,
    activation: str = "relu6",
) -> nn.Module:
    """MobileNetV2 for images of any size. With 1000 classes and width 1: 3,504,872 trainable parameters.

    width: multiplies all channels, rounded to multiples of 8; the last 1280 only grow;
    small_images: for about 32 x 32; neither the stem nor the first strided stage shrinks them, so 4 x 4 positions are left at the end, not 1;
    dropout: the share of features switched off before the last layer in training;
    activation: relu6, or relu, which leaves ranges open.
    """
    check_positive("mobilenetv2", width=width)
    check_dropout("mobilenetv2", dropout)
    check_activation("mobilenetv2", activation)
    return MobileNetV2(
        num_classes=num_classes, in_channels=in_channels, width=width, small_images=small_images, dropout=dropout, activation=activation
    )

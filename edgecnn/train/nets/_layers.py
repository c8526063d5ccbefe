"""What the networks share: how weights start, the convolution with batch norm behind it, widths that hardware likes."""

from __future__ import annotations

from torch import nn

from edgecnn.errors import UsageError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def conv_bn(cin: int, cout: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, activation: str = "relu6") -> nn.Sequential:
    """Convolution, batch norm, ReLU6 or ReLU: (n, cin, h, w) -> (n, cout, ceil(h/stride), ceil(w/stride)) for odd kernels."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        ACTIVATIONS[activation](inplace=True),
    )


def make_divisible(channels: float, *, divisor: int = 8) -> int:
    """`channels` rounded to a multiple of `divisor`, never more than a tenth below.

    After https://github.com/tensorflow/models, research/slim/nets/mobilenet/mobilenet.py (`_make_divisible`).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def check_positive(net: str, **options: float) -> None:
    """Raises UsageError for an option that isn't above zero."""
    for name, value in options.items():
        if not value > 0:
            raise UsageError(f"{net}'s option {name} is {value}; a number above zero was wanted.")


def check_dropout(net: str, dropout: float) -> None:
    """Raises UsageError unless 0 <= dropout < 1."""
    if not 0 <= dropout < 1:
        raise UsageError(f"{net}'s option dropout is {dropout}; a share from 0 to below 1 was wanted.")


def check_activation(net: str, activation: str) -> None:
    """Raises UsageError for an activation that isn't one of ACTIVATIONS."""
    if activation not in ACTIVATIONS:
        raise UsageError(f"{net}'s option activation is {activation!r}; {' or '.join(ACTIVATIONS)} was wanted.")


def initialise(net: nn.Module, *, head: nn.Linear) -> None:
    """He's initialisation (arXiv 1502.01852), in place: convolutions by fan-out, linear layers by fan-in, biases zero.

    head: the last layer, no ReLU behind it: starts small, so that the first answers are nearly uniform.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.groups > 1:  # fan-out counts all output channels, but each input reaches only its group's
                module.weight.data.mul_(module.groups**0.5)
        elif isinstance(module, nn.Linear) and module is not head:
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.normal_(head.weight, std=0.01)

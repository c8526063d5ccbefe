"""What the networks share: how weights start, and the convolution with batch norm behind it."""

from __future__ import annotations

from torch import nn


def initialise(net: nn.Module, *, head: nn.Linear) -> None:
    """He's initialisation (arXiv 1502.01852), in place: convolutions by fan-out, linear layers by fan-in, biases zero.

    head: the last layer, no ReLU behind it: starts small, so that the first answers are nearly uniform.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module is not head:
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.normal_(head.weight, std=0.01)

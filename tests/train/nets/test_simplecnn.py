"""The textbook network: its docstring's table is true, and images too small for it are refused."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgecnn.errors import UsageError
from edgecnn.train.nets import build_net, simplecnn


def traced(net: nn.Module, x: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """(kind, output shape of one image) of each layer, in the order in which they ran."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, _, y: seen.append((type(m).__name__, tuple(y.shape[1:]))))
    with torch.no_grad():
        net(x)
    return seen


def test_the_table_in_the_docstring_is_what_happens():
    net = build_net("simplecnn", num_classes=10, in_channels=1, input_size=(28, 28)).eval()
    kinds = {"convolution": "Conv2d", "ReLU": "ReLU", "max": "MaxPool2d", "linear": "Linear"}
    rows = re.findall(r"^    (convolution|ReLU|max|linear)[^\n]*?  +(\d+(?: x +\d+)*)(?:  +\S.*= *([\d,]+))?$", simplecnn.__doc__, re.MULTILINE)
    written = [(kinds[kind], tuple(int(n) for n in shape.split("x"))) for kind, shape, _ in rows]
    ran = [entry for entry in traced(net, torch.zeros(1, 1, 28, 28)) if entry[0] != "Dropout"]
    assert written == ran
    counts = [int(count.replace(",", "")) for _, _, count in rows if count]
    modules = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert counts == [sum(p.numel() for p in m.parameters()) for m in modules]
    total = int(re.search(r"total = ([\d,]+)", simplecnn.__doc__).group(1).replace(",", ""))
    assert total == sum(p.numel() for p in net.parameters()) == sum(counts)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), blocks=st.integers(1, 4), convs=st.integers(1, 3))
def test_it_is_built_exactly_where_an_image_survives(height, width, blocks, convs):
    options = {"channels": [2] * blocks, "convs_per_block": convs, "hidden": []}
    layers: list[nn.Module] = []
    for block in range(blocks):
        layers += [nn.Conv2d(1 if block == 0 and i == 0 else 2, 2, 3) for i in range(convs)] + [nn.MaxPool2d(2)]
    x = torch.zeros(1, 1, height, width)
    try:
        survives = nn.Sequential(*layers)(x).numel() > 0
    except RuntimeError:
        survives = False
    if not survives:
        with pytest.raises(UsageError, match=f"{height} x {width} images are too small"):
            build_net("simplecnn", num_classes=2, in_channels=1, input_size=(height, width), options=options)
        return
    net = build_net("simplecnn", num_classes=2, in_channels=1, input_size=(height, width), options=options)
    assert net(x).shape == (1, 2)


def test_the_refusal_names_the_block_and_what_it_needs():
    with pytest.raises(UsageError, match=r"block 3 gets 1 x 1 pixels and needs at least 4 x 4"):
        build_net("simplecnn", num_classes=2, in_channels=1, input_size=(10, 10), options={"channels": [4, 4, 4]})


@pytest.mark.parametrize(("option", "kind"), [({"batch_norm": True}, nn.BatchNorm2d), ({"dropout": 0.5}, nn.Dropout)])
def test_options_add_their_layers(option, kind):
    net = build_net("simplecnn", num_classes=2, in_channels=1, input_size=(28, 28), options=option)
    found = [m for m in net.modules() if isinstance(m, kind)]
    assert found
    assert all(m.p == 0.5 for m in found if isinstance(m, nn.Dropout))


def test_depth_and_widths_come_from_the_options():
    options = {"channels": [4, 8, 12], "convs_per_block": 2, "hidden": [20, 10]}
    net = build_net("simplecnn", num_classes=2, in_channels=3, input_size=(64, 64), options=options)
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == [4, 4, 8, 8, 12, 12]
    assert [m.out_features for m in net.modules() if isinstance(m, nn.Linear)] == [20, 10, 2]
    assert all(m.padding == (0, 0) for m in net.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("options", [{"channels": []}, {"channels": [0]}, {"convs_per_block": 0}, {"hidden": [0]}, {"dropout": 1.0}])
def test_numbers_that_make_no_network_are_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        build_net("simplecnn", num_classes=2, in_channels=1, input_size=(28, 28), options=options)

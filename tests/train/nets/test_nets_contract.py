"""What every network promises; a new file in edgecnn/train/nets is tested here the moment it exists."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import edgecnn.train.nets
from edgecnn.artifact.codec import encode
from edgecnn.errors import UsageError
from edgecnn.train.nets import build_net, names

GIVEN = ("num_classes", "in_channels", "input_size")


def images(batch: int, channels: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(7))


def build_of(name: str) -> Callable[..., torch.nn.Module]:
    return importlib.import_module(f"edgecnn.train.nets.{name}").build


def options_of(name: str) -> dict[str, inspect.Parameter]:
    return {key: parameter for key, parameter in inspect.signature(build_of(name)).parameters.items() if key not in GIVEN}


def test_names_are_the_files_and_need_no_torch():
    code = "import sys; from edgecnn.train.nets import names; assert 'torch' not in sys.modules; print(*names())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    files = sorted(path.stem for path in Path(edgecnn.train.nets.__path__[0]).glob("*.py") if not path.stem.startswith("_"))
    assert shown == files
    assert {"simplecnn", "resnet8", "mobilenetv1", "mobilenetv2", "resnet18", "efficientnet_lite0"} <= set(shown)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("channels", "size", "classes"), [(3, (32, 32), 10), (1, (28, 28), 10), (3, (41, 56), 3), (1, (96, 64), 1)])
def test_gives_one_finite_logit_a_class(name, channels, size, classes):
    torch.manual_seed(0)
    net = build_net(name, num_classes=classes, in_channels=channels, input_size=size).eval()
    with torch.no_grad():
        logits = net(images(2, channels, size))
        one = net(images(2, channels, size)[:1])
    assert logits.shape == (2, classes)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(one, logits[:1], rtol=1e-4, atol=1e-5)  # in eval mode, neighbours in the batch don't matter


@pytest.mark.parametrize("name", names())
def test_logits_may_have_either_sign(name):
    """Softmax and sigmoid belong to the spec; a network that applied one, or ended in a ReLU, would give no negative value."""
    torch.manual_seed(0)
    net = build_net(name, num_classes=40, in_channels=3, input_size=(32, 32))
    logits = net(images(4, 3, (32, 32)))
    assert (logits < 0).any()
    assert (logits > 0).any()


@pytest.mark.parametrize("name", names())
def test_learns_from_a_nearly_uniform_start(name):
    torch.manual_seed(0)
    net = build_net(name, num_classes=4, in_channels=3, input_size=(32, 32)).train()
    x, y = images(8, 3, (32, 32)), torch.arange(8) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        losses.append(loss.item())
        if len(losses) == 1:
            for key, parameter in net.named_parameters():
                assert parameter.grad is not None, key
                assert torch.isfinite(parameter.grad).all(), key
                assert parameter.grad.abs().max() > 0, key
        optimizer.step()
    assert abs(losses[0] - math.log(4)) < 0.7
    assert min(losses[-3:]) < losses[0] / 2


@pytest.mark.parametrize("name", names())
def test_is_exportable_with_a_free_batch(name):
    torch.manual_seed(0)
    net = build_net(name, num_classes=5, in_channels=3, input_size=(32, 32)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (images(2, 3, (32, 32)),), dynamic_shapes=({0: batch},))
    x = images(3, 3, (32, 32))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.parametrize("name", names())
def test_every_option_is_documented_typed_and_has_a_default(name):
    build = build_of(name)
    assert list(inspect.signature(build).parameters)[: len(GIVEN)] == list(GIVEN)
    for key, parameter in options_of(name).items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty, key
        assert parameter.annotation is not inspect.Parameter.empty, key
        assert re.search(rf"^\s*{key}: ", build.__doc__, re.MULTILINE), f"{key} isn't explained in build's docstring"


@pytest.mark.parametrize("name", names())
def test_options_may_come_from_json_and_rebuild_the_same_network(name):
    options = json.loads(json.dumps(encode({key: parameter.default for key, parameter in options_of(name).items()})))
    first = build_net(name, num_classes=3, in_channels=3, input_size=(32, 32))
    second = build_net(name, num_classes=3, in_channels=3, input_size=(32, 32), options=options)
    second.load_state_dict(first.state_dict())
    x = images(1, 3, (32, 32))
    with torch.no_grad():
        assert torch.equal(first.eval()(x), second.eval()(x))


@pytest.mark.parametrize("name", names())
def test_an_unknown_option_is_one_sentence(name):
    with pytest.raises(UsageError, match=f"{name} has no option colour"):
        build_net(name, num_classes=3, in_channels=3, input_size=(32, 32), options={"colour": 1})


@pytest.mark.parametrize("name", [name for name in names() if "small_images" in options_of(name)])
def test_small_images_keep_some_places_apart(name):
    """The published strides leave 1 x 1 of a 32 x 32 image; with small_images, at least 4 x 4 reach the pooling."""
    seen = {}
    for small in (False, True):
        net = build_net(name, num_classes=3, in_channels=3, input_size=(32, 32), options={"small_images": small}).eval()
        pool = next(module for module in net.modules() if isinstance(module, torch.nn.AdaptiveAvgPool2d))
        hook = pool.register_forward_pre_hook(lambda _, inputs, small=small: seen.__setitem__(small, tuple(inputs[0].shape[2:])))
        with torch.no_grad():
            net(images(1, 3, (32, 32)))
        hook.remove()
    assert seen == {False: (1, 1), True: (4, 4)}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("efficientnet_lite0", 4_652_008),  # the published weights
        ("mobilenetv1", 4_231_976),  # keras.applications, trainable
        ("mobilenetv2", 3_504_872),  # torchvision
        ("resnet18", 11_689_512),  # torchvision
    ],
)
def test_has_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        net = build_net(name, num_classes=1000, in_channels=3, input_size=(224, 224))
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_a_misspelt_network_is_guessed():
    with pytest.raises(UsageError, match="did you mean resnet18"):
        build_net("resnet-18", num_classes=3, in_channels=3, input_size=(32, 32))


def test_a_misspelt_option_is_guessed():
    with pytest.raises(UsageError, match="did you mean hidden"):
        build_net("simplecnn", num_classes=3, in_channels=3, input_size=(32, 32), options={"hiden": [3]})


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("simplecnn", {"channels": "16"}, "channels"),
        ("simplecnn", {"channels": [16, 2.5]}, "channels"),
        ("simplecnn", {"batch_norm": 1}, "batch_norm"),
        ("mobilenetv2", {"width": 0}, "width"),
        ("mobilenetv2", {"width": float("nan")}, "width"),
        ("mobilenetv1", {"dropout": 1.0}, "dropout"),
        ("resnet8", {"width": -16}, "width"),
        ("resnet18", {"small_images": "yes"}, "small_images"),
    ],
)
def test_a_value_that_does_not_fit_names_its_option(name, options, named):
    with pytest.raises(UsageError, match=named):
        build_net(name, num_classes=3, in_channels=3, input_size=(32, 32), options=options)


@pytest.mark.parametrize("given", [{"num_classes": 0}, {"in_channels": 0}, {"input_size": (0, 32)}])
def test_nothing_to_build_is_a_usage_error(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        build_net("resnet8", **({"num_classes": 3, "in_channels": 3, "input_size": (32, 32)} | given))

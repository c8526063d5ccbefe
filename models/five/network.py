"""EfficientNet-Lite0 with its 1000 ImageNet classes folded into the groups of recipe.toml.

    edgecnn export models/five/network.py:build --arg weights=efficientnet-lite0-57934424.pth ...

A group's logit is the log-sum-exp of its classes' logits. Softmax over the groups is then, exactly, the sum of the 1000-class softmax over
each group: exp(logsumexp(z_G)) / sum over all groups = sum of exp(z_i) over G / sum of exp(z_j) over all j.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.errors import CheckpointRejected, InputMissing, RecipeError
from edgecnn.train.nets.efficientnet_lite0 import build as efficientnet_lite0
from edgecnn.train.nets.efficientnet_lite0 import convert_published

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CLASSES = 1000
RECIPE = Path(__file__).with_name("recipe.toml")


def load_recipe() -> dict[str, Any]:
    return tomllib.loads(RECIPE.read_text(encoding="utf-8"))


def rows_of(groups: Mapping[str, str], labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The rows of each label: those that `groups` gives ("281-285", "404 895"), and for the one label that it leaves out all the others.

    Raises RecipeError for a row that stands twice or that the head hasn't, and unless exactly one label is left out.
    """
    found = {label: _rows(text) for label, text in groups.items()}
    used = [row for rows in found.values() for row in rows]
    rest = [label for label in labels if label not in found]
    if len(rest) != 1 or len(found) + 1 != len(labels):
        raise RecipeError(f"The groups are {', '.join(found)}; all labels but one were wanted: {', '.join(labels)}.")
    if len(set(used)) != len(used) or not set(used) <= set(range(CLASSES)):
        raise RecipeError(f"The groups name a row twice, or one that isn't among 0 to {CLASSES - 1}; correct them.")
    found[rest[0]] = tuple(sorted(set(range(CLASSES)) - set(used)))
    return tuple(found[label] for label in labels)


def _rows(text: str) -> tuple[int, ...]:
    rows: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        rows += range(int(first), int(last or first) + 1)
    return tuple(rows)


class Folded(nn.Module):
    """A classifier whose head's rows are put in the order of their groups, so that each group is one slice of its logits."""

    def __init__(self, network: nn.Module, groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.sizes = [len(rows) for rows in groups]
        head: Any = network.head
        order = torch.tensor([row for rows in groups for row in rows])
        with torch.no_grad():
            head.weight.copy_(head.weight[order])
            head.bias.copy_(head.bias[order])

    def forward(self, x: Tensor) -> Tensor:
        parts = self.network(x).split(self.sizes, dim=1)
        return torch.cat([part.logsumexp(dim=1, keepdim=True) for part in parts], dim=1)


def build(weights: str) -> nn.Module:
    """The network of recipe.toml, in eval mode. weights: the package's .pth file, whose sha256 must be the recipe's.

    Raises InputMissing, or CheckpointRejected for other bytes.
    """
    recipe = load_recipe()
    network = efficientnet_lite0(num_classes=CLASSES, in_channels=3, input_size=tuple(recipe["preprocess"]["crop_size"]))
    network.load_state_dict(convert_published(_read_weights(Path(weights), recipe["weights"])))
    return Folded(network, rows_of(recipe["groups"], recipe["labels"])).eval()


def _read_weights(path: Path, wanted: Mapping[str, str]) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give {wanted['file']} of the package {wanted['package']}.") from None
    if hashlib.sha256(data).hexdigest() != wanted["sha256"]:
        raise CheckpointRejected(f"{path} isn't the file that the recipe names; give {wanted['file']} of the package {wanted['package']}.")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state

"""Checkpoints: safetensors with a JSON header that says what the weights are. Nothing in them is code.

Two kinds share the format: `model.safetensors` holds what ships (the averaged weights where the recipe averages), `last.safetensors`
all that a killed run needs to go on: raw weights, averaged weights, the optimizer's momentum and the history.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from edgecnn.artifact.codec import CodecError, canonical_json, decode, strict_json
from edgecnn.artifact.files import read_whole, write_atomic
from edgecnn.artifact.records import EpochMetrics
from edgecnn.artifact.spec import ModelSpec
from edgecnn.errors import CheckpointRejected, InputMissing, UsageError
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig

FORMAT_VERSION = 1
MAX_BYTES = 8 << 30
"""Four times what an ONNX file can hold: a run that goes on keeps its weights three times."""
_KEY = "edgecnn"  # the only metadata key: safetensors writes several in random order, and equal runs shall give equal bytes
_WEIGHTS, _AVERAGE, _MOMENTUM = "weights.", "average.", "momentum."


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What the tensors are. data_sha256: of the training images, in order; threads: with which count on the CPU the run gives the same bits again."""

    format_version: int = FORMAT_VERSION
    spec: ModelSpec
    net: NetConfig
    epoch: int
    epochs: int
    steps_per_epoch: int
    threads: int
    recipe_sha256: str
    data_sha256: str | None = None
    seed: int
    license: str | None = None
    data_license: str | None = None
    history: tuple[EpochMetrics, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """weights: the state dict that ships. average, momentum: only in `last.safetensors`."""

    header: Header
    weights: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor] = field(default_factory=dict)
    momentum: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        return self.header.spec

    @property
    def net(self) -> NetConfig:
        return self.header.net

    def module(self) -> torch.nn.Module:
        """The net with these weights, in eval mode. Raises CheckpointRejected when they don't fit or aren't finite."""
        spec = self.spec
        build = partial(
            build_net,
            self.net.name,
            num_classes=len(spec.labels),
            in_channels=spec.preprocess.depth,
            input_size=spec.preprocess.input_size,
            options=self.net.options,
        )
        try:
            with torch.device("meta"):  # shapes alone: the header may describe a net of any size, and only one that these weights fill is made
                check_fits(build().state_dict(), self.weights, owner=self.net.name)
            net = build()
        except (UsageError, RuntimeError, OverflowError, TypeError) as error:  # torch raises the others for absurd sizes
            reason = str(error).splitlines()[0].rstrip(".")
            raise CheckpointRejected(f"The checkpoint's header describes a network that can't be made: {reason}.") from None
        load_weights(net, self.weights, owner=self.net.name)
        return net.eval()


def load_weights(net: torch.nn.Module, weights: Mapping[str, torch.Tensor], *, owner: str) -> None:
    """Load a state dict into `net`, all of it. Raises CheckpointRejected naming the first tensor that is missing, extra, misshapen or not finite."""
    check_fits(net.state_dict(), weights, owner=owner)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointRejected(f"{name} holds NaN or infinite weights; the training diverged, lower the learning rate and train again.")
    net.load_state_dict(dict(weights))


def check_fits(wanted: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], *, owner: str) -> None:
    """Whether `weights` are a state dict like `wanted`, by names and shapes. Raises CheckpointRejected."""
    for name in wanted:
        if name not in weights:
            raise CheckpointRejected(f"The checkpoint has no {name}, which {owner} needs: these are another net's weights.")
        if wanted[name].shape != weights[name].shape:
            found, want = list(weights[name].shape), list(wanted[name].shape)
            raise CheckpointRejected(f"{name} has shape {found} in the checkpoint, {owner} needs {want}: these are another net's weights.")
    for name in weights:
        if name not in wanted:
            raise CheckpointRejected(f"The checkpoint has {name}, which {owner} doesn't know: these are another net's weights.")


def save_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write atomically. Raises OutputNotWritable; what stood there stays."""
    tensors = {
        prefix + name: tensor.detach().cpu().contiguous()
        for prefix, group in ((_WEIGHTS, checkpoint.weights), (_AVERAGE, checkpoint.average), (_MOMENTUM, checkpoint.momentum))
        for name, tensor in group.items()
    }
    write_atomic(path, save_tensors(tensors, metadata={_KEY: canonical_json(checkpoint.header).decode()}))


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint of ours. Raises InputMissing, or CheckpointRejected for a pickle, foreign safetensors or a damaged file."""
    path = Path(path)
    try:
        data = read_whole(path, MAX_BYTES)
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give the checkpoint of a training run.") from None
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        raise CheckpointRejected(
            f"{path} is a pickle, which can run code; a safetensors checkpoint was wanted. "
            "For plain weights give their network: `edgecnn export file.py:callable --weights FILE`."
        )
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise CheckpointRejected(f"{path} is no whole safetensors file ({error}).") from None
    header = _header(path, data)
    groups: dict[str, dict[str, torch.Tensor]] = {_WEIGHTS: {}, _AVERAGE: {}, _MOMENTUM: {}}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in groups if name.startswith(prefix)), None)
        if prefix is None:
            raise CheckpointRejected(f"{path} holds a tensor {name}, which no checkpoint of edgecnn has.")
        groups[prefix][name.removeprefix(prefix)] = tensor
    return Checkpoint(header=header, weights=groups[_WEIGHTS], average=groups[_AVERAGE], momentum=groups[_MOMENTUM])


def _header(path: Path, data: bytes) -> Header:
    (length,) = struct.unpack("<Q", data[:8])
    text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(_KEY)
    if text is None:
        raise CheckpointRejected(
            f"{path} is safetensors without edgecnn's header; give the network that it belongs to: `edgecnn export file.py:callable --weights FILE`."
        )
    try:
        header = decode(Header, strict_json(text.encode()), where="header")
    except CodecError as error:
        raise CheckpointRejected(f"{path} has a header that can't be read ({error}).") from None
    if header.format_version > FORMAT_VERSION:
        raise CheckpointRejected(f"{path} has format {header.format_version}, this edgecnn reads {FORMAT_VERSION}; upgrade edgecnn.")
    return header

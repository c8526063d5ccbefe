"""The training loop: SGD on a recipe's images, a checkpoint every epoch, and a resumed run that ends in the same bits as one never killed.

That holds because nothing random survives an epoch: order and augmentation follow from (seed, epoch, step), dropout from (seed, epoch, rank).
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from edgecnn import errors
from edgecnn.artifact.codec import encode
from edgecnn.artifact.files import write_atomic
from edgecnn.artifact.records import EpochMetrics
from edgecnn.artifact.spec import ModelSpec
from edgecnn.device.image import normalize
from edgecnn.errors import CheckFailed, MissingHere
from edgecnn.train.checkpoint import Checkpoint, Header, load_checkpoint, load_weights, save_checkpoint
from edgecnn.train.images import Images, training_batches
from edgecnn.train.nets import build_net
from edgecnn.train.processes import ended_together, stopped_once
from edgecnn.train.recipe import Recipe

T = TypeVar("T")


class Reporter(Protocol):
    """Who shows how the training goes; called in the first process only."""

    def start(self, *, epochs: int, steps: int, first_epoch: int) -> None: ...
    def step(self, *, loss: float, accuracy: float) -> None: ...
    def epoch(self, metrics: EpochMetrics) -> None: ...
    def note(self, message: str) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a process needs to train: values only, so that it can be sent to another process."""

    recipe: Recipe
    spec: ModelSpec
    training: Images
    validation: Images
    folder: Path
    threads: int
    devices: int
    resume: bool
    reporter: Callable[[], Reporter]


def fit(job: Job) -> None:
    """Train and leave `last.safetensors`, `model.safetensors` and `metrics.jsonl` in the job's folder.

    Raises CheckFailed when the loss stops being finite, MissingHere when the system ends one of several processes.
    """
    _quiet()
    precision = "bf16-mixed" if job.recipe.numerics.precision == "bfloat16" else "32-true"
    if job.devices == 1:
        fabric = Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
        fabric.launch()
        _train(fabric, job)
    else:
        fabric = Fabric(accelerator="auto", devices=job.devices, strategy="ddp_spawn", precision=precision)  # type: ignore[arg-type]
        try:
            with ended_together():
                # not as an argument: launch() takes arguments apart and refuses frozen dataclasses
                fabric.launch(functools.partial(_train_with_others, job=job))
        except ProcessRaisedException as error:
            raise own_error(error) from None
        except ProcessExitedException as error:
            how = error.signal_name or f"exit code {error.exit_code}"
            raise MissingHere(
                f"Training process {error.error_index} was ended by {how}, as happens when memory runs out; "
                "free some or give fewer --devices, and go on with --resume."
            ) from None


def _quiet() -> None:
    """Lightning's and torch's remarks about their processes are not about the user's run."""
    for name in ("lightning_fabric", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning_fabric")


def own_error(error: Exception) -> Exception:
    """The error of ours that ended another process, which hands over its traceback as text."""
    found = re.fullmatch(r"edgecnn\.errors\.(\w+): (.*)", str(error).rstrip().rsplit("\n", 1)[-1])
    kind = getattr(errors, found[1], None) if found else None
    return kind(found[2]) if found and kind else error


@dataclass(slots=True)
class _State:
    """What changes while training. net: ready for this fabric; plain: the same weights under their own names."""

    net: Any
    plain: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    step: int
    history: tuple[EpochMetrics, ...]


def _train_with_others(fabric: Fabric, job: Job) -> None:
    with stopped_once():
        _train(fabric, job)


def _train(fabric: Fabric, job: Job) -> None:
    _quiet()
    torch.set_num_threads(max(1, job.threads // job.devices))
    first = fabric.global_rank == 0
    reporter = job.reporter() if first else None
    recipe = job.recipe
    try:
        state = _prepare(fabric, job, reporter)
        steps = len(job.training) // recipe.schedule.batch_size
        if reporter:
            reporter.start(epochs=recipe.schedule.epochs, steps=steps, first_epoch=len(state.history))
        for epoch in range(len(state.history), recipe.schedule.epochs):
            metrics = _epoch(fabric, job, state, epoch, steps, reporter)
            last = epoch + 1 == recipe.schedule.epochs
            if first:
                if last or (epoch + 1) % recipe.schedule.validate_every == 0:
                    metrics = _validate(fabric, job, state, metrics)
                state.history = (*state.history, metrics)
                _save(job, state)
                if reporter:
                    reporter.epoch(metrics)
            else:
                state.history = (*state.history, metrics)
            fabric.barrier()
        if first:
            _save_shipped(job, state)
    finally:
        if reporter:
            reporter.close()


def _prepare(fabric: Fabric, job: Job, reporter: Reporter | None) -> _State:
    recipe, spec = job.recipe, job.spec
    torch.manual_seed(recipe.numerics.seed)
    plain = build_net(
        recipe.net.name,
        num_classes=len(spec.labels),
        in_channels=spec.preprocess.depth,
        input_size=spec.preprocess.input_size,
        options=recipe.net.options,
    )
    if recipe.numerics.channels_last:
        plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if job.devices > 1:
        plain = synchronise_batch_norm(fabric, plain, reporter)
    o = recipe.optimizer
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": o.weight_decay}, {"params": others, "weight_decay": 0.0}]
    sgd = torch.optim.SGD([group for group in groups if group["params"]], lr=o.learning_rate, momentum=o.momentum, nesterov=o.nesterov)
    saved = load_checkpoint(job.folder / "last.safetensors") if job.resume else None
    if saved:
        load_weights(plain, saved.weights, owner=recipe.net.name)
    net, optimizer = fabric.setup(plain, sgd)
    average = {name: t.detach().clone() for name, t in plain.state_dict().items()} if recipe.numerics.weight_averaging else {}
    state = _State(net=net, plain=plain, optimizer=optimizer, average=average, step=0, history=())
    if saved:
        _restore(state, saved, sgd)
    return state


def _restore(state: _State, saved: Checkpoint, sgd: torch.optim.SGD) -> None:
    state.average = {name: saved.average[name].to(t.device) for name, t in state.average.items()}
    for name, parameter in state.plain.named_parameters():
        if name in saved.momentum:
            sgd.state[parameter]["momentum_buffer"] = saved.momentum[name].to(parameter.device).clone(memory_format=torch.preserve_format)
    state.history = saved.header.history
    state.step = saved.header.epoch * saved.header.steps_per_epoch


def synchronise_batch_norm(fabric: Fabric, net: torch.nn.Module, reporter: Reporter | None) -> torch.nn.Module:
    if not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in net.modules()):
        return net
    if fabric.device.type == "cuda":
        synchronised: torch.nn.Module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return synchronised
    if reporter:
        reporter.note("This backend (gloo) has no synchronised batch norm: each process normalises with its own part of the batch.")
    return net


def _epoch(fabric: Fabric, job: Job, state: _State, epoch: int, steps: int, reporter: Reporter | None) -> EpochMetrics:
    recipe = job.recipe
    torch.manual_seed(int(np.random.SeedSequence([recipe.numerics.seed, epoch, fabric.global_rank]).generate_state(1)[0]))
    state.net.train()
    batches = training_batches(
        job.training,
        job.spec.preprocess,
        recipe.augment,
        batch_size=recipe.schedule.batch_size,
        seed=recipe.numerics.seed,
        epoch=epoch,
        rank=fabric.global_rank,
        processes=fabric.world_size,
    )
    losses, hits, rate = 0.0, 0.0, 0.0
    for done, (inputs, targets) in enumerate(ahead(batches), start=1):
        rate = recipe.optimizer.learning_rate * recipe.schedule.factor(state.step, steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        x = torch.from_numpy(inputs).to(fabric.device)
        if recipe.numerics.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        y = torch.from_numpy(np.asarray(targets)).to(fabric.device)
        logits = state.net(x).float()
        loss = loss_of(logits, y, smoothing=recipe.numerics.label_smoothing)
        state.optimizer.zero_grad()
        fabric.backward(loss)
        state.optimizer.step()
        state.step += 1
        _average(state, recipe.numerics.weight_averaging)
        shared = fabric.all_reduce(torch.stack([loss.detach(), hits_of(logits.detach(), y, job.spec)]), reduce_op="mean")
        value, hit = (float(v) for v in shared)
        if not math.isfinite(value):
            raise CheckFailed(f"The loss became {value} in epoch {epoch + 1}; lower learning_rate or lengthen warmup_epochs, then train again.")
        losses, hits = losses + value, hits + hit
        if reporter:
            reporter.step(loss=losses / done, accuracy=hits / done)
    return EpochMetrics(epoch=epoch + 1, loss=losses / steps, accuracy=hits / steps, learning_rate=rate)


def loss_of(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy for label indices; mean binary cross-entropy for rows of 0 and 1, where labels don't compete."""
    if targets.dtype == torch.int64:
        return torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    smooth = targets * (1 - smoothing) + 0.5 * smoothing
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, smooth)


def hits_of(logits: torch.Tensor, targets: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Share of images whose decision is right: the top label, or for multi-label the whole set over the thresholds."""
    if targets.dtype == torch.int64:
        return (logits.argmax(dim=1) == targets).float().mean()
    thresholds = torch.tensor(spec.postprocess.thresholds, device=logits.device)
    return ((torch.sigmoid(logits) >= thresholds) == (targets > 0.5)).all(dim=1).float().mean()


@torch.no_grad()
def _average(state: _State, decay: float) -> None:
    """Exponential moving average of weights and statistics; short memory at first, so that the random start fades."""
    if not decay:
        return
    weight = 1 - min(decay, (1 + state.step) / (10 + state.step))
    for name, tensor in state.plain.state_dict().items():
        if tensor.is_floating_point():
            state.average[name].lerp_(tensor, weight)
        else:
            state.average[name].copy_(tensor)


def shipped_weights(state: _State) -> dict[str, torch.Tensor]:
    return state.average or dict(state.plain.state_dict())


def _validate(fabric: Fabric, job: Job, state: _State, metrics: EpochMetrics) -> EpochMetrics:
    net = build_net(
        job.recipe.net.name,
        num_classes=len(job.spec.labels),
        in_channels=job.spec.preprocess.depth,
        input_size=job.spec.preprocess.input_size,
        options=job.recipe.net.options,
    )
    net.load_state_dict(shipped_weights(state))
    loss, accuracy = evaluate(net.to(fabric.device).eval(), job.validation, job.spec)
    return replace(metrics, validation_loss=loss, validation_accuracy=accuracy)


@torch.no_grad()
def evaluate(net: torch.nn.Module, images: Images, spec: ModelSpec, *, batch: int = 256) -> tuple[float, float]:
    """(mean loss, accuracy from 0 to 1) in float32, as the exported network will compute it."""
    device = next(net.parameters()).device
    loss, hits, pixels = 0.0, 0, images.pixels()
    for start in range(0, len(images), batch):
        x = torch.from_numpy(normalize(pixels[start : start + batch], spec.preprocess)).to(device)
        y = torch.from_numpy(np.asarray(images.targets[start : start + batch])).to(device)
        logits = net(x)
        loss += float(loss_of(logits, y)) * len(y)
        hits += round(float(hits_of(logits, y, spec)) * len(y))
    return loss / len(images), hits / len(images)


def _save(job: Job, state: _State) -> None:
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in state.plain.named_parameters()}
    momentum = {
        names[parameter]: values["momentum_buffer"]
        for parameter, values in state.optimizer.state.items()
        if parameter in names and values.get("momentum_buffer") is not None
    }
    header = _header(job, state)
    weights = dict(state.plain.state_dict())
    save_checkpoint(job.folder / "last.safetensors", Checkpoint(header=header, weights=weights, average=state.average, momentum=momentum))
    lines = (json.dumps(encode(metrics)) for metrics in state.history)
    write_atomic(job.folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines).encode())


def _save_shipped(job: Job, state: _State) -> None:
    save_checkpoint(job.folder / "model.safetensors", Checkpoint(header=_header(job, state), weights=shipped_weights(state)))


def _header(job: Job, state: _State) -> Header:
    recipe = job.recipe
    return Header(
        spec=job.spec,
        net=recipe.net,
        epoch=len(state.history),
        epochs=recipe.schedule.epochs,
        steps_per_epoch=len(job.training) // recipe.schedule.batch_size,
        threads=job.threads,
        recipe_sha256=recipe.sha256,
        data_sha256=job.training.sha256,
        seed=recipe.numerics.seed,
        license=recipe.license,
        data_license=recipe.data.license,
        history=state.history,
    )


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while the current one is used."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item

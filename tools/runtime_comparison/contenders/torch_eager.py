"""PyTorch itself, eager, channels last, in inference mode."""

from __future__ import annotations

from pathlib import Path

from runtime_comparison.loaded import Loaded

PACKAGES: tuple[str, ...] = ()
NOT = {"int8": "eager PyTorch has no int8 convolutions of its own"}


def convert(folder: Path, precision: str) -> None:
    """The network is there."""


def load(folder: Path, precision: str, threads: int) -> Loaded:
    import torch

    from runtime_comparison.nets import rebuilt

    torch.set_num_threads(threads)
    net = rebuilt(folder).to(memory_format=torch.channels_last)

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return net(x)  # type: ignore[no-any-return]

    prepare = lambda x: torch.from_numpy(x.copy()).to(memory_format=torch.channels_last)  # noqa: E731
    return Loaded(run=run, prepare=prepare, finish=lambda y: y.numpy())

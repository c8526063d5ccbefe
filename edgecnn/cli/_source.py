"""SOURCE, a network that somebody brings: the options that say how it is read, which several commands have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def pairs(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """The callback of an option that takes KEY=VALUE and may be repeated."""
    for value in values:
        if "=" not in value.removeprefix("="):
            raise click.BadParameter(f"{value!r} is no KEY=VALUE")
    return dict(value.split("=", 1) for value in values)


def source_options(function: F) -> F:
    """--weights, --arg, --output-index, --trust-source and --allow-pickle, as the parameters of `open_source` of these names (args for --arg)."""
    options = (
        click.option("--weights", type=PATH, metavar="FILE", help="Weights for module:callable or file.py:callable, e.g. net.safetensors."),
        click.option(
            "--arg",
            "args",
            metavar="KEY=VALUE",
            callback=pairs,
            multiple=True,
            help="An argument of the callable, e.g. --arg num_classes=10; may be repeated.",
        ),
        click.option("--output-index", type=int, metavar="N", help="Which output to take of several, counted from 0, e.g. 1."),
        click.option("--trust-source", is_flag=True, help="Read a .pt2, which can run any code in it, e.g. for one that you made yourself."),
        click.option("--allow-pickle", is_flag=True, help="Read --weights that are a pickle of plain tensors, e.g. an old net.pth."),
    )
    for option in reversed(options):
        function = option(function)
    return function

"""What a shell may complete beside options and their choices: files, and the names of the models in the store. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_ENDS = (".edgecnn", ".onnx")


def path(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Any file or folder: the shell knows them best."""
    return [CompletionItem(incomplete, type="file")]


def model(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names in the store that begin so, and the models' files here; where the store has none any file, wherever it lies."""
    names = installed(ctx, parameter, incomplete)
    if not names:
        return path(ctx, parameter, incomplete)
    with contextlib.suppress(OSError):
        names += [CompletionItem(name) for name in sorted(os.listdir()) if name.startswith(incomplete) and name.endswith(_ENDS)]
    return names


def installed(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the models in the store, that of --store where it was given before."""
    if os.sep in incomplete:
        return []
    from edgecnn.errors import EdgecnnError
    from edgecnn.store.places import default_store, models

    given = ctx.params.get("store")
    with contextlib.suppress(EdgecnnError, OSError):
        store = Path(given) if given is not None else default_store()
        return [CompletionItem(place.name) for place in models(store) if place.name.startswith(incomplete)]
    return []

"""--on HOST: a command is done on a device, over ssh, and what it says there comes back."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from edgecnn.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from edgecnn.remote.jobs import Job
    from edgecnn.remote.sending import File, Parcel

Role = Literal["model", "file", "input", "data", "there", "here"]
"""What a parameter's values are: a model's file, or its name in the device's store · a file that the command can't do without · an image, a folder of
images or standard input · a collection of images · a path of the device · what can be done on this machine alone."""

_ALWAYS: dict[str, Role] = {"store": "there", "key": "file"}
# beside a file of images lie the names of its classes, and of idx files the other half
_BESIDE_DATA = ("labels.txt", "batches.meta.txt", "fine_label_names.txt", "coarse_label_names.txt")


def on_option(**roles: Role) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--on, which may be repeated. It must stand above all other decorators that look at parameters. roles: by the names of parameters."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--on",
            metavar="HOST",
            multiple=True,
            help="Do it on this device over ssh: user@host[:port]. May be repeated, e.g. --on pi@cam1 --on pi@cam2.",
        )
        @functools.wraps(function)
        def sending(*arguments: Any, on: tuple[str, ...], **keywords: Any) -> Any:
            if not on:
                return function(*arguments, **keywords)
            ctx = click.get_current_context()
            return ctx.exit(_send(ctx, on, {**_ALWAYS, **roles}))

        sending.roles = {**_ALWAYS, **roles}  # type: ignore[attr-defined]
        return sending

    return decorate


def _send(ctx: click.Context, on: Sequence[str], roles: dict[str, Role]) -> int:
    """The exit code: the device's, of several the worst."""
    from edgecnn.artifact.files import temporary_folder
    from edgecnn.cli import _on_show
    from edgecnn.remote.hosts import parse

    hosts = [parse(text) for text in dict.fromkeys(on)]
    command = _command(ctx)
    show = _on_show.shown_as(command, hosts, as_json=bool(ctx.params.get("as_json")))
    with temporary_folder() as scratch:
        job = _job(ctx, roles, command, scratch, more=show.options)
        return show.run(job)


def _command(ctx: click.Context) -> tuple[str, ...]:
    """The words that name it: ("store", "install")."""
    words: list[str] = []
    at: click.Context | None = ctx
    while at is not None and at.parent is not None:
        words.insert(0, str(at.info_name))
        at = at.parent
    return tuple(words)


def _job(ctx: click.Context, roles: dict[str, Role], command: Sequence[str], scratch: Path, *, more: Sequence[str]) -> Job:
    """The same command line for the device, with this machine's files renamed to where they will lie there."""
    from edgecnn import __version__
    from edgecnn.remote.jobs import Job
    from edgecnn.remote.sending import Parcel

    parcel, fed = Parcel(), _Fed(scratch)
    options: list[str | tuple[str, str]] = [*command, *more]
    words: list[str | tuple[str, str]] = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name == "on" or ctx.get_parameter_source(name) not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            continue
        # a path of which nobody said whose it is would else be one that the device doesn't have
        role, value = roles.get(name, "here" if isinstance(parameter.type, click.Path) else None), ctx.params[name]
        if role == "here":
            raise UsageError(
                f"{parameter.opts[0]} can't go with --on, for it is done on one machine alone; do it there, or leave out one of the two."
            )
        several = parameter.multiple or parameter.nargs != 1
        for one in value if several else [",".join(map(str, value)) if isinstance(value, tuple) else value]:
            if isinstance(parameter, click.Argument):
                words.append(_placed(str(one), role, parcel, fed))
            else:
                options.append(_option(parameter, one, lambda text, role=role: _placed(text, role, parcel, fed), role))  # type: ignore[misc]
    return Job(arguments=(*options, "--", *words), files=tuple(parcel.files), folders=tuple(parcel.folders), stdin=fed.file, version=__version__)


def _option(parameter: click.Parameter, value: Any, placed: Callable[[str], str], role: Role | None) -> str | tuple[str, str]:
    """One word, so that no value can be taken for an option; or two parts where the second one is a path of the device."""
    flag = max(parameter.opts, key=len)
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return flag if value else parameter.secondary_opts[0]
    if role == "there":
        return f"{flag}=", str(value)
    return f"{flag}={placed(str(value))}"


class _Fed:
    """This machine's standard input, once it is asked for."""

    def __init__(self, scratch: Path) -> None:
        self.file: File | None = None
        self._scratch = scratch

    def take(self) -> None:
        from edgecnn.cli._inputs import MAX_ENCODED_BYTES
        from edgecnn.remote.sending import described

        if self.file is None:
            data = sys.stdin.buffer.read(MAX_ENCODED_BYTES + 1) if sys.stdin is not None else b""
            place = self._scratch / "stdin"
            place.write_bytes(data)
            self.file = described(place, ("stdin",))


def _placed(text: str, role: Role | None, parcel: Parcel, fed: _Fed) -> str:
    """What the command on the device is given instead of `text`; the files that it is about go into the parcel."""
    if role == "model":
        # a name is one of the device's store, as it would be if the command were given there
        path = os.sep in text or (os.altsep or os.sep) in text or text.endswith((".edgecnn", ".onnx"))
        return parcel.add(text, beside=[f"{Path(text).name}.sig"]) if path else text
    if role == "file":
        return parcel.add(text, beside=[f"{Path(text).name}.sig"])
    if role == "input":
        return _input(text, parcel, fed)
    return _data(text, parcel) if role == "data" else text


def _input(text: str, parcel: Parcel, fed: _Fed) -> str:
    """One that isn't here isn't there either, and is told like any other that can't be read."""
    if text == "-":
        fed.take()
        return text
    if os.path.isdir(text):
        from edgecnn.data._classes import is_image

        return parcel.add_folder(text, [name for name in _inside(text) if is_image(name)])
    return parcel.add(text) if os.path.exists(text) else parcel.missing(text)


def _data(text: str, parcel: Parcel) -> str:
    if os.path.isdir(text):
        return parcel.add_folder(text, _inside(text))
    path = Path(text)
    beside = [name for name in _BESIDE_DATA if (path.parent / name).is_file()]
    if text.lower().endswith(".csv") and path.is_file():
        from edgecnn.data import csv_labels

        # only what lies with it: a CSV from elsewhere shall not fetch other files of this machine
        beside += [name for name in csv_labels.named(path) if _is_inside(path.parent, name)]
    elif path.is_file():
        from edgecnn.data._classes import IDX_NAME

        beside += [name for name in os.listdir(path.parent) if IDX_NAME.search(name)] if IDX_NAME.search(path.name) else []
    return parcel.add(text, beside=beside)


def _is_inside(folder: Path, name: str) -> bool:
    place = Path(os.path.normpath(name))
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        return False
    return (folder / place).resolve().is_relative_to(folder.resolve())


def _inside(folder: str) -> Iterator[str]:
    """The files in a folder and below, hidden ones less, by their paths in it. Raises InputRefused for a folder that can't be looked into."""

    def refuse(error: OSError) -> None:
        raise InputRefused(f"{error.filename} can't be looked into ({error.strerror}); change its permissions.")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(parent, name), folder)

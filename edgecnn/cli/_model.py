"""FILE, the model that a command works with: an artifact's path, or its name in the store of this device."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _complete

if TYPE_CHECKING:
    from edgecnn.device.model import Model
    from edgecnn.store import Start

_STORE_HELP = "Folder of installed models, where NAME and NAME@VERSION are looked up.  [default: EDGECNN_STORE, or edgecnn/store in your data folder]"


def store_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--store DIR, as the parameter `store`: None for the default one."""
    return click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help=_STORE_HELP)(function)


def model_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """FILE, as the parameter `file`: the path of an artifact, or of the version's folder where it names one in the store."""

    @click.argument("file", shell_complete=_complete.model)
    @store_option
    @functools.wraps(function)
    def locating(*arguments: Any, file: str, store: Path | None, **keywords: Any) -> Any:
        return function(*arguments, file=located(file, store), **keywords)

    return locating


def is_path(file: str, store: Path | None) -> bool:
    """Whether FILE is a path: it looks like one, or the store doesn't know it and there is such a file.

    A bare name means the store first, so that what runs doesn't hang on what lies in the working folder. Raises InputMissing where it is neither.
    """
    if os.sep in file or (os.altsep or os.sep) in file or file.endswith((".edgecnn", ".onnx")) or file in ("", ".", ".."):
        return True
    from edgecnn.errors import InputMissing, UsageError
    from edgecnn.store.places import Place, default_store, models, parse

    try:
        place = Place(store=default_store() if store is None else store, name=parse(file)[0])
        if place.folder.is_dir():
            return False
    except UsageError as error:
        why = str(error)
    else:
        why = f"the store {place.store} has no such model, there are: {', '.join(other.name for other in models(place.store)) or 'none'}."
    if os.path.lexists(file):
        return True
    raise InputMissing(f"there is no file {file}; {why}")


def located(file: str, store: Path | None) -> Path:
    """Where FILE lies. Raises StoreError or UsageError for a name that the store doesn't know."""
    if is_path(file, store):
        return Path(file)
    from edgecnn.store import locate

    return locate(file, store=store)


@contextlib.contextmanager
def opened(file: str, *, store: Path | None, threads: int | None, trust_key: Path | None, engine: str = "ort") -> Iterator[Model]:
    """The model in FILE. One of the store is watched until its first answer; where it kept killing its process, the version before is taken."""
    if is_path(file, store):
        from edgecnn.device.model import open_model

        yield open_model(file, threads=threads, trust_key=trust_key, engine=engine)
        return
    from edgecnn.cli._options import note
    from edgecnn.store import start

    with start(file, store=store, say=note) as begun, _told_to_end(begun):
        yield begun.load(threads=threads, trust_key=trust_key, engine=engine)


@contextlib.contextmanager
def _told_to_end(begun: Start) -> Iterator[None]:
    """A service that is stopped, or a terminal that is closed, isn't held against the version."""

    def end(number: int, _: FrameType | None) -> None:
        begun.forget()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    try:
        asking = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
        ours = [number for number in asking if signal.getsignal(number) is signal.SIG_DFL]
        for number in ours:
            signal.signal(number, end)
    except ValueError:  # not the main thread, which alone gets signals
        ours = []
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)

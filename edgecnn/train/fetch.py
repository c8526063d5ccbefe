"""Where a recipe's images come from: a path beside the recipe, or a download whose sha256 is checked (pooch)."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from edgecnn.artifact.files import cache_folder
from edgecnn.errors import DownloadFailed, InputMissing
from edgecnn.train.recipe import DataSource, RemoteFile


def locate(source: DataSource, *, folder: Path, progress: bool = False) -> Path:
    """The local path of `source`. folder: the recipe's, from which relative paths count.

    Raises InputMissing, or DownloadFailed without a network or when other bytes came than the recipe promises.
    """
    if source.path is not None:
        path = folder / Path(source.path).expanduser()
        if path.exists():
            return path
        if not source.files:
            raise InputMissing(f"{path} doesn't exist; put the images there, or name them with --train and --validation.")
    if len(source.files) == 1:
        return _download(source.files[0], cache_folder(), progress)
    together = hashlib.sha256("".join(file.sha256 for file in source.files).encode()).hexdigest()
    place = cache_folder() / together[:16]
    for file in source.files:
        _download(file, place, progress)
    return place


def _download(file: RemoteFile, place: Path, progress: bool) -> Path:
    import pooch
    import requests

    logging.getLogger("pooch").setLevel(logging.ERROR)
    name = file.url.rsplit("/", 1)[-1] or file.sha256[:16]
    if place == cache_folder():
        name = f"{file.sha256[:12]}-{name}"
    bar = _Bar(name) if progress else False
    try:
        fetched = pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=name, path=place, progressbar=bar)
    except (requests.RequestException, OSError) as error:
        raise DownloadFailed(f"{file.url} can't be fetched ({_cause(error)}); check the network, or name a local copy with --train.") from None
    except ValueError:
        promised = file.sha256[:12]
        raise DownloadFailed(f"{file.url} gave other bytes than the sha256 {promised}... of the recipe promises; nothing of it was kept.") from None
    return Path(fetched)


def _cause(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


class _Bar:
    """pooch's progress protocol on top of rich."""

    total: int = 0

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(name, total=None)
        self._bar.start()

    def update(self, size: int) -> None:
        self._bar.update(self._task, total=self.total or None, advance=size)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()

"""Keep this device's models: install, list, activate, roll back and remove versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import store_option
from edgecnn.cli._on import on_option
from edgecnn.cli._options import json_option, note, put, put_json
from edgecnn.cli._trust import trust_options

if TYPE_CHECKING:
    from edgecnn.store import Switched

_DOWNGRADE = click.option("--allow-downgrade", is_flag=True, help="Take a version whose sequence is lower than the active one's; that is recorded.")


@click.group(name="store", epilog="Example: edgecnn store install five-2.0.0.edgecnn && edgecnn run five photos/")
def command() -> None:
    """Keep models on this device: of each several versions, one of them active.

    `edgecnn run NAME` uses the active one. An update is interrupted at any point without harm, by a crash or by cutting the power: the old version
    or the new one is active then, and whole. A version whose process dies before its first answer three times in a row is rolled back.
    """


@command.command(epilog="Example: edgecnn store install five-2.0.0.edgecnn --store /var/lib/models")
@on_option(file="file")
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@_DOWNGRADE
@trust_options
@json_option
def install(file: Path, store: Path | None, allow_downgrade: bool, trust_key: Path | None, as_json: bool) -> None:
    """Make the model in FILE the active version of its name.

    Every byte is verified, and the golden answers are checked in a process of its own, before anything changes. Installing what is active already
    does nothing; another file of the same name and version is refused.
    """
    from edgecnn.store import install

    _tell(install(file, store=store, trust_key=trust_key, allow_downgrade=allow_downgrade, say=note), as_json)


@command.command(epilog="Example: edgecnn store activate five@1.0.0 --allow-downgrade")
@on_option()
@click.argument("version", metavar="NAME@VERSION", shell_complete=_complete.installed)
@store_option
@_DOWNGRADE
@json_option
def activate(version: str, store: Path | None, allow_downgrade: bool, as_json: bool) -> None:
    """Make an installed version the active one.

    Also one that was rolled back. Its golden answers are checked in a process of its own before. Where the record of what is active was damaged,
    this writes it anew.
    """
    from edgecnn.store import activate

    _tell(activate(version, store=store, allow_downgrade=allow_downgrade, say=note), as_json)


@command.command(epilog="Example: edgecnn store rollback five")
@on_option()
@click.argument("name", shell_complete=_complete.installed)
@store_option
@json_option
def rollback(name: str, store: Path | None, as_json: bool) -> None:
    """Go back to the version active before this one.

    Whatever its sequence. The version that is left isn't installed again by itself; `edgecnn store activate` takes it all the same.
    """
    from edgecnn.store import rollback

    _tell(rollback(name, store=store, say=note), as_json)


@command.command(epilog="Example: edgecnn store remove five@1.0.0")
@on_option()
@click.argument("version", metavar="NAME@VERSION", shell_complete=_complete.installed)
@store_option
@json_option
def remove(version: str, store: Path | None, as_json: bool) -> None:
    """Delete a version that isn't the active one."""
    from edgecnn.store import remove

    remove(version, store=store, say=note)
    if as_json:
        put_json({"schema": 1, "removed": version})
    else:
        put(f"{version} was removed")


@command.command(name="list", epilog="Example: edgecnn store list --json")
@on_option()
@store_option
@json_option
def list_(store: Path | None, as_json: bool) -> None:
    """Show the installed versions of all models.

    --json prints one line a model, with what happened to it.
    """
    from edgecnn.cli._store import facts, lines
    from edgecnn.store import default_store, installed

    place = default_store() if store is None else store
    found = installed(store=place)
    if as_json:
        for model in found:
            put_json(facts(model))
    else:
        for line in lines(found):
            put(line)
    if not found:
        note(f"there are no models in {place}; `edgecnn store install FILE` brings one in")
    for model in found:
        for trouble in (model.damaged, *(version.damaged for version in model.versions)):
            if trouble:
                note(trouble)


def _tell(switched: Switched, as_json: bool) -> None:
    now = f"{switched.name}@{switched.version}"
    for skipped in switched.skipped:
        note(f"passed over: {skipped}")
    if as_json:
        put_json(_facts(switched))
    elif switched.changed:
        before = f", {switched.before} was before" if switched.before else ""
        lower = ", though its sequence is lower" if switched.downgrade else ""
        put(f"{now} is active{before}{lower}")
    elif switched.unpacked:
        put(f"{now} was damaged; it is whole again, and active")
    else:
        put(f"{now} is active already")


def _facts(switched: Switched) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": switched.name,
        "active": switched.version,
        "before": switched.before,
        "changed": switched.changed,
        "unpacked": switched.unpacked,
        "downgrade": switched.downgrade,
    }

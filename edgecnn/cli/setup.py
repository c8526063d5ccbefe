"""Install this edgecnn on devices, over ssh."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.errors import InputMissing, InputRefused, UsageError


@click.command(epilog="Example: edgecnn setup pi@camera.local --wheels wheels/")
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take all that edgecnn needs from the wheels in DIR: the device needs no network.",
)
@click.option(
    "--python", default="python3", show_default=True, metavar="NAME", help="Python on the device, 3.10 or newer, e.g. python3.11 or its path."
)
def command(hosts: tuple[str, ...], wheels: Path | None, python: str) -> None:
    """Make a virtual environment on each device HOST (user@host[:port]) and install this version of edgecnn there, for `--on HOST`.

    It lies in ~/.local/share/edgecnn/venv, needs no rights, and takes the place of the one before when it is whole. ssh is this machine's, with your
    keys and configuration; EDGECNN_SSH names another, e.g. "ssh -F my_config".

    \b
    For a device without a network, fetch wheels first, here for a 64-bit Arm with Python 3.11:
      pip download -d wheels --only-binary=:all: --python-version 3.11 --platform
        manylinux_2_28_aarch64 numpy onnxruntime pillow click
    """
    from edgecnn.artifact.files import temporary_folder
    from edgecnn.cli._on_setup import Setup
    from edgecnn.remote.hosts import parse
    from edgecnn.remote.jobs import Job
    from edgecnn.remote.sending import described
    from edgecnn.remote.wheel import own_wheel

    if not python or python.startswith("-") or not python.isprintable():
        raise UsageError(f"{python[:80]!r} is no Python; a command's name or a path was wanted, e.g. python3.11.")
    devices = [parse(text) for text in dict.fromkeys(hosts)]
    found = _wheels(wheels) if wheels is not None else []
    with temporary_folder() as folder:
        wheel = own_wheel(folder)
        files = [described(wheel, (wheel.name,)), *(described(path, ("wheels", path.name)) for path in found)]
        job = Job(do="install", files=tuple(files), python=python, more={"wheel": wheel.name, "offline": wheels is not None})
        click.get_current_context().exit(Setup(devices).run(job))


def _wheels(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".whl")
    except FileNotFoundError:
        raise InputMissing(f"{folder} doesn't exist; a folder of wheels was wanted.") from None
    except OSError as error:
        raise InputRefused(f"{folder} can't be looked into ({error.strerror}); a folder of wheels was wanted.") from None
    if not found:
        raise InputMissing(f"{folder} holds no wheels; fill it by `pip download`, as `edgecnn setup --help` shows.")
    return found

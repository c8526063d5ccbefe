"""The command line. A command is a file of this package, its name the file's; it is imported when it is used.

A command's file defines `command`, a click command; its docstring's first line is the command's line in `edgecnn --help`. Files that start
with "_" are no commands. Errors become exit codes here: see edgecnn/errors.py, and 70 for a bug of ours, 130 for an interrupt.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from edgecnn.errors import EdgecnnError

_HERE = os.path.dirname(__file__)
_BUG, _INTERRUPTED = 70, 130
# a command that needs what the extras bring imports one of these, itself or in the helper beside it
_HOST = re.compile(r"^\s*(?:from|import) edgecnn\.(?:build|train)\b", re.MULTILINE)
_EXTRA = re.compile(r'\brequire_extra\("([\w-]+)"\)')
_SUMMARY = re.compile(r'\A"""(.+?)(?:"""|\n)')


class Commands(click.Group):
    """The commands, found by their files' names. Listing them reads the files' first lines and imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        stems = (name[:-3] for name in os.listdir(_HERE) if name.endswith(".py") and not name.startswith("_"))
        return sorted(stem.replace("_", "-") for stem in stems)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        import importlib

        found: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        found.name = cmd_name
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            from edgecnn.artifact.codec import suggestion

            known = self.list_commands(ctx)
            raise click.UsageError(f"there is no command {name!r}{suggestion(name, known) or '; there are ' + ', '.join(known)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=_summary(_source_of(name))) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Device commands": [], "Host commands (they need: pip install 'edgecnn[all]')": []}
        device, host = groups.values()
        extras = set()
        for name in self.list_commands(ctx):
            source = _source_of(name)
            if _HOST.search(source):
                host.append((name, _summary(source)))
                continue
            wanted = _EXTRA.search(source)
            extras |= {wanted[1]} if wanted else set()
            device.append((name, _summary(source) + (f" [{wanted[1]}]" if wanted else "")))
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        for extra in sorted(extras):
            formatter.write_paragraph()
            formatter.write_text(f"[{extra}]: its pages need pip install 'edgecnn[{extra}]'.")


def _source_of(command: str) -> str:
    """The texts of a command's file and of the helper beside it."""
    stem = command.replace("-", "_")
    return _text_of(stem) + _text_of(f"_{stem}")


def _summary(source: str) -> str:
    found = _SUMMARY.match(source)
    return found[1] if found else ""


def _text_of(stem: str) -> str:
    try:
        with open(os.path.join(_HERE, f"{stem}.py"), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from edgecnn import __version__

        click.echo(f"edgecnn {__version__}")
        ctx.exit()


@click.command(cls=Commands, no_args_is_help=False, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True, help="Show the version and exit.")
@click.pass_context
def edgecnn(ctx: click.Context) -> None:
    """From a PyTorch CNN to a device, with proof at every step."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (by default this process's) and return its exit code."""
    # a second thread pool for numpy would cost start-up time and cores that the engine uses; it must be said before numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a label that the terminal's encoding lacks is spelled out
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = 0  # the reader has what it wanted
        let_go(sys.stdout)
    except OSError as error:
        code = _unwritable(error)
    if arguments is None:
        gc.freeze()  # the process ends: a last search for cycles in all that was imported would take a tenth of a short run
    return code


def _run(arguments: list[str]) -> int:
    from edgecnn.cli._interrupts import interrupted, interrupts_remembered

    with interrupts_remembered():
        try:
            if "_EDGECNN_COMPLETE" in os.environ:  # click's completion for the shell
                edgecnn.main(arguments, prog_name="edgecnn")
            # not edgecnn.main(): it gives Ctrl-C, a closed pipe and a missing argument exit codes of its own
            with edgecnn.make_context("edgecnn", arguments) as ctx:
                edgecnn.invoke(ctx)
            return 0
        except click.exceptions.Exit as done:
            return done.exit_code
        except (KeyboardInterrupt, click.Abort) as stop:
            _say("; ".join(filter(None, ("interrupted", str(stop)))))
        except BrokenPipeError:
            raise
        except Exception as error:
            if not interrupted():
                return _tell(error, arguments)
            _say("interrupted")
        return _INTERRUPTED


def _tell(error: Exception, arguments: list[str]) -> int:
    """Say what went wrong in a sentence, or for a bug of ours in full, and return the exit code."""
    from edgecnn.errors import EdgecnnError, MissingHere

    if isinstance(error, click.ClickException):
        _say(_usage(error))
        return 2 if isinstance(error, click.UsageError) else 3  # click's own code for a file that can't be opened is 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) and error.filename is None:
        return _unwritable(error)  # files are written by artifact/files.py, which has its own error
    known = error if isinstance(error, EdgecnnError) else _as_missing(error)
    if isinstance(error, MemoryError):
        known = MissingHere("this machine's memory isn't enough for that; free some, or take smaller files.")
    if known is not None:
        _say(f"{str(known).removesuffix('.')}. See {known.page}." if known.page else str(known))
        return known.exit_code
    _report_bug(error, arguments)
    return _BUG


def _unwritable(error: OSError) -> int:
    from edgecnn.errors import OutputNotWritable

    let_go(sys.stdout)
    _say(f"standard output can't be written ({error.strerror}); send it elsewhere.")
    return OutputNotWritable.exit_code


def _usage(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    ctx = getattr(error, "ctx", None)
    text += " See" if text.endswith("?") else "; see"
    return f"{text} `{ctx.command_path if ctx else 'edgecnn'} --help`."


def _say(message: str) -> None:
    from edgecnn.cli._options import note

    try:
        note(message)
    except OSError:
        let_go(sys.stderr)


def let_go(stream: Any) -> None:
    """Point a stream that can't be written at nothing, so that what is left in its buffer doesn't fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def _as_missing(error: Exception) -> EdgecnnError | None:
    """A package of ours that isn't installed, as an error that names the pip line; None for any other failure."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not package or package == "edgecnn":
        return None
    from edgecnn.errors import ExtraMissing, MissingHere

    extra = _bringing(package)
    if extra is None:
        return None
    return ExtraMissing.of(package, extra) if extra else MissingHere(f"{package} isn't installed, and edgecnn needs it; run: pip install edgecnn")


def _bringing(package: str) -> str | None:
    """The first extra that brings an importable package, "" where the base install does, None where edgecnn doesn't ask for it."""
    from importlib import metadata

    try:
        wanted = metadata.requires("edgecnn") or []
    except metadata.PackageNotFoundError:
        return None
    for line in wanted:
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("-", "_")
        if name in (package.lower(), {"PIL": "pillow"}.get(package)):
            extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
            return extra[1] if extra else ""
    return None


def _report_bug(error: Exception, arguments: list[str]) -> None:
    import platform
    import traceback
    from importlib import metadata

    traceback.print_exception(error)
    versions = []
    for name in ("edgecnn", "numpy", "onnxruntime", "pillow", "click", "torch", "onnx"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    _say("this is a bug of edgecnn; please report it with the lines above and these:")
    print(f"  command: edgecnn {' '.join(arguments)}", file=sys.stderr)
    print(f"  Python {platform.python_version()}, {platform.platform()}, {', '.join(versions)}", file=sys.stderr)

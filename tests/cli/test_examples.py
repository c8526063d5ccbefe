"""Every command's help ends with an example that this command line takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import takewhile

import click
import pytest

from edgecnn import cli


def walk(command: click.Command, ctx: click.Context, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command but the first, at every depth, with the words that name it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield (*words, name), found
            yield from walk(found, ctx, (*words, name))


COMMANDS = dict(walk(cli.edgecnn, click.Context(cli.edgecnn)))


def lines(command: click.Command) -> list[list[str]]:
    """The commands of an example, without what is the shell's."""
    assert command.epilog is not None
    assert command.epilog.startswith("Example: ")
    return [list(takewhile(lambda word: word not in (">", "|", "<"), shlex.split(line))) for line in command.epilog[9:].split(" && ")]


def parse(words: list[str]) -> click.Context:
    """Read a command line as it is read when it is run, and run nothing."""
    assert words[0] == "edgecnn"
    command: click.Command = cli.edgecnn
    ctx = click.Context(command, info_name="edgecnn")
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(ctx, rest[0])
        assert found is not None, f"there is no command {rest[0]}"
        name, *rest = rest
        ctx = found.make_context(name, list(rest), parent=ctx)
        command = found
    return ctx


def test_the_walk_finds_commands_at_both_depths() -> None:
    assert {("run",), ("diff",), ("completion",), ("store",), ("store", "install"), ("train",)} <= COMMANDS.keys()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_example_is_one_of_this_command_and_is_taken(words: tuple[str, ...]) -> None:
    example = lines(COMMANDS[words])
    assert example[0][1 : 1 + len(words)] == list(words)
    for line in example:
        parse(line)


@pytest.mark.parametrize("wrong", ["run file.edgecnn cat.jpg --tpo 3", "diff a", "completion powershell", "store install"])
def test_an_example_that_is_wrong_would_be_found_out(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parse(["edgecnn", *shlex.split(wrong)])

"""Print what makes your shell complete edgecnn's commands, options, files and models."""

from __future__ import annotations

import click

from edgecnn.cli._options import put

VARIABLE = "_EDGECNN_COMPLETE"


@click.command(epilog="Example: edgecnn completion bash > ~/.local/share/bash-completion/completions/edgecnn")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion of SHELL. Written to its place once, it works in every shell that is started from then on.

    \b
    bash (4.4 or newer, with the package bash-completion):
      mkdir -p ~/.local/share/bash-completion/completions
      edgecnn completion bash > ~/.local/share/bash-completion/completions/edgecnn
    zsh (a folder of fpath, before compinit in ~/.zshrc):
      edgecnn completion zsh > ~/.zfunc/_edgecnn
    fish:
      edgecnn completion fish > ~/.config/fish/completions/edgecnn.fish

    For this one shell alone: source <(edgecnn completion bash). After an upgrade of edgecnn nothing has to be written again: the shell asks
    edgecnn itself what there is.
    """
    from click.shell_completion import get_completion_class

    from edgecnn.cli import edgecnn

    kind = get_completion_class(shell)
    assert kind is not None
    # not .source() of bash's: it starts a bash to ask for its version, which says nothing of the device that this is written for
    maker = kind(edgecnn, {}, "edgecnn", VARIABLE)
    put((maker.source_template % maker.source_vars()).rstrip())

"""Whom to trust: the options of commands that can ask for a signature."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgecnn.errors import UsageError


def trust_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--require-signature and --key PUB, as the one parameter `trust_key`: the key whose signature every FILE needs, None where none is asked for.

    Open the artifact by `edgecnn.sign.open_trusted(file, trust_key)`. EDGECNN_TRUST_KEY names the key where --key doesn't; either one is a demand.
    """

    @click.option(
        "--key",
        type=click.Path(path_type=Path),
        envvar="EDGECNN_TRUST_KEY",
        metavar="PUB",
        help="Public key in PEM whose signature FILE needs, e.g. pub.pem.  [default: EDGECNN_TRUST_KEY, if set]",
    )
    @click.option("--require-signature", is_flag=True, help="Refuse FILE unless FILE.sig is its signature by --key; the default where a key is.")
    @functools.wraps(function)
    def trusting(*arguments: Any, key: Path | None, require_signature: bool, **keywords: Any) -> Any:
        if require_signature and key is None:
            raise UsageError("--require-signature needs to know whose: give --key PUB, e.g. pub.pem, or set EDGECNN_TRUST_KEY.")
        return function(*arguments, trust_key=key, **keywords)

    return trusting

"""Sign an artifact, so that devices can tell that it comes from you."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from edgecnn.cli._options import artifact_argument, json_option, put, put_json


@click.command(epilog="Example: edgecnn sign five-1.0.0.edgecnn --key key.pem")
@artifact_argument
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Private key in PEM, ECDSA on the curve P-256, e.g. key.pem.")
@json_option
def command(file: Path, key: Path, as_json: bool) -> None:
    """Check every byte of FILE, then write its signature beside it: FILE.sig.

    \b
    A pair of keys is made with openssl; only the public one goes to the devices:
      openssl ecparam -genkey -name prime256v1 -noout -out key.pem
      openssl ec -in key.pem -pubout -out pub.pem

    Where the key is encrypted its passphrase is asked for, or taken from EDGECNN_KEY_PASSWORD. `edgecnn verify FILE --key pub.pem` checks the
    signature, and so does `model_signing verify key`: the format is OpenSSF Model Signing's. Sign again after FILE has changed.
    """
    from edgecnn.sign.write import sign_file

    signature = sign_file(file, key, passphrase=_passphrase)
    if as_json:
        put_json({"schema": 1, "file": str(file), "signature": str(signature)})
    else:
        put(f"{signature} signs {file}")


def _passphrase() -> bytes | None:
    """From the environment or a person; None where there is neither."""
    given = os.environ.get("EDGECNN_KEY_PASSWORD")
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        given = click.prompt("passphrase of the key", hide_input=True, err=True, default="", show_default=False)
    return os.fsencode(given) if given else None

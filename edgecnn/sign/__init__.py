"""Signatures of files in the OpenSSF Model Signing format: what is opened is what was signed. `check` and `write` are the ways in.

Needs the extra `verify` (cryptography), which is imported when a key is used, not before.
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.artifact.bundle import Bundle, open_bundle


def open_trusted(path: Path | str, trust_key: Path | str | None) -> Bundle:
    """`check.open_signed` where a key says whom to trust, `open_bundle` where none does, which imports nothing for it."""
    if trust_key is None:
        return open_bundle(path)
    from edgecnn.sign.check import open_signed

    return open_signed(path, trust_key)

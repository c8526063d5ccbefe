"""Open an artifact, and where a key says whom to trust only one that its holder signed."""

from __future__ import annotations

import os
from pathlib import Path

from edgecnn.artifact.bundle import Bundle, open_bundle, read_bundle
from edgecnn.artifact.packed import open_file


def open_trusted(path: Path | str, trust_key: Path | str | None) -> Bundle:
    """The artifact at `path`, a file or an unpacked version's folder; trust_key: see `open_signed`, None asks for no signature.

    Raises what `open_signed`, `open_bundle` or `open_unpacked` do.
    """
    path = Path(path)
    if trust_key is not None:
        return open_signed(path, trust_key)
    if os.path.isdir(path):
        from edgecnn.artifact.unpacked import open_unpacked

        return open_unpacked(path)
    return open_bundle(path)


def open_signed(path: Path | str, key: Path | str) -> Bundle:
    """`open_trusted` of an artifact whose signature lies beside it, checked before anything in it is parsed. key: a PEM file, the public key.

    What is read from the Bundle is what was signed, or refused, even when somebody rewrites the file meanwhile.
    Raises what `open_bundle`, `open_unpacked`, `read_signature` and `check_signature` do.
    """
    from edgecnn.sign.beside import read_signature
    from edgecnn.sign.check import check_signature
    from edgecnn.sign.pinned import pin

    path = Path(path)

    def trust(sha256: str) -> None:
        check_signature(read_signature(path), sha256=sha256, key=key, what=str(path))

    if os.path.isdir(path):
        from edgecnn.artifact.unpacked import open_unpacked

        return open_unpacked(path, trust=trust)
    file = open_file(path)
    try:
        sha256, pinned = pin(file, str(path))
        trust(sha256)
    except BaseException:
        file.close()
        raise
    return read_bundle(path, pinned)

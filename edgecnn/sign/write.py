"""Sign a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecnn.artifact.bundle import read_bundle
from edgecnn.artifact.files import write_atomic
from edgecnn.artifact.packed import open_file
from edgecnn.sign.beside import signature_path
from edgecnn.sign.envelope import Envelope, signed_message, write_envelope
from edgecnn.sign.keys import key_hint, load_private_key, sign_bytes
from edgecnn.sign.pinned import pin
from edgecnn.sign.statement import write_statement


def sign_file(path: Path | str, key: Path | str, *, passphrase: Callable[[], bytes | None] = lambda: None) -> Path:
    """Sign an artifact, once every byte of it has been verified: FILE.edgecnn.sig beside it, whose path is returned.

    key: a PEM file with a private key on P-256; passphrase: called where that is encrypted. The public tool `model_signing verify key` takes
    the signature too. Raises InputMissing, ArtifactRejected, KeyRejected, ExtraMissing, or OutputNotWritable.
    """
    path = Path(path)
    file = open_file(path)
    try:
        sha256, pinned = pin(file, str(path))
    except BaseException:
        file.close()
        raise
    with read_bundle(path, pinned) as bundle:
        bundle.verify()
    private = load_private_key(Path(key), passphrase)
    payload = write_statement(path.name, sha256)
    envelope = Envelope(payload=payload, signature=sign_bytes(private, signed_message(payload)), hint=key_hint(private.public_key()))
    target = signature_path(path)
    write_atomic(target, write_envelope(envelope))
    return target

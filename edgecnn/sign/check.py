"""Is this file the one that was signed? The question is answered on its bytes, before anything in them is understood."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecnn.artifact.bundle import Bundle, read_bundle
from edgecnn.artifact.codec import CodecError
from edgecnn.artifact.packed import open_file
from edgecnn.errors import SignatureRejected
from edgecnn.sign.envelope import read_envelope, signed_message
from edgecnn.sign.keys import is_signature, key_hint, load_public_key
from edgecnn.sign.pinned import pin
from edgecnn.sign.small_files import read_small
from edgecnn.sign.statement import read_statement

_MAX_SIGNATURE_BYTES = 1 << 16
"""Those of one file have some 1,500."""


def signature_path(path: Path | str) -> Path:
    """Where the signature of the file `path` lies: beside it, its whole name followed by .sig."""
    return Path(f"{path}.sig")


def read_signature(path: Path | str) -> bytes:
    """The signature that lies beside the file `path`, unchecked. Raises SignatureRejected where there is none that can be read."""
    place = signature_path(path)
    try:
        return read_small(place, _MAX_SIGNATURE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise SignatureRejected(f"{path} has no signature, and one is required: there is no {place.name} beside it.") from None
    except OSError as error:
        raise SignatureRejected(f"{place} can't be read ({error.strerror}); the signature of {path} was wanted there.") from None


def check_signature(signature: bytes, *, sha256: str, key: Path | str, what: str) -> None:
    """Refuse a file unless `signature` (the bytes of its .sig) says, by the other half of `key`, that its sha256 is this one.

    key: a PEM file with the public key; what: how messages call the file.
    Raises SignatureRejected for a signature of another key or file, an altered or malformed one; InputMissing or KeyRejected for the key,
    ExtraMissing.
    """
    if _signed_sha256(signature, key=Path(key), what=what) != sha256:
        raise SignatureRejected(f"{what} isn't the file that was signed: it was altered, or its signature is another file's; get both again.")


def check_data(data: bytes, path: Path | str, key: Path | str) -> None:
    """`check_signature` of the signature beside `path`, whose content `data` is. Raises what it and `read_signature` do."""
    check_signature(read_signature(path), sha256=hashlib.sha256(data).hexdigest(), key=key, what=str(path))


def open_signed(path: Path | str, key: Path | str) -> Bundle:
    """`open_bundle` of an artifact whose signature lies beside it, checked before anything in it is parsed.

    What is read from the Bundle is what was signed, or refused, even when somebody rewrites the file meanwhile. Raises what `open_bundle`,
    `read_signature` and `check_signature` do.
    """
    path = Path(path)
    file = open_file(path)
    try:
        signature = read_signature(path)
        sha256, pinned = pin(file, str(path))
        check_signature(signature, sha256=sha256, key=key, what=str(path))
    except BaseException:
        file.close()
        raise
    return read_bundle(path, pinned)


def _signed_sha256(signature: bytes, *, key: Path, what: str) -> str:
    """The sha256 that a signature vouches for, once it is known to be the key's; only then its statement is parsed."""
    public = load_public_key(key)
    if len(signature) > _MAX_SIGNATURE_BYTES:
        raise SignatureRejected(f"The signature of {what} has more than {_MAX_SIGNATURE_BYTES} bytes; get it again.")
    try:
        envelope = read_envelope(signature)
    except CodecError as error:
        raise SignatureRejected(f"The signature of {what} is none of a single file by a key, in OpenSSF's format: {error.sentence}") from None
    if envelope.hint is not None and envelope.hint != key_hint(public):
        raise SignatureRejected(f"{what} was signed with another key than that of {key}; get it from whom you trust, or their key.")
    if not is_signature(public, envelope.signature, signed_message(envelope.payload)):
        raise SignatureRejected(f"The signature of {what} was altered, or wasn't made with the key of {key}; get both files again.")
    try:
        return read_statement(envelope.payload)
    except CodecError as error:
        raise SignatureRejected(f"The signature of {what} is right, but not one of a single whole file by its sha256: {error.sentence}") from None

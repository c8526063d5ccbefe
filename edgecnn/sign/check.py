"""Is this file the one that was signed? The question is answered by its sha256 alone, so before anything in it is understood."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecnn.artifact.codec import CodecError
from edgecnn.errors import SignatureRejected
from edgecnn.sign.beside import MAX_SIGNATURE_BYTES, read_signature
from edgecnn.sign.envelope import read_envelope, signed_message
from edgecnn.sign.keys import is_signature, key_hint, load_public_key
from edgecnn.sign.statement import read_statement


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


def _signed_sha256(signature: bytes, *, key: Path, what: str) -> str:
    """The sha256 that a signature vouches for, once it is known to be the key's; only then its statement is parsed."""
    public = load_public_key(key)
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureRejected(f"The signature of {what} has more than {MAX_SIGNATURE_BYTES} bytes; get it again.")
    try:
        envelope = read_envelope(signature)
    except CodecError as error:
        raise SignatureRejected(f"The signature of {what} is none of a single file by a key, in OpenSSF's format: {error.sentence}") from None
    if envelope.hint is not None and envelope.hint != key_hint(public):
        raise SignatureRejected(f"{what} was signed with another key than that of {key}; give the signer's, or get the file from this one's holder.")
    if not is_signature(public, envelope.signature, signed_message(envelope.payload)):
        raise SignatureRejected(f"The signature of {what} was altered, or wasn't made with the key of {key}; get both files again.")
    try:
        return read_statement(envelope.payload)
    except CodecError as error:
        raise SignatureRejected(f"The signature of {what} is right, but not one of a single whole file by its sha256: {error.sentence}") from None

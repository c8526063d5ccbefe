"""Keys for signing and verifying: ECDSA on the curve P-256 with SHA-256, in PEM files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact.files import read_whole
from edgecnn.errors import ExtraMissing, InputMissing, KeyRejected

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

_MAX_KEY_BYTES = 1 << 16
_CURVE = "secp256r1"
_MAKE = "`openssl ecparam -genkey -name prime256v1 -noout -out key.pem` makes one"
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


def load_public_key(path: Path) -> EllipticCurvePublicKey:
    """The public key in a PEM file. Raises InputMissing, KeyRejected for anything but a public key on P-256, ExtraMissing."""
    serialization = _serialization()
    data = _read(path, "a public key")
    if b"PRIVATE KEY" in _kind(data):
        raise KeyRejected(f"{path} holds a private key, the public one was wanted; `openssl ec -in {path.name} -pubout -out pub.pem` writes it.")
    if _kind(data) == b"CERTIFICATE":
        raise KeyRejected(f"{path} holds a certificate, a public key was wanted; `openssl x509 -in {path.name} -pubkey -noout` shows its key.")
    key: EllipticCurvePublicKey = _on_p256(_parsed(path, "a public key", lambda: serialization.load_pem_public_key(data)), path)
    return key


def load_private_key(path: Path, passphrase: Callable[[], bytes | None]) -> EllipticCurvePrivateKey:
    """The private key in a PEM file; `passphrase` is asked only where the key is encrypted, and gives None where there is none.

    Raises InputMissing, KeyRejected for anything but a private key on P-256 that can be read, ExtraMissing.
    """
    serialization = _serialization()
    data = _read(path, "a private key")
    if _kind(data).endswith(b"PUBLIC KEY"):
        raise KeyRejected(f"{path} holds a public key, which can't sign; the private one was wanted.")
    try:
        found = _parsed(path, "a private key", lambda: serialization.load_pem_private_key(data, None))
    except TypeError:  # it is encrypted
        secret = passphrase()
        if not secret:
            raise KeyRejected(f"{path} is encrypted, and its passphrase wasn't given; set EDGECNN_KEY_PASSWORD to it.") from None
        found = _parsed(path, "a private key by this passphrase", lambda: serialization.load_pem_private_key(data, secret))
    key: EllipticCurvePrivateKey = _on_p256(found, path)
    return key


def key_hint(key: EllipticCurvePublicKey) -> str:
    """How a signature names its key: the sha256 of its PEM form, as the model-signing tool writes it."""
    serialization = _serialization()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign_bytes(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """The signature of `message`, in DER."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return key.sign(message, ECDSA(SHA256()))


def is_signature(key: EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature`, in DER, is one of `message` by the other half of `key`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ModuleNotFoundError as error:
        raise ExtraMissing.of(error.name or "cryptography", "verify") from error
    return serialization


def _read(path: Path, wanted: str) -> bytes:
    try:
        data = read_whole(path, _MAX_KEY_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissing(f"{path} doesn't exist; {wanted} was wanted there.") from None
    except OSError as error:
        raise KeyRejected(f"{path} can't be read ({error.strerror}); {wanted} was wanted there.") from None
    if not _kind(data):
        raise KeyRejected(f"{path} is no PEM file; {wanted} on the curve P-256 was wanted, {_MAKE}.")
    return data


def _kind(pem: bytes) -> bytes:
    """What the PEM file says that it holds; openssl writes the curve before a key unless told not to."""
    return next((label for label in _LABEL.findall(pem) if label != b"EC PARAMETERS"), b"")


def _parsed(path: Path, wanted: str, parse: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return parse()
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRejected(f"{path} can't be read as {wanted}; ECDSA on the curve P-256 in PEM was wanted, {_MAKE}.") from None


def _on_p256(key: Any, path: Path) -> Any:
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve != _CURVE:
        found = f"on the curve {curve}" if curve else f"an {type(key).__name__.lstrip('_').removesuffix('PublicKey').removesuffix('PrivateKey')} one"
        raise KeyRejected(f"{path} holds a key that is {found}; ECDSA on the curve P-256 was wanted, {_MAKE}.")
    return key

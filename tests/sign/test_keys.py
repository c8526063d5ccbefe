"""A key that can't be used is a sentence that says what it is instead."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import InputMissing, KeyRejected
from edgecnn.sign.keys import is_signature, key_hint, load_private_key, load_public_key, sign_bytes
from tests.fixtures.signing import Keys, make_keys


def no_passphrase() -> bytes | None:
    return None


def test_what_one_half_signs_the_other_half_knows(keys: Keys, stranger: Keys) -> None:
    private, public = load_private_key(keys.private, no_passphrase), load_public_key(keys.public)
    signature = sign_bytes(private, b"message")
    assert is_signature(public, signature, b"message")
    assert not is_signature(public, signature, b"massage")
    assert not is_signature(load_public_key(stranger.public), signature, b"message")
    assert key_hint(public) == key_hint(private.public_key()) != key_hint(load_public_key(stranger.public))


@given(st.binary(max_size=100))
def test_anything_else_is_no_signature(keys: Keys, data: bytes) -> None:
    assert not is_signature(load_public_key(keys.public), data, b"message")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048), "an RSA one"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "on the curve secp384r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "on the curve secp256k1"),
        (ed25519.Ed25519PrivateKey.generate, "an Ed25519 one"),
    ],
    ids=["rsa", "p384", "k256", "ed25519"],
)
def test_only_p256_will_do(key: Any, found: str, tmp_path: Path) -> None:
    other = make_keys(tmp_path, key=key())
    with pytest.raises(KeyRejected, match=rf"holds a key that is {found}; ECDSA on the curve P-256 was wanted"):
        load_private_key(other.private, no_passphrase)
    with pytest.raises(KeyRejected, match=rf"holds a key that is {found}; ECDSA on the curve P-256 was wanted"):
        load_public_key(other.public)


def test_the_halves_are_told_apart(keys: Keys) -> None:
    with pytest.raises(KeyRejected, match="holds a public key, which can't sign"):
        load_private_key(keys.public, no_passphrase)
    with pytest.raises(KeyRejected, match="holds a private key, the public one was wanted"):
        load_public_key(keys.private)


def test_a_passphrase_is_asked_for_where_there_is_one(keys: Keys, tmp_path: Path) -> None:
    locked = make_keys(tmp_path, passphrase=b"open sesame")
    assert key_hint(load_private_key(locked.private, lambda: b"open sesame").public_key()) == key_hint(load_public_key(locked.public))
    with pytest.raises(KeyRejected, match="passphrase wasn't given; set EDGECNN_KEY_PASSWORD"):
        load_private_key(locked.private, no_passphrase)
    with pytest.raises(KeyRejected, match="by this passphrase"):
        load_private_key(locked.private, lambda: b"guess")
    with pytest.raises(KeyRejected, match="holds a private key"):
        load_public_key(locked.public.with_name("key.pem"))

    def asked() -> bytes:
        raise AssertionError("it isn't encrypted")

    load_private_key(keys.private, asked)


@pytest.mark.parametrize(
    "data", [b"", b"key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"-----BEGIN PUBLIC KEY-----", bytes(1 << 17)]
)
def test_what_is_no_key_is_said(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pub.pem"
    path.write_bytes(data)
    with pytest.raises(KeyRejected, match=r"pub\.pem.* a public key"):
        load_public_key(path)


@given(st.binary(max_size=200))
def test_damaged_keys_are_refused(keys: Keys, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pem"
    whole = keys.private.read_bytes()
    for kept in (b"-----BEGIN PRIVATE KEY-----\n", whole[: len(whole) // 2]):
        path.write_bytes(kept + data)
        with pytest.raises(KeyRejected):
            load_private_key(path, no_passphrase)


def test_a_missing_key_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.pem doesn't exist; a public key"):
        load_public_key(tmp_path / "gone.pem")
    with pytest.raises(InputMissing, match="doesn't exist; a private key"):
        load_private_key(Path("a\0b"), no_passphrase)
    with pytest.raises(KeyRejected, match="it is a folder"):
        load_public_key(tmp_path)


def test_the_commands_that_help_shows_make_keys(tmp_path: Path) -> None:
    """And so does the first without -noout, which writes the curve before the key."""
    for quiet in ("-noout", "-text"):
        lines = (f"openssl ecparam -genkey -name prime256v1 {quiet} -out key.pem", "openssl ec -in key.pem -pubout -out pub.pem")
        for line in lines:
            subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
        private, public = load_private_key(tmp_path / "key.pem", no_passphrase), load_public_key(tmp_path / "pub.pem")
        assert key_hint(private.public_key()) == key_hint(public)

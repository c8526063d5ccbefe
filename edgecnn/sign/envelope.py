"""The signature's file: a sigstore bundle v0.3 in JSON around a DSSE envelope, of the "key" method.

Its public key is named, not given, so that nobody is tempted to trust it. See docs.sigstore.dev/about/bundle and, for what exactly is signed,
github.com/secure-systems-lab/dsse, protocol.md.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Literal

from edgecnn.artifact.codec import CodecError, decode, strict_json

_MEDIA_TYPE: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Literal["application/vnd.in-toto+json"] = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """payload: the statement's bytes, as signed; signature: in DER; hint: names the key (`keys.key_hint`), None where older tools didn't."""

    payload: bytes
    signature: bytes
    hint: str | None


def signed_message(payload: bytes) -> bytes:
    """What is signed of a statement: DSSE's pre-authentication encoding, which ties it to its type."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def write_envelope(envelope: Envelope) -> bytes:
    """As the model-signing tool writes it."""
    value = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": envelope.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(value, separators=(",", ":")).encode()


def read_envelope(data: bytes) -> Envelope:
    """Raises CodecError for anything but a bundle of the "key" method with one signature, unknown keys included."""
    bundle = decode(_Bundle, strict_json(data), where="signature", unknown="refuse")
    material, envelope = bundle.verificationMaterial, bundle.dsseEnvelope
    if material.tlogEntries:
        raise CodecError("signature.verificationMaterial.tlogEntries", "a log's entries can't be checked here")
    if len(envelope.signatures) != 1:
        raise CodecError("signature.dsseEnvelope.signatures", f"one was wanted, {len(envelope.signatures)} were found")
    return Envelope(
        payload=_decoded(envelope.payload, "signature.dsseEnvelope.payload"),
        signature=_decoded(envelope.signatures[0].sig, "signature.dsseEnvelope.signatures"),
        hint=material.publicKey.hint or None,
    )


def _decoded(text: str, where: str) -> bytes:
    """Base64 in its one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise CodecError(where, "it is no base64") from None
    if base64.b64encode(data).decode() != text:
        raise CodecError(where, "it is no canonical base64")
    return data


# The keys are the format's. rawBytes and keyDetails are an older tool's, and nothing is taken from them.


@dataclass(frozen=True, kw_only=True, slots=True)
class _PublicKey:
    hint: str | None = None
    rawBytes: str | None = None  # noqa: N815
    keyDetails: str | None = None  # noqa: N815


@dataclass(frozen=True, kw_only=True, slots=True)
class _Material:
    publicKey: _PublicKey  # noqa: N815
    tlogEntries: tuple[Any, ...] = ()  # noqa: N815


@dataclass(frozen=True, kw_only=True, slots=True)
class _Signature:
    sig: str
    keyid: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dsse:
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    signatures: tuple[_Signature, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bundle:
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Dsse  # noqa: N815

"""What is signed: an in-toto statement with the predicate of OpenSSF Model Signing v1.0, about one file.

A signed file is the resource "."; the subject's digest is the sha256 of all resources' digests, one here. Its name is the file's when it was
signed, and only informs: a file may be renamed. See github.com/sigstore/model-transparency and in-toto.io/Statement/v1.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from edgecnn.artifact.codec import CodecError, decode, strict_json

_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
_PREDICATE: Literal["https://model_signing/signature/v1.0"] = "https://model_signing/signature/v1.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Digest:
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    name: str
    digest: _Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Resource:
    name: Literal["."] = "."
    algorithm: Literal["sha256"] = "sha256"
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Serialization:
    """How a model of several files is hashed; links and what is left out don't matter to a single one."""

    method: Literal["files"] = "files"
    hash_type: Literal["sha256"] = "sha256"
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Predicate:
    serialization: _Serialization
    resources: tuple[_Resource, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Statement:
    """The keys are the format's."""

    _type: Literal["https://in-toto.io/Statement/v1"] = _TYPE
    subject: tuple[_Subject, ...]
    predicateType: Literal["https://model_signing/signature/v1.0"] = _PREDICATE  # noqa: N815
    predicate: _Predicate


def write_statement(name: str, sha256: str) -> bytes:
    """The statement that a file called `name` has this sha256."""
    statement = _Statement(
        subject=(_Subject(name=name, digest=_Digest(sha256=_root_digest(sha256))),),
        predicate=_Predicate(serialization=_Serialization(), resources=(_Resource(digest=sha256),)),
    )
    return json.dumps(asdict(statement)).encode()


def read_statement(payload: bytes) -> str:
    """The sha256 of the one file that a statement speaks of. Raises CodecError.

    Keys that the format may gain are ignored, as it asks for; a statement about anything else than one whole file isn't.
    """
    statement = decode(_Statement, strict_json(payload), where="statement")
    resources, subjects = statement.predicate.resources, statement.subject
    if len(resources) != 1 or len(subjects) != 1:
        raise CodecError("statement", f"it speaks of {len(subjects)} models with {len(resources)} files, one file was wanted")
    sha256 = resources[0].digest
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise CodecError("statement.predicate.resources", "the digest is no sha256 in lower-case hexadecimal digits")
    if subjects[0].digest.sha256 != _root_digest(sha256):
        raise CodecError("statement.subject", "the digest isn't that of the resources")
    return sha256


def _root_digest(sha256: str) -> str:
    return hashlib.sha256(bytes.fromhex(sha256)).hexdigest()

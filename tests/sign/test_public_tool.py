"""The public model-signing tool takes our signatures and we take its; what one refuses the other refuses too."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import SignatureRejected
from edgecnn.sign import open_signed, signature_path
from edgecnn.sign.write import sign_file
from tests.fixtures.signing import Keys, signature_of, statement_of

# each line of standard input is a file, its signature and a public key; each line of standard output says whether they belong together
_VERIFY = """
import json, sys
from model_signing import verifying
for line in sys.stdin:
    file, signature, key = json.loads(line)
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(file, signature)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
    else:
        print("null")
"""


def the_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "model_signing", *map(str, arguments)], capture_output=True, text=True)


def test_the_tool_verifies_what_edgecnn_signed(artifact: Path, keys: Keys) -> None:
    signature = sign_file(artifact, keys.private)
    done = the_tool("verify", "key", artifact, "--public_key", keys.public, "--signature", signature)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr


@pytest.mark.parametrize("options", [[], ["--ignore-paths", "README.md", "--allow_symlinks"]])
def test_edgecnn_verifies_what_the_tool_signed(artifact: Path, keys: Keys, options: list[str]) -> None:
    done = the_tool("sign", "key", artifact, "--private_key", keys.private, "--signature", signature_path(artifact), *options)
    assert done.returncode == 0, done.stderr
    with open_signed(artifact, keys.public) as bundle:
        bundle.verify()
        assert bundle.manifest.spec.name == "colors"


def altered(signature: bytes, alter: Callable[[Any], None]) -> bytes:
    value = json.loads(signature)
    alter(value)
    return json.dumps(value).encode()


def _other_resource(statement: Any) -> None:
    statement["predicate"]["resources"][0]["name"] = "model.onnx"


def _two_resources(statement: Any) -> None:
    statement["predicate"]["resources"] *= 2


def _another_root(statement: Any) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def _two_subjects(statement: Any) -> None:
    statement["subject"] *= 2


def _another_statement(statement: Any) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v0.1"


def _another_predicate(statement: Any) -> None:
    statement["predicateType"] = "https://slsa.dev/provenance/v1"


def _another_method(statement: Any) -> None:
    statement["predicate"]["serialization"]["method"] = "tensors"


def _another_hash(statement: Any) -> None:
    statement["predicate"]["serialization"]["hash_type"] = "md5"


def _another_algorithm(statement: Any) -> None:
    statement["predicate"]["resources"][0]["algorithm"] = "blake2b"


REFUSED_STATEMENTS = (
    _other_resource,
    _two_resources,
    _another_root,
    _two_subjects,
    _another_statement,
    _another_predicate,
    _another_method,
    _another_hash,
    _another_algorithm,
)


def _altered_signature(envelope: Any) -> None:
    sig = envelope["dsseEnvelope"]["signatures"][0]["sig"]
    envelope["dsseEnvelope"]["signatures"][0]["sig"] = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]


def _another_payload(envelope: Any) -> None:
    payload = envelope["dsseEnvelope"]["payload"]
    envelope["dsseEnvelope"]["payload"] = payload[:-8] + "AAAA" + payload[-4:]


def _another_payload_type(envelope: Any) -> None:
    envelope["dsseEnvelope"]["payloadType"] = "application/json"


def _another_hint(envelope: Any) -> None:
    envelope["verificationMaterial"]["publicKey"]["hint"] = "0" * 64


def _another_bundle(envelope: Any) -> None:
    envelope["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"


def _no_signatures(envelope: Any) -> None:
    envelope["dsseEnvelope"]["signatures"] = []


def _an_unknown_key(envelope: Any) -> None:
    envelope["trustMe"] = True


REFUSED_ENVELOPES = (_altered_signature, _another_payload, _another_payload_type, _another_hint, _another_bundle, _no_signatures, _an_unknown_key)


def _the_tool_says(cases: list[tuple[Path, Path, Path]]) -> list[str | None]:
    """For each file, signature and key: None where the tool takes them, else its reason."""
    lines = "".join(json.dumps([str(part) for part in case]) + "\n" for case in cases)
    done = subprocess.run([sys.executable, "-c", _VERIFY], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # it prints a warning of its own about signatures without a hint
    return [json.loads(line) for line in done.stdout.splitlines() if not line.startswith("WARNING")]


def _we_say(artifact: Path, key: Path) -> str | None:
    try:
        open_signed(artifact, key).close()
    except SignatureRejected as error:
        return str(error)
    return None


def test_both_take_and_refuse_the_same(tmp_path: Path, packed: bytes, keys: Keys, stranger: Keys) -> None:
    right = hashlib.sha256(packed).hexdigest()
    sound = signature_of(statement_of(right), keys)
    cases: dict[str, tuple[bytes, bytes, Path]] = {
        "sound": (packed, sound, keys.public),
        "without a hint": (packed, altered(sound, lambda value: value["verificationMaterial"]["publicKey"].pop("hint")), keys.public),
        "unknown keys": (packed, signature_of({**statement_of(right), "more": 1}, keys), keys.public),
        "renamed": (packed, signature_of(_renamed(statement_of(right)), keys), keys.public),
        "altered file": (packed[:-1] + b"\1", sound, keys.public),
        "longer file": (packed + b"\0", sound, keys.public),
        "wrong key": (packed, sound, stranger.public),
        "a stranger's, said to be ours": (packed, _disguised(signature_of(statement_of(right), stranger), sound), keys.public),
        "not JSON": (packed, b"{", keys.public),
        "empty": (packed, b"", keys.public),
        "a payload that is no JSON": (packed, signature_of(b"[", keys), keys.public),
    }
    for alter in REFUSED_STATEMENTS:
        statement = statement_of(right)
        alter(statement)
        cases[alter.__name__] = (packed, signature_of(statement, keys), keys.public)
    for alter in REFUSED_ENVELOPES:
        cases[alter.__name__] = (packed, altered(sound, alter), keys.public)

    files = []
    for number, (data, signature, key) in enumerate(cases.values()):
        path = tmp_path / f"{number}.edgecnn"
        path.write_bytes(data)
        signature_path(path).write_bytes(signature)
        files.append((path, signature_path(path), key))
    theirs = dict(zip(cases, _the_tool_says(files), strict=True))
    ours = {name: _we_say(path, key) for name, (path, _, key) in zip(cases, files, strict=True)}
    taken = {"sound", "without a hint", "unknown keys", "renamed"}
    assert {name for name, reason in theirs.items() if reason is None} == taken
    assert {name for name, reason in ours.items() if reason is None} == taken


def _renamed(statement: Any) -> Any:
    statement["subject"][0]["name"] = "another.edgecnn"
    return statement


def _disguised(signature: bytes, sound: bytes) -> bytes:
    """With the hint of another signature's key."""
    return altered(signature, lambda value: value.update(verificationMaterial=json.loads(sound)["verificationMaterial"]))

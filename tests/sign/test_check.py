"""No bytes that somebody calls a signature do anything but be refused, unless the key's holder signed this file."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import KeyRejected, SignatureRejected
from edgecnn.sign import read_signature, signature_path
from edgecnn.sign.beside import MAX_SIGNATURE_BYTES
from edgecnn.sign.check import check_data, check_signature
from tests.fixtures.signing import Keys, make_keys, sign_anything, signature_of, statement_of

RIGHT, OTHER = hashlib.sha256(b"signed").hexdigest(), hashlib.sha256(b"another").hexdigest()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from((RIGHT, OTHER, ".", "sha256", "files")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def sound(keys: Keys) -> bytes:
    return signature_of(statement_of(RIGHT), keys)


def taken(signature: bytes, keys: Keys, sha256: str) -> bool:
    said = None
    try:
        check_signature(signature, sha256=sha256, key=keys.public, what="x.edgecnn")
    except SignatureRejected as error:
        said = str(error)
    assert said is None or ("x.edgecnn" in said and said.endswith((".", "?")))
    return said is None


def test_it_is_taken_for_its_file_and_no_other(sound: bytes, keys: Keys, stranger: Keys) -> None:
    assert taken(sound, keys, RIGHT)
    assert not taken(sound, keys, OTHER)
    assert not taken(sound, stranger, RIGHT)


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(keys: Keys, data: bytes) -> None:
    assert not taken(data, keys, RIGHT)


@given(st.data())
def test_altered_bytes_never_vouch_for_another_file(sound: bytes, keys: Keys, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sound)))
    end = data.draw(st.integers(start, min(len(sound), start + 8)))
    changed = sound[:start] + data.draw(st.binary(max_size=8)) + sound[end:]
    taken(changed, keys, RIGHT)  # white space between the keys may be
    assert not taken(changed, keys, OTHER)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inside for found in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


@given(st.data())
def test_an_envelope_with_any_part_replaced_never_vouches_for_another_file(sound: bytes, keys: Keys, data: st.DataObject) -> None:
    value = json.loads(sound)
    changed = replaced(value, data.draw(st.sampled_from(places(value))), data.draw(json_values))
    taken(json.dumps(changed).encode(), keys, RIGHT)  # the parts that aren't signed, as keyid
    assert not taken(json.dumps(changed).encode(), keys, OTHER)


@given(st.data())
def test_a_rightly_signed_statement_of_anything_is_refused_or_about_its_file(keys: Keys, data: st.DataObject) -> None:
    statement = statement_of(RIGHT)
    changed = replaced(statement, data.draw(st.sampled_from(places(statement))), data.draw(json_values))
    taken(signature_of(changed, keys), keys, RIGHT)
    assert not taken(signature_of(changed, keys), keys, OTHER)


@given(st.binary(max_size=100))
def test_rightly_signed_bytes_that_are_no_statement_are_refused(keys: Keys, payload: bytes) -> None:
    assert not taken(signature_of(payload, keys), keys, RIGHT)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 30_000,
        b'{"mediaType":' * 2_000,
        b"9" * 60_000,
        b" " * (MAX_SIGNATURE_BYTES + 1),
        b'{"mediaType": "a", "mediaType": "b"}',
        b"\xff\xfe",
        b'"\\ud800"',
    ],
    ids=["lists", "objects", "digits", "large", "twice", "no UTF-8", "half a character"],
)
def test_hostile_json_is_refused(data: bytes, keys: Keys) -> None:
    assert not taken(data, keys, RIGHT)
    assert not taken(signature_of(data[:40_000], keys), keys, RIGHT)


def test_each_key_stands_once(sound: bytes, keys: Keys) -> None:
    twice = sound.replace(b'"dsseEnvelope":', b'"dsseEnvelope":{},"dsseEnvelope":')
    assert not taken(twice, keys, RIGHT)
    payload = json.dumps(statement_of(RIGHT)).replace('"digest"', f'"digest": "{OTHER}", "digest"').encode()
    assert not taken(signature_of(payload, keys), keys, RIGHT)


def test_base64_has_one_spelling(sound: bytes, keys: Keys) -> None:
    value = json.loads(sound)
    envelope = value["dsseEnvelope"]
    for spelling in (envelope["payload"][:40] + "\n" + envelope["payload"][40:], envelope["payload"].rstrip("=") + "===", "-" + envelope["payload"]):
        value["dsseEnvelope"] = {**envelope, "payload": spelling}
        assert not taken(json.dumps(value).encode(), keys, RIGHT)


def test_a_log_that_cant_be_checked_is_refused(sound: bytes, keys: Keys) -> None:
    value = json.loads(sound)
    value["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    assert not taken(json.dumps(value).encode(), keys, RIGHT)


def test_other_curves_are_refused_whatever_they_signed(sound: bytes, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    larger = make_keys(tmp_path, key=ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(KeyRejected, match="secp384r1"):
        check_signature(sound, sha256=RIGHT, key=larger.public, what="x.edgecnn")


def test_bytes_in_memory_are_checked_by_the_signature_beside_their_file(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"signed")
    with pytest.raises(SignatureRejected, match=r"no graph\.onnx\.sig beside it"):
        check_data(b"signed", path, keys.public)
    sign_anything(path, keys)
    check_data(b"signed", path, keys.public)
    with pytest.raises(SignatureRejected, match="isn't the file that was signed"):
        check_data(b"another", path, keys.public)


def test_a_signature_that_is_no_small_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.edgecnn"
    signature_path(path).mkdir()
    with pytest.raises(SignatureRejected, match="it is a folder"):
        read_signature(path)
    signature_path(path).rmdir()
    signature_path(path).write_bytes(bytes(MAX_SIGNATURE_BYTES + 1))
    with pytest.raises(SignatureRejected, match=f"more than {MAX_SIGNATURE_BYTES} bytes"):
        read_signature(path)

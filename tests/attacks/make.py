"""Hostile artifacts, each made from a good one with a single thing wrong.

    python -m tests.attacks.make GOOD.edgecnn FOLDER

writes one file for each. What could be hidden behind another fault isn't: digests, sizes and the manifest are made right again, so that only
the fault itself can be what is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from edgecnn.artifact.codec import canonical_json
from edgecnn.artifact.pack import canonical_zip
from edgecnn.artifact.ziplayout import CENTRAL, END, LOCAL
from tests.attacks.bombs import BOMBS
from tests.attacks.refusals import REFUSALS

Members = dict[str, bytes]


def members_of(good: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sorted_files(members: Members) -> list[tuple[str, bytes]]:
    """In the order that artifacts have."""
    first = ["manifest.json", "model.onnx"]
    return [(name, members[name]) for name in [*first, *sorted(members.keys() - set(first))]]


def listed(members: Members) -> Members:
    """`members` with a manifest that lists them as they are."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in sorted_files(members)[1:]
    ]
    if "parity" in manifest and "model.onnx" in members:
        manifest["parity"]["graph_sha256"] = hashlib.sha256(members["model.onnx"]).hexdigest()
    return {**members, "manifest.json": canonical_json(manifest)}


def archive(files: list[tuple[str, bytes]], *, attributes: int = 0o100644 << 16, method: int = 0, content: Callable[[bytes], bytes] = bytes) -> bytes:
    """A ZIP of these files, in this order and under these very names, laid out as artifacts are."""
    out, directory = b"", b""
    for name, data in files:
        stored, raw = content(data), name.encode("latin-1")
        facts = (zlib.crc32(data), len(stored), len(data), len(raw))
        directory += CENTRAL.pack(b"PK\x01\x02", 3 << 8 | 20, 20, 0, method, 0, 33, *facts, 0, 0, 0, 0, attributes, len(out)) + raw
        out += LOCAL.pack(b"PK\x03\x04", 20, 0, method, 0, 33, *facts, 0) + raw + stored
    return out + directory + END.pack(b"PK\x05\x06", 0, 0, len(files), len(files), len(directory), len(out), 0)


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def patched(data: bytes, position: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, position % len(data), value)
    return bytes(changed)


def _end(good: bytes) -> tuple[int, int, int]:
    """(number of members, the directory's size, its offset)."""
    return END.unpack(good[-END.size :])[4:7]


def _with_end(good: bytes, *, body: bytes, count: int, size: int, offset: int) -> bytes:
    return body + END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def _named(name: str) -> Callable[[bytes], bytes]:
    """One more member, listed in the manifest under its hostile name."""

    def make(good: bytes) -> bytes:
        members = listed({**members_of(good), name: b"payload"})
        return archive(sorted_files(members))

    return make


NAMES = ["../x", "/x", "C:\\x", "a\\b", "a\0b", "report.JSON", "a//b", "a/../../b", ".hidden", "x/", "x" * 101, "golden"]


def _duplicate(good: bytes) -> bytes:
    files = list(members_of(good).items())
    return archive([*files, files[-1]])


def _unlisted(good: bytes) -> bytes:
    return archive(sorted_files({**members_of(good), "golden/zz.bin": b"not in the manifest"}))


def _missing(good: bytes) -> bytes:
    members = members_of(good)
    return archive([(name, content) for name, content in members.items() if name != "report.json"])


def _crowded(good: bytes) -> bytes:
    """More members than any artifact has, all of them listed."""
    return archive(sorted_files(listed({**members_of(good), **{f"golden/{at:04}.png": b"" for at in range(100)}})))


def _no_manifest(good: bytes) -> bytes:
    return archive(list(members_of(good).items())[1:])


def _reordered(good: bytes) -> bytes:
    return archive(list(reversed(members_of(good).items())))


def _bomb(good: bytes) -> bytes:
    """200 MB of zeros in 200 kB."""
    members = listed({**members_of(good), "golden/zeros.npy": bytes(200_000_000)})
    return archive(sorted_files(members), method=8, content=deflate)


def _prefixed(good: bytes) -> bytes:
    return b"#!/bin/sh\n" + good


def _prefixed_and_shifted(good: bytes) -> bytes:
    """Data before the first member, and every offset right again."""
    count, size, offset = _end(good)
    prefix = b"MZ" + bytes(30)
    directory = bytearray(good[offset : offset + size])
    position = 0
    while position < size:
        fields = CENTRAL.unpack_from(directory, position)
        struct.pack_into("<I", directory, position + 42, fields[16] + len(prefix))
        position += CENTRAL.size + fields[10]
    return _with_end(good, body=prefix + good[:offset] + bytes(directory), count=count, size=size, offset=offset + len(prefix))


def _before_directory(good: bytes) -> bytes:
    count, size, offset = _end(good)
    body = good[:offset] + b"hidden" + good[offset : offset + size]
    return _with_end(good, body=body, count=count, size=size, offset=offset + 6)


def _after_directory(good: bytes) -> bytes:
    return good[: -END.size] + b"hidden" + good[-END.size :]


def _between_members(good: bytes) -> bytes:
    """A gap after the first member, with right offsets."""
    count, size, offset = _end(good)
    directory = bytearray(good[offset : offset + size])
    second = CENTRAL.size + CENTRAL.unpack_from(directory, 0)[10]
    gap_at = CENTRAL.unpack_from(directory, second)[16]
    position = 0
    while position < size:
        fields = CENTRAL.unpack_from(directory, position)
        struct.pack_into("<I", directory, position + 42, fields[16] + (4 if fields[16] >= gap_at else 0))
        position += CENTRAL.size + fields[10]
    body = good[:gap_at] + b"gap!" + good[gap_at:offset] + bytes(directory)
    return _with_end(good, body=body, count=count, size=size, offset=offset + 4)


def _overlapping(good: bytes) -> bytes:
    """The last directory entry points at the one before it."""
    _, size, offset = _end(good)
    starts, position = [], offset
    while position < offset + size:
        starts.append(position)
        position += CENTRAL.size + CENTRAL.unpack_from(good, position)[10]
    return patched(good, starts[-1] + 42, "<I", CENTRAL.unpack_from(good, starts[-2])[16])


def _huge_directory(good: bytes) -> bytes:
    """A name of 60 MB, as far as the end record goes."""
    count, size, offset = _end(good)
    body = good[: offset + size] + bytes(60_000_000)
    return _with_end(good, body=body, count=count, size=len(body) - offset, offset=offset)


STRUCTURE: dict[str, Callable[[bytes], bytes]] = {
    **{f"name-{index:02}": _named(name) for index, name in enumerate(NAMES)},
    "symlink": lambda good: archive(list(members_of(good).items()), attributes=0o120777 << 16),
    "executable": lambda good: archive(list(members_of(good).items()), attributes=0o100755 << 16),
    "duplicate": _duplicate,
    "unlisted": _unlisted,
    "missing": _missing,
    "no-manifest": _no_manifest,
    "reordered": _reordered,
    "crowd": _crowded,
    "empty-file": lambda good: b"",
    "compressed": lambda good: archive(list(members_of(good).items()), method=8, content=deflate),
    "bomb": _bomb,
    "prefixed": _prefixed,
    "prefixed-and-shifted": _prefixed_and_shifted,
    "data-before-directory": _before_directory,
    "data-after-directory": _after_directory,
    "data-between-members": _between_members,
    "overlapping": _overlapping,
    "trailing-byte": lambda good: good + b"\0",
    "trailing-archive": lambda good: good + good,
    "comment": lambda good: patched(good, -2, "<H", 5) + b"hello",
    "cut-short": lambda good: good[:-1],
    "false-local-size": lambda good: patched(good, 22, "<I", 0x7FFFFFFF),
    "false-local-compressed-size": lambda good: patched(good, 18, "<I", 1),
    "false-local-crc": lambda good: patched(good, 14, "<I", 0),
    "false-size": lambda good: patched(good, _end(good)[2] + 24, "<I", 0xFFFFFFFF),
    "false-compressed-size": lambda good: patched(good, _end(good)[2] + 20, "<I", 0xFFFFFFFF),
    "false-offset": lambda good: patched(good, _end(good)[2] + 42, "<I", 0xFFFFFFFF),
    "false-count": lambda good: patched(patched(good, -12, "<H", 0xFFFF), -14, "<H", 0xFFFF),
    "false-directory-size": lambda good: patched(good, -10, "<I", 0xFFFFFFFF),
    "huge-directory": _huge_directory,
    "false-directory-offset": lambda good: patched(good, -6, "<I", 0),
    "zip64-markers": lambda good: patched(patched(good, -10, "<I", 0xFFFFFFFF), -6, "<I", 0xFFFFFFFF),
    "encrypted-flag": lambda good: patched(good, 6, "<H", 1),
    "another-time": lambda good: patched(good, 10, "<H", 1),
    "swapped-content": lambda good: archive(
        [(name, b"x" * len(content) if name == "report.json" else content) for name, content in members_of(good).items()]
    ),
}


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A good archive around a changed manifest."""

    def make(good: bytes) -> bytes:
        members = members_of(good)
        document = json.loads(members["manifest.json"])
        change(document)
        text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False)
        return b"".join(canonical_zip({**members, "manifest.json": text.encode() + b"\n"}))

    return make


def _raw_manifest(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def make(good: bytes) -> bytes:
        members = members_of(good)
        return b"".join(canonical_zip({**members, "manifest.json": change(members["manifest.json"])}))

    return make


def _crowd(document: dict[str, Any]) -> None:
    member = document["members"][-1]
    document["members"] += [{**member, "name": f"golden/{at:04}.png"} for at in range(1000)]


def _huge_input(document: dict[str, Any]) -> None:
    document["spec"]["preprocess"]["size"] = [8192, 8192]
    document["spec"]["input"]["shape"] = [1, 3, 8192, 8192]


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "duplicate-key": _raw_manifest(lambda text: text.replace(b'"opset": 18', b'"opset": 18,\n  "opset": 18')),
    "nan": _raw_manifest(lambda text: text.replace(b'"outputs_atol": 0.0001', b'"outputs_atol": NaN')),
    "deep": _raw_manifest(lambda text: b"[" * 100_000 + b"]" * 100_000),
    "over-a-megabyte": _raw_manifest(lambda text: text + b" " * 1_000_000),
    "respelled": _raw_manifest(lambda text: text.replace(b"  ", b" ")),
    "wrong-type": _manifest(lambda document: document.update(opset="18")),
    "unknown-enum": _manifest(lambda document: document["spec"].update(task="detection")),
    "std-0": _manifest(lambda document: document["spec"]["preprocess"].update(image_std=[1.0, 0.0, 1.0])),
    "short-mean": _manifest(lambda document: document["spec"]["preprocess"].update(image_mean=[0.0, 0.0])),
    "fewer-labels": _manifest(lambda document: document["spec"].update(labels=["cat"])),
    "more-labels": _manifest(lambda document: document["spec"]["labels"].append("fish")),
    "escape-sequence": _manifest(lambda document: document["tools"].update(onnx="\x1b]0;owned\x07")),
    "no-licence": _manifest(lambda document: document.update(licenses={"model": "free as in beer"})),
    "newer-format": _manifest(lambda document: document.update(format_version=2)),
    "newer-runtime": _manifest(lambda document: document.update(min_runtime_version="999.0.0")),
    "false-member-size": _manifest(lambda document: document["members"][0].update(size=1)),
    "false-digest": _manifest(lambda document: document["members"][0].update(sha256="0" * 64)),
    "missing-in-list": _manifest(lambda document: document["members"].pop()),
    "no-members": _manifest(lambda document: document.update(members=[])),
    "gigabytes-in-list": _manifest(lambda document: document["members"][0].update(size=1 << 40)),
    "negative-size-in-list": _manifest(lambda document: document["members"][0].update(size=-1)),
    "twice-in-list": _manifest(lambda document: document["members"].append(document["members"][0])),
    "too-many-in-list": _manifest(_crowd),
    "huge-input": _manifest(_huge_input),
    "mean-infinite": _raw_manifest(lambda text: text.replace(b'"rescale_factor": ', b'"rescale_factor": 1e999, "x": ')),
    "boolean-for-a-number": _manifest(lambda document: document.update(ir_version=True)),
    "not-an-object": _raw_manifest(lambda text: b"[]\n"),
    "not-utf-8": _raw_manifest(lambda text: text.replace(b"tiny", b"tin\xff")),
    "empty": _raw_manifest(lambda text: b""),
}


def _other_shapes(document: dict[str, Any]) -> None:
    """A spec that agrees with itself, not with the graph."""
    document["spec"]["labels"].append("fish")
    document["spec"]["output"]["shape"] = [1, len(document["spec"]["labels"])]


def _other_size(document: dict[str, Any]) -> None:
    document["spec"]["preprocess"]["size"] = [64, 64]
    document["spec"]["input"]["shape"] = [1, 3, 64, 64]


def _graph(change: Callable[[onnx.ModelProto], object]) -> Callable[[bytes], bytes]:
    """A good artifact of a changed graph."""

    def make(good: bytes) -> bytes:
        members = members_of(good)
        model = onnx.load_from_string(members["model.onnx"])
        change(model)
        return b"".join(canonical_zip(listed({**members, "model.onnx": model.SerializeToString()})))

    return make


def _raw_graph(content: bytes | Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def make(good: bytes) -> bytes:
        members = members_of(good)
        model = content if isinstance(content, bytes) else content(members["model.onnx"])
        return b"".join(canonical_zip(listed({**members, "model.onnx": model})))

    return make


GRAPHS: dict[str, Callable[[bytes], bytes]] = {
    **{name: _graph(change) for name, change in (REFUSALS | BOMBS).items()},
    "ort-payload": _raw_graph(b"\x18\x00\x00\x00ORTM" + bytes(100)),
    "no-graph": _raw_graph(b"#!/bin/sh\nrm -rf /\n"),
    "cut-graph": _raw_graph(lambda model: model[: len(model) // 2]),
    "two-graphs": _raw_graph(lambda model: model + b"\x3a\x00"),
    "spec-with-more-labels": _manifest(_other_shapes),
    "spec-with-another-size": _manifest(_other_size),
}

ATTACKS = {**STRUCTURE, **MANIFESTS, **GRAPHS}


def main(good: str, folder: str) -> None:
    data = Path(good).read_bytes()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, make in ATTACKS.items():
        Path(folder, f"{name}.edgecnn").write_bytes(make(data))


if __name__ == "__main__":
    main(*sys.argv[1:])

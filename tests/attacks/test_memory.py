"""What is refused, and what is as large as can be without being refused, takes little memory: tracemalloc sees Python's share, this all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.manifest import MAX_REPORT_BYTES
from edgecnn.artifact.protobuf import MAX_FIELDS, MAX_TEXT_BYTES
from edgecnn.artifact.ziplayout import MAX_MANIFEST_BYTES
from edgecnn.device.whole import check_whole
from edgecnn.errors import ArtifactRejected
from tests.artifact.samples import pack_sample
from tests.attacks.fuzz import good_members
from tests.attacks.make import ATTACKS, archive, listed, sorted_files
from tests.attacks.mutate import BYTES, VARINT, Field, serialize


def test_the_whole_list_of_attacks(tmp_path: Path, memory_bounded: None) -> None:
    pack_sample(tmp_path / "good.edgecnn")
    # in a process of its own: making the files takes memory that isn't the reader's
    command = [sys.executable, "-m", "tests.attacks.make", str(tmp_path / "good.edgecnn"), str(tmp_path / "hostile")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    paths = sorted((tmp_path / "hostile").iterdir())
    assert len(paths) == len(ATTACKS)
    for path in paths:
        with pytest.raises(ArtifactRejected), open_bundle(path) as bundle:
            check_whole(bundle)


def model(*graph: Field) -> bytes:
    opset = Field(8, BYTES, [Field(2, VARINT, 18)])
    return serialize([Field(1, VARINT, 9), opset, Field(7, BYTES, list(graph))])


def node(operator: str, *fields: Field) -> Field:
    return Field(1, BYTES, [Field(4, BYTES, operator.encode()), *fields])


def text(number: int, value: str) -> Field:
    return Field(number, BYTES, value.encode())


def chain(number: int) -> Field:
    return node("Relu", text(1, "input" if not number else f"n{number - 1}"), text(2, f"n{number}"))


FEW = MAX_FIELDS - 1000

GRAPHS: dict[str, Callable[[], bytes]] = {
    "nodes of nothing": lambda: model(*[Field(1, BYTES, [])] * FEW),
    "nodes in a chain": lambda: model(*map(chain, range(FEW // 4))),
    "attributes": lambda: model(node("Relu", *(Field(5, BYTES, [text(1, f"a{i}")]) for i in range(FEW // 2)))),
    "inputs": lambda: model(node("Relu", *(text(1, f"n{i}") for i in range(FEW)))),
    "values": lambda: model(*(Field(13, BYTES, [text(1, f"n{i}")]) for i in range(FEW // 2))),
    "constants": lambda: model(
        *(Field(5, BYTES, [text(8, f"n{i}"), Field(2, VARINT, 1), Field(1, VARINT, 0)]) for i in range(FEW // 4)),
    ),
    "numbers": lambda: model(node("Relu", Field(5, BYTES, [text(1, "a"), Field(8, BYTES, (b"\xff" * 9 + b"\x01") * FEW)]))),
    "wide letters": lambda: model(node("Relu", *(text(1, f"{'a' * 40}\U0001f600{i}") for i in range(MAX_TEXT_BYTES // 55)))),
    "one wide name": lambda: model(node("Relu", text(1, "a" * (MAX_TEXT_BYTES - 100) + "\U0001f600"))),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_at_the_limits(name: str, tmp_path: Path, memory_bounded: None) -> None:
    assert refused(tmp_path, "model.onnx", GRAPHS[name]())


def filled(unit: str, count: int, size: int) -> bytes:
    """A document with a long list, of `count` units or of `size` bytes, whichever is less."""
    return f'{{"golden":[{",".join([unit] * min(count, size // (len(unit) + 1)))}]}}'.encode()


@pytest.mark.parametrize(("member", "size"), [("manifest.json", MAX_MANIFEST_BYTES), ("report.json", MAX_REPORT_BYTES)])
@pytest.mark.parametrize(
    ("unit", "count"),
    [("[]", 49_000), ('{"a":0}', 49_000), ('"ab"', 149_000), ("[[]]", 1 << 30), ("{}", 1 << 30), ('"ab"', 1 << 30), ("9", 1 << 30)],
)
def test_json_of_many_values(unit: str, count: int, member: str, size: int, tmp_path: Path, memory_bounded: None) -> None:
    assert refused(tmp_path, member, filled(unit, count, size))


@pytest.mark.parametrize(("member", "size"), [("manifest.json", MAX_MANIFEST_BYTES), ("report.json", MAX_REPORT_BYTES)])
def test_json_of_one_wide_text_and_of_many_keys(member: str, size: int, tmp_path: Path, memory_bounded: None) -> None:
    assert refused(tmp_path, member, filled('"' + "a" * (size - 100) + '\U0001f600"', 1, size))
    assert refused(tmp_path, member, json.dumps({str(number): 0 for number in range(min(149_000, size // 12))}).encode())


def refused(folder: Path, member: str, content: bytes) -> bool:
    """Whether an artifact with this member, right in every other respect, is refused."""
    members = {**good_members(), member: content}
    path = folder / "hostile.edgecnn"
    path.write_bytes(archive(sorted_files(members if member == "manifest.json" else listed(members))))
    try:
        with open_bundle(path) as bundle:
            check_whole(bundle)
    except ArtifactRejected:
        return True
    return False

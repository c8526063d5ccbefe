"""No hostile artifact gets past the reader: each is refused by name, in one sentence, in little memory, for its own fault."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.codec import canonical_json
from edgecnn.artifact.graph import check_device_graph, read_graph
from edgecnn.artifact.pack import canonical_zip
from edgecnn.cli import main as cli_main
from edgecnn.device import trial
from edgecnn.errors import ArtifactRejected, GraphRejected, ManifestRejected
from tests.artifact.samples import pack_sample
from tests.attacks.bombs import REASONS as BOMB_REASONS
from tests.attacks.bombs import bomb, both, conv, ints, node, stated
from tests.attacks.make import ATTACKS, GRAPHS, MANIFESTS, NAMES, listed, main, members_of, sorted_files
from tests.attacks.make import archive as zip_of
from tests.fixtures.real_shapes import real_shapes


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m.edgecnn"
    pack_sample(path)
    return path.read_bytes()


def test_the_tools_of_the_attacks_make_good_artifacts_when_nothing_is_wrong(tmp_path: Path, good: bytes) -> None:
    """So what is refused below is refused for its fault, not for how it was made."""
    assert zip_of(sorted_files(members_of(good))) == good
    members = listed({**members_of(good), "golden/zz.bin": b"payload"})
    (tmp_path / "m.edgecnn").write_bytes(zip_of(sorted_files(members)))
    with open_bundle(tmp_path / "m.edgecnn") as bundle:
        bundle.verify()


def test_what_the_bombs_are_built_with_is_harmless_when_small(good: bytes) -> None:
    """So it is their size that is refused; and a runtime would make what they ask for."""
    small = bomb(node("Tile", "input times", "big"), times=ints(1, 1, 2, 2))
    pads, lies = conv(pads=[1, 1, 1, 1]), stated("relu", 1, 4, 8, 8)
    model = onnx.load_from_string(members_of(good)["model.onnx"])
    both(pads, lies, small)(model)
    data = model.SerializeToString()
    check_device_graph(read_graph(data))
    assert real_shapes(data, {"input": np.zeros((1, 3, 8, 8), np.float32)})["big"] == (1, 3, 16, 16)


def test_what_a_newer_writer_may_add_is_ignored(tmp_path: Path, good: bytes) -> None:
    """Fields that this version doesn't know, at every depth of the manifest and the report, don't make an artifact hostile."""
    members = members_of(good)
    manifest, report = (json.loads(members[name]) for name in ("manifest.json", "report.json"))
    for table in (manifest, manifest["spec"], manifest["spec"]["preprocess"], manifest["limits"], report, report["stages"][0], report["layers"][0]):
        table["made_with_love"] = {"since": [2027, None, "x"]}
    members |= {"manifest.json": canonical_json(manifest), "report.json": canonical_json(report)}
    (tmp_path / "m.edgecnn").write_bytes(b"".join(canonical_zip(listed(members))))
    with open_bundle(tmp_path / "m.edgecnn") as bundle:
        bundle.verify()
        assert bundle.manifest.spec.labels == ("cat", "dog", "plane")
        assert bundle.report().stages[0].name == "export"


REASONS = {
    **BOMB_REASONS,
    **{f"name-{index:02}": r"has a member named|both a member" for index in range(len(NAMES))},
    "symlink": "directory that edgecnn didn't write",
    "executable": "directory that edgecnn didn't write",
    "duplicate": "two members named",
    "unlisted": r"member 'golden/zz\.bin' that its manifest doesn't list",
    "missing": r"lacks the member 'report\.json'",
    "no-manifest": r"no member 'manifest\.json'",
    "reordered": "another order",
    "crowd": "105 members",
    "empty-file": "is empty",
    "compressed": "directory that edgecnn didn't write",
    "bomb": "directory that edgecnn didn't write",
    "prefixed": "doesn't begin as one does",
    "prefixed-and-shifted": "doesn't begin as one does",
    "data-before-directory": "data after its last member",
    "data-after-directory": "doesn't end as an artifact does",
    "data-between-members": "where its directory says",
    "overlapping": "where its directory says",
    "trailing-byte": "doesn't end as an artifact does",
    "trailing-archive": "doesn't end as an artifact does",
    "comment": "doesn't end as an artifact does",
    "cut-short": "doesn't end as an artifact does",
    "false-local-size": "header before 'manifest.json'",
    "false-local-compressed-size": "header before 'manifest.json'",
    "false-local-crc": "header before 'manifest.json'",
    "false-size": "directory that edgecnn didn't write|where its directory says",
    "false-compressed-size": "directory that edgecnn didn't write",
    "false-offset": "where its directory says",
    "false-count": "doesn't end as an artifact does|65535 members",
    "false-directory-size": "doesn't end as an artifact does",
    "huge-directory": "directory of 60000",
    "false-directory-offset": "doesn't end as an artifact does",
    "zip64-markers": "doesn't end as an artifact does",
    "encrypted-flag": "header before 'manifest.json'",
    "another-time": "header before 'manifest.json'",
    "swapped-content": "report.json isn't what was packed",
    "duplicate-key": "opset: the key stands there twice",
    "nan": "NaN",
    "deep": "nested too deeply|more than 50000 lists",
    "over-a-megabyte": "at most 1000000",
    "respelled": "isn't written as edgecnn writes it",
    "wrong-type": r"manifest\.opset: a whole number was wanted",
    "unknown-enum": "'detection' is none of",
    "std-0": "image_std must be positive",
    "short-mean": "image_mean has 2 values",
    "fewer-labels": "1 labels don't match",
    "more-labels": "4 labels don't match",
    "escape-sequence": "can't be printed",
    "no-licence": "'free as in beer' is no SPDX licence",
    "newer-format": "format 2, .* upgrade edgecnn",
    "newer-runtime": r"edgecnn 999\.0\.0 or newer, .* upgrade edgecnn",
    "false-member-size": "bytes as 'model.onnx', its manifest says 1",
    "false-digest": "model.onnx isn't what was packed",
    "missing-in-list": r"member 'report\.json' that its manifest doesn't list",
    "no-members": r"no member 'model\.onnx'",
    "gigabytes-in-list": "has a size of 1099511627776",
    "negative-size-in-list": "has a size of -1",
    "twice-in-list": "two members named 'model.onnx'",
    "too-many-in-list": "1004 members|members",
    "huge-input": "holds more than 67108864 numbers",
    "mean-infinite": "rescale_factor",
    "boolean-for-a-number": r"manifest\.ir_version: a whole number was wanted",
    "not-an-object": "breaks the rules",
    "not-utf-8": "can't decode byte 0xff",
    "empty": "breaks the rules",
    "external-initializer": "'stolen' in another file",
    "external-memory-address": "'stolen' in another file",
    "external-attribute": "'stolen' in another file",
    "external-sparse": "'stolen' in another file",
    "external-subgraph": "'stolen' in another file",
    "external-function": "'stolen' in another file",
    "external-in-a-branch": "'stolen' in another file",
    "external-sparse-attribute": "'stolen' in another file",
    "external-list-of-tensors": "'stolen' in another file",
    "external-training": "'stolen' in another file",
    "foreign-domain": r"domain 'evil\.ops'",
    "ep-context": "EPContext",
    "loop": "Loop",
    "nested": "nested more than",
    "unbounded-size": r"\[1, 3, h, 8\]",
    "another-opset": "opset 18, the graph has 19",
    "another-output": "output other is made by no node",
    "two-outputs": "one output, logits, the graph has 2",
    "ort-payload": r"\.ort format",
    "no-graph": "can't be read",
    "cut-graph": "can't be read",
    "two-graphs": "two graphs",
    "spec-with-more-labels": r"\[1, 4\], the graph has .* \[1, 3\]",
    "spec-with-another-size": r"\[1, 3, 64, 64\], the graph has .* \[1, 3, 8, 8\]",
}


def test_every_attack_is_expected_to_fail_for_a_reason() -> None:
    assert REASONS.keys() == ATTACKS.keys()


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_for_its_own_fault(tmp_path: Path, good: bytes, name: str) -> None:
    path = tmp_path / "hostile.edgecnn"
    path.write_bytes(ATTACKS[name](good))
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactRejected, match=REASONS[name]) as caught, open_bundle(path) as bundle:
            bundle.verify()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert caught.value.exit_code == 3
    assert peak < 50_000_000


COMMANDS = {
    "run": ["run", "FILE", "image.png"],
    "verify": ["verify", "FILE", "--deep"],
    "validate": ["validate", "FILE"],
    "inspect": ["inspect", "FILE"],
    "bench": ["bench", "FILE"],
    "install": ["store", "install", "FILE", "--store", "store"],
    "sign": ["sign", "FILE", "--key", "key.pem"],
    "card": ["card", "FILE"],
}
NOT_READ = {"run": {"swapped-content"}, "bench": {"swapped-content"}}
"""A report is nothing that these read."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it_before_a_runtime_sees_it(
    command: str, tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, with exit code 3, and nothing is left behind but an empty store's lock."""

    def never(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a runtime was given something")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    monkeypatch.setattr(trial, "run_limited", never)
    for name in ATTACKS.keys() - NOT_READ.get(command, set()):
        Path("hostile.edgecnn").write_bytes(ATTACKS[name](good))
        code = cli_main([{"FILE": "hostile.edgecnn"}.get(argument, argument) for argument in COMMANDS[command]])
        out, err = capsys.readouterr()
        assert (code, out) == (3, ""), (name, out, err)
        assert err.startswith("edgecnn: hostile.edgecnn"), (name, err)
        assert err.count("\n") == 1, (name, err)
    assert {path.name for path in tmp_path.rglob("*")} <= {"hostile.edgecnn", "store", ".lock"}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_hostile_graph_is_never_handed_out(tmp_path: Path, good: bytes, name: str) -> None:
    """Whoever reads model.onnx for a runtime gets an error, not the bytes."""
    path = tmp_path / "hostile.edgecnn"
    path.write_bytes(GRAPHS[name](good))
    with open_bundle(path) as bundle:
        with pytest.raises((GraphRejected, ManifestRejected)):
            bundle.read("model.onnx")
        with pytest.raises((GraphRejected, ManifestRejected)):
            bundle.check_graph()


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused_before_anything_is_read(tmp_path: Path, good: bytes, name: str) -> None:
    path = tmp_path / "hostile.edgecnn"
    path.write_bytes(MANIFESTS[name](good))
    if name == "false-digest":  # only reading the member can tell
        with open_bundle(path) as bundle, pytest.raises(ArtifactRejected):
            bundle.read("model.onnx")
    else:
        with pytest.raises(ArtifactRejected):
            open_bundle(path)


def _verifies(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        with open_bundle(path) as bundle:
            bundle.verify()
    except ArtifactRejected:
        return False
    return True


def test_a_changed_header_byte_is_noticed_at_opening(tmp_path: Path, good: bytes) -> None:
    """Everything that is no member's content, bit by bit, without reading a member."""
    _, size, offset = (int.from_bytes(good[a:b], "little") for a, b in ((-12, -10), (-10, -6), (-6, -2)))
    path = tmp_path / "m.edgecnn"
    for at in [*range(43), *range(offset, offset + size, 3), *range(len(good) - 22, len(good))]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with pytest.raises(ArtifactRejected):
            open_bundle(path)


def test_a_missing_an_added_and_two_swapped_bytes_are_noticed(tmp_path: Path, good: bytes) -> None:
    path, draw = tmp_path / "m.edgecnn", random.Random(4)
    for at in draw.sample(range(len(good) - 1), 60):
        assert not _verifies(path, good[:at] + good[at + 1 :])
        assert not _verifies(path, good[:at] + b"\0" + good[at:])
        if good[at] != good[at + 1]:
            assert not _verifies(path, good[:at] + good[at + 1 : at + 2] + good[at : at + 1] + good[at + 2 :])


def test_the_script_writes_a_file_for_each(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "good.edgecnn").write_bytes(good)
    main(str(tmp_path / "good.edgecnn"), str(tmp_path / "hostile"))
    assert {path.stem for path in (tmp_path / "hostile").iterdir()} == ATTACKS.keys()

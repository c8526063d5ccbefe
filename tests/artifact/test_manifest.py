"""The manifest: what it may say, and what a device answers to one that says something else."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgecnn
from edgecnn.artifact.codec import canonical_json
from edgecnn.artifact.manifest import FORMAT_VERSION, MIN_RUNTIME_VERSION, DeviceLimits, Manifest, Member, Report
from edgecnn.artifact.records import Layer
from edgecnn.artifact.spec import Preprocess
from edgecnn.errors import ManifestRejected
from tests.artifact.samples import LIMITS, pack_sample, report, spec
from tests.fixtures.graphs import tiny_classifier


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return pack_sample(tmp_path_factory.mktemp("manifest") / "m.edgecnn")


@pytest.fixture
def document(manifest: Manifest) -> dict[str, Any]:
    """The manifest's JSON, to be changed."""
    found: dict[str, Any] = json.loads(manifest.to_json())
    return found


def read(document: Any) -> Manifest:
    return Manifest.from_json(canonical_json(document))


def test_it_travels_whole(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.format_version == FORMAT_VERSION
    assert manifest.min_runtime_version == MIN_RUNTIME_VERSION
    assert manifest.validated


def test_each_fact_stands_once(manifest: Manifest) -> None:
    text = manifest.to_json().decode()
    assert text.count('"dog"') == 1
    assert "stages" not in text
    assert "layers" not in text


def test_a_verdict_is_derived_from_the_evidence(document: dict[str, Any]) -> None:
    assert "validated" not in document
    assert not read({**document, "forced": True}).validated
    assert not read({key: value for key, value in document.items() if key != "parity"}).validated
    assert not read({**document, "parity": {**document["parity"], "graph_sha256": "0" * 64}}).validated
    assert not read({**document, "parity": {**document["parity"], "agreeing": 0}}).validated
    assert read(document).validated


def test_unknown_fields_are_ignored(document: dict[str, Any], manifest: Manifest) -> None:
    document["hologram"] = {"deep": [1, {"x": None}]}
    document["spec"]["preprocess"]["gamma"] = 2.2
    assert read(document) == manifest


@pytest.mark.parametrize(
    "change", [{"format_version": 2}, {"format_version": 10**30}, {"min_runtime_version": "999.0"}, {"min_runtime_version": "1.0.0"}]
)
def test_a_newer_format_asks_for_an_upgrade_whatever_else_it_says(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestRejected, match="upgrade edgecnn"):
        read({**change, "everything": "is different"})


@pytest.mark.parametrize(
    ("version", "wanted", "accepted"), [("0.1.0", "0.1", True), ("0.10.0", "0.9.1", True), ("0.2.0.dev3", "0.2.0", True), ("0.1.9", "0.1.10", False)]
)
def test_versions_are_compared_as_numbers(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, version: str, wanted: str, accepted: bool
) -> None:
    monkeypatch.setattr(edgecnn, "__version__", version)
    document["min_runtime_version"] = wanted
    if accepted:
        assert read(document).min_runtime_version == wanted
    else:
        with pytest.raises(ManifestRejected, match="upgrade edgecnn"):
            read(document)


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`document` with another value at a dotted path."""
    *outer, last = path.split(".")
    place: Any = document
    for key in outer:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return document


WRONG: dict[str, tuple[str, Any, str]] = {
    "an older format": ("format_version", 0, "format_version is 0"),
    "a format that is no number": ("format_version", "1", r"manifest\.format_version: a whole number was wanted"),
    "a version in words": ("min_runtime_version", "soon", "must be like"),
    "an unknown quantization": ("quantization", "int3", "'int3' is none of none, dynamic, int8, fp16"),
    "std of 0": ("spec.preprocess.image_std", [1.0, 0.0, 1.0], "image_std must be positive"),
    "a mean too short": ("spec.preprocess.image_mean", [0.5], "image_mean has 1 values"),
    "a mean that float32 can't hold": ("spec.preprocess.image_mean", [1e300, 0.0, 0.0], "float32 can't hold"),
    "a std that float32 can't hold": ("spec.preprocess.image_std", [1e-300, 1.0, 1.0], "float32 can't hold"),
    "fewer labels": ("spec.labels", ["cat", "dog"], "2 labels don't match"),
    "more labels": ("spec.labels", ["cat", "dog", "plane", "fish"], "4 labels don't match"),
    "a label that moves the cursor": ("spec.labels", ["cat", "dog", "\x1b[31m"], "printable"),
    "a tool that moves the cursor": ("tools.onnx", "\x1b[2J", "can't be printed"),
    "a tensor name that moves the cursor": ("spec.input.name", "\x9b31m", "can't be printed"),
    "a batch that fills the machine": ("spec.input.shape", [10**9, 3, 8, 8], "same batch|more than"),
    "no members": ("members", [], "no member 'model.onnx'"),
    "members in another order": ("members.0.name", "zzz", "no member 'model.onnx'|another order"),
    "a member outside": ("members.1.name", "../x", r"named '\.\./x'"),
    "a member twice": ("members.1.name", "golden/inputs.npy", "two members"),
    "a file that is also a folder": ("members.1.name", "golden", "one inside it"),
    "a member that lists the manifest": ("members.1.name", "manifest.json", "two members"),
    "a negative size": ("members.0.size", -1, "size of -1"),
    "a size beyond the cap": ("members.0.size", 1 << 40, "size of"),
    "a digest in capitals": ("members.0.sha256", "A" * 64, "hexadecimal"),
    "a digest cut short": ("members.0.sha256", "a" * 63, "hexadecimal"),
    "an opset of 0": ("opset", 0, "opset 0"),
    "an absurd ir_version": ("ir_version", 1 << 70, "ir_version"),
    "limits that ask for nothing": ("limits.reference", {}, "prove nothing"),
    "a negative limit": ("limits.outputs_atol", -1e-4, "outputs_atol must be 0 or more"),
    "forced that is no yes or no": ("forced", 1, "true or false"),
}


@pytest.mark.parametrize(("path", "value", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_manifest_that_breaks_the_rules_is_refused_in_one_sentence(document: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(ManifestRejected, match=message) as caught:
        read(put(document, path, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_batch_that_fills_the_machine_is_refused_on_both_sides(document: dict[str, Any]) -> None:
    put(document, "spec.input.shape", [10**9, 3, 8, 8])
    put(document, "spec.output.shape", [10**9, 3])
    with pytest.raises(ManifestRejected, match="holds more than"):
        read(document)


def test_65_members_are_refused(document: dict[str, Any]) -> None:
    document["members"] = [document["members"][0], *({**document["members"][0], "name": f"x{i:02}"} for i in range(63))]
    with pytest.raises(ManifestRejected, match="65 members"):
        read(document)


RAW: dict[str, tuple[bytes, str]] = {
    "duplicate keys": (b'{\n  "opset": 1,\n  "opset": 2\n}\n', "opset: the key stands there twice"),
    "NaN": (b'{\n  "opset": NaN\n}\n', "NaN"),
    "100,000 levels": (b"[" * 100_000, "nested too deeply"),
    "900 levels where a table was wanted": (b'{"spec": ' + b"[" * 900 + b"]" * 900 + b"}", "table was wanted|nested too deeply|is missing"),
    "nothing": (b"", "no JSON"),
    "a list": (b"[]\n", "a table was wanted"),
    "a megabyte and more": (b"{" + b" " * 1_000_000, "at most 1000000"),
    "a number of 10,000 digits": (b'{\n  "format_version": ' + b"9" * 10_000 + b"\n}\n", "breaks the rules"),
}


@pytest.mark.parametrize(("data", "message"), RAW.values(), ids=RAW.keys())
def test_json_that_is_out_of_bounds_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ManifestRejected, match=message):
        Manifest.from_json(data)


def test_another_spelling_of_the_same_manifest_is_refused(document: dict[str, Any], manifest: Manifest) -> None:
    good = manifest.to_json()
    spellings = [
        json.dumps(document).encode(),
        good.rstrip(),
        good + b"\n",
        good.replace(b'"opset": 18', b'"opset":  18'),
        good.replace(b'"tiny"', b'"t\\u0069ny"'),
        good.replace(b"0.0001", b"1e-4"),
    ]
    for data in spellings:
        assert json.loads(data) == document
        with pytest.raises(ManifestRejected, match="isn't written as edgecnn writes it"):
            Manifest.from_json(data)


@pytest.mark.parametrize("levels", [1, 50, 300, 600, 690])
def test_an_unknown_field_of_any_depth_is_ignored_or_refused(manifest: Manifest, levels: int) -> None:
    indents = ["  " * level for level in range(1, levels + 1)]
    nested = "[" + "".join(f"\n{indent}  [" for indent in indents) + "]" + "".join(f"\n{indent}]" for indent in reversed(indents))
    data = manifest.to_json().replace(b"{\n", b'{\n  "a": ' + nested.encode() + b",\n", 1)
    found = None
    with contextlib.suppress(ManifestRejected):
        found = Manifest.from_json(data)
    assert found in ((manifest,) if levels <= 50 else (manifest, None))


def test_half_a_character_is_refused(manifest: Manifest) -> None:
    with pytest.raises(ManifestRejected):
        Manifest.from_json(manifest.to_json().replace(b'"Apache-2.0"', b'"\\ud800"'))


WEIGHTY = {
    "empty lists": b"[" + b"[]," * 330_000 + b"0]",
    "small tables": b"[" + b'{"":0},' * 140_000 + b"0]",
    "numbers": b"[" + b"1," * 490_000 + b"0]",
    "texts": b"[" + b'"\xf0\x9f\x98\x80",' * 140_000 + b"0]",
}


@pytest.mark.parametrize("extra", WEIGHTY.values(), ids=WEIGHTY.keys())
def test_a_small_manifest_does_not_take_much_memory(manifest: Manifest, extra: bytes) -> None:
    data = manifest.to_json().replace(b'{\n  "edgecnn_version"', b'{\n  "a": ' + extra + b',\n  "edgecnn_version"', 1)
    assert len(data) <= 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ManifestRejected):
            Manifest.from_json(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


@given(st.data())
def test_any_value_anywhere_is_read_or_refused(manifest: Manifest, data: st.DataObject) -> None:
    document: Any = json.loads(manifest.to_json())
    place, keys = document, []
    while isinstance(place, (dict, list)) and place and (not keys or data.draw(st.booleans())):
        keys.append(data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))))
        place = place[keys[-1]]
    target = document
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([1, "x"]))
    try:
        written = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        found = Manifest.from_json(written)
    except ManifestRejected:
        return
    assert Manifest.from_json(found.to_json()) == found


def test_records_refuse_what_a_manifest_would() -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        Member(name="x", size=1, sha256="")
    with pytest.raises(ValueError, match="outputs_atol"):
        DeviceLimits(outputs_atol=float("nan"), reference=LIMITS)


def test_a_member_that_is_not_there_is_named(manifest: Manifest) -> None:
    assert manifest.member("model.onnx").size == len(tiny_classifier())
    with pytest.raises(ManifestRejected, match=r"no member 'x\.bin'; it has model\.onnx"):
        manifest.member("x.bin")


def test_the_report_travels_whole() -> None:
    found = report(tiny_classifier())
    assert Report.from_json(found.to_json()) == found
    assert [layer.operator for layer in found.layers] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert Report(stages=(), layers=()).golden == ()


def test_a_layer_without_known_shapes_travels_too() -> None:
    found = Report(stages=(), layers=(Layer(name="a", operator="Conv"), Layer(name="b", operator="Relu", output_shape=("?", 3))))
    assert Report.from_json(found.to_json()) == found


@pytest.mark.parametrize("data", [b"", b"[]\n", b'{\n  "layers": [],\n  "stages": 3\n}\n', b'{"layers": [], "stages": []}'])
def test_a_report_that_breaks_the_rules_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestRejected, match=r"report\.json"):
        Report.from_json(data)


def test_a_large_size_of_many_pixels_is_still_a_model(tmp_path: Path) -> None:
    big = spec(preprocess=Preprocess(size=(2048, 2048)))
    pack_sample(tmp_path / "m.edgecnn", spec=big, model=tiny_classifier(size=2048))


@pytest.mark.parametrize("field", ["name", "version"])
def test_a_refusal_stays_a_sentence_however_long_the_text_that_it_quotes(document: dict[str, Any], field: str) -> None:
    document["spec"][field] = "1." * 400_000
    with pytest.raises(ManifestRejected, match=field) as caught:
        read(document)
    assert len(str(caught.value)) < 1000

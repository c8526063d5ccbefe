"""`edgecnn inspect`: what an artifact or a bare graph holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, external_data_helper

from edgecnn import __version__
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.cli import main
from tests.fixtures.artifacts import color_artifact, manifest_of, tiny_artifact
from tests.fixtures.graphs import tiny_classifier


def inspect(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    assert main(["inspect", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def inspect_json(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert main(["inspect", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert (err, out.count("\n")) == ("", 1)
    return json.loads(out)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact(tmp_path / "tiny.edgecnn")


def test_the_text_tells_all_that_matters(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(inspect(capsys, artifact).split())
    for fact in (
        "model tiny 1.0.0, sequence 0",
        f"{artifact.stat().st_size:,} bytes",
        "single-label, softmax, 3 labels: cat, dog, plane",
        "input float32 [1, 3, 8, 8]",
        "logits float32 [1, 3]",
        "RGB, stretch to 8 x 8 (height x width), bilinear",
        "mean (0, 0, 0), std (1, 1, 1)",
        "quantization none, opset 18, IR 9",
        "passed against the source network",
        "2 of 2 decisions agree (100.00%)",
        "model Apache-2.0",
        "data CC0-1.0",
        f"edgecnn {__version__}, onnx 1.0.0",
        "torch 2.13.0",
        "/conv/Conv Conv",
        "model.onnx",
        "golden/00.png",
    ):
        assert fact in said


def test_json_has_the_same_facts_with_verdicts(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspect_json(capsys, artifact)
    assert (told["schema"], told["kind"], told["bytes"], told["validated"]) == (1, "artifact", artifact.stat().st_size, True)
    assert told["spec"]["labels"] == ["cat", "dog", "plane"]
    assert told["spec"]["preprocess"]["size"] == [8, 8]
    assert (told["parity"]["passed"], told["parity"]["agreement"], told["parity"]["failures"]) == (True, 1.0, [])
    assert [stage["name"] for stage in told["stages"]] == ["export"]
    assert told["stages"][0]["against_source"]["passed"] is True
    assert told["members"][0]["sha256"] == manifest_of(artifact).member("model.onnx").sha256


def test_totals_are_the_sums_of_the_layers(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspect_json(capsys, artifact)
    # 4 filters of 3 x 3 x 3 and a bias, 3 x 4 weights and a bias
    assert told["totals"]["parameters"] == sum(layer["parameters"] for layer in told["layers"]) == 4 * 27 + 4 + 3 * 4 + 3
    assert told["totals"]["bytes"] == 4 * told["totals"]["parameters"]
    assert told["totals"]["layers"] == len(told["layers"]) == 5


def test_macs_that_cannot_be_told_make_the_total_a_lower_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_classifier())
    known = tmp_path / "known.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), known)
    without, told = inspect_json(capsys, path)["totals"], inspect_json(capsys, known)["totals"]
    # the convolution's 4 filters at 8 x 8 places
    assert (told["macs"], told["macs_unknown"]) == (8 * 8 * 4 * 27 + 12, 0)
    assert (without["macs"] < told["macs"]) == (without["macs_unknown"] > 0)
    assert (">= " in inspect(capsys, path)) == (without["macs_unknown"] > 0)
    assert ">= " not in inspect(capsys, known)
    assert "1x4x8x8" in inspect(capsys, known)


def test_columns_line_up(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = inspect(capsys, artifact).splitlines()
    start = lines.index("Layers") + 1
    table = lines[start : lines.index("", start)]
    assert len(table) == 7
    assert len({len(line) for line in table}) == 1  # the last column is flush right
    assert len({line.rindex(" ") for line in table if line.endswith("0")}) <= 2


def test_many_labels_are_not_all_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec(name="many", labels=tuple(f"label{i}" for i in range(1000)), preprocess=Preprocess(size=(8, 8)))
    said = inspect(capsys, tiny_artifact(tmp_path / "many.edgecnn", spec=spec))
    assert "1000 labels: label0, " in said
    assert "and 988 more" in said
    assert "label999" not in said


def test_a_multi_label_model_s_thresholds_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = color_artifact(tmp_path / "several.edgecnn", task="multi-label", thresholds=(0.25, 0.5, 0.75))
    assert "0.25, 0.5, 0.75" in inspect(capsys, path)


def test_an_artifact_packed_by_force_is_not_called_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = color_artifact(tmp_path / "forced.edgecnn", force=True)
    assert "NOT PROVED: packed by force" in inspect(capsys, path)
    assert inspect_json(capsys, path)["validated"] is False


def test_every_byte_of_an_artifact_is_verified(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(artifact.read_bytes())
    data[data.index(b"\x93NUMPY") + 200] ^= 1
    artifact.write_bytes(data)
    assert main(["inspect", str(artifact)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "altered" in err


# A bare graph


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_classifier(batch="batch"))
    return path


def test_a_bare_graph_is_told_too(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(inspect(capsys, bare).split())
    for fact in ("IR 9, opset 18", "input float32 [batch, 3, 8, 8]", "logits float32 [batch, 3]", "1 Conv", "take this graph", "edgecnn-tests"):
        assert fact in said
    told = inspect_json(capsys, bare)
    assert (told["kind"], told["nodes"], told["operators"]["Relu"], told["refused_by_devices"]) == ("onnx", 5, 1, None)
    assert told["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch", 3, 8, 8]}]


def test_what_devices_refuse_is_said(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(bare)
    model.graph.node[1].domain = "org.example"
    model.opset_import.append(onnx.helper.make_opsetid("org.example", 1))
    bare.write_bytes(model.SerializeToString())
    assert "org.example" in inspect_json(capsys, bare)["refused_by_devices"]
    assert "devices" in inspect(capsys, bare)


def test_weights_in_another_file_are_named_and_not_read(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(bare)
    weight = model.graph.initializer[0]
    external_data_helper.set_external_data(weight, "../../etc/passwd")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    bare.write_bytes(model.SerializeToString())
    told = inspect_json(capsys, bare)
    assert told["external"] == [weight.name]
    assert "another file" in told["refused_by_devices"]


def test_texts_in_a_graph_cannot_act_on_the_terminal(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(bare)
    onnx.helper.set_model_props(model, {"key": "value\x1b[2J"})
    bare.write_bytes(model.SerializeToString())
    said = inspect(capsys, bare)
    assert "\x1b" not in said
    assert "value\\x1b[2J" in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.onnx", b"no graph at all", "a.onnx"),
        ("a.onnx", b"", "a.onnx"),
        ("a.edgecnn", b"no artifact", "is no .edgecnn file"),
        ("a.edgecnn", tiny_classifier(), "bare ONNX graph"),
    ],
)
def test_what_is_neither_is_refused(name: str, data: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert main(["inspect", str(path)]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@pytest.mark.parametrize("name", ["nowhere.onnx", "nowhere.edgecnn"])
def test_a_missing_file_is_said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / name)]) == 3
    assert f"{name} doesn't exist" in capsys.readouterr().err


def test_a_folder_is_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    assert main(["inspect", str(folder)]) == 3
    assert "it is a folder" in capsys.readouterr().err

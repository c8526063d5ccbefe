"""`edgecnn diff`: what changed between two models, for people, for programs and for CI."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.manifest import Report
from edgecnn.artifact.records import ParityLimits
from edgecnn.artifact.spec import Preprocess
from edgecnn.cli import main
from tests.fixtures.artifacts import COLORS, color_artifact, color_spec, solid, tiny_artifact
from tests.fixtures.artifacts import encode as encoded
from tests.fixtures.graphs import color_classifier, tiny_classifier
from tests.fixtures.repack import repacked
from tests.fixtures.signing import make_keys, sign_anything

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def old() -> Path:
    return color_artifact(Path("old.edgecnn"))


@pytest.fixture
def photos() -> Path:
    """Three pictures of each colour."""
    for color in COLORS:
        Path("photos", color).mkdir(parents=True)
        for at in range(3):
            Path("photos", color, f"{at}.png").write_bytes(encoded(solid(color)))
    return Path("photos")


def diff(*arguments: object, code: int = 0) -> None:
    assert main(["diff", *map(str, arguments), "--threads", "1"]) == code


def facts(capsys: Captured, *arguments: object, code: int = 0) -> dict[str, Any]:
    diff(*arguments, "--json", code=code)
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == 1
    return found


def made(name: str, *, model: bytes | None = None, **changes: Any) -> Path:
    """An artifact of the colours whose spec has these changes."""
    spec = replace(color_spec(8), **changes)
    return tiny_artifact(Path(name), spec=spec, model=model or color_classifier(spec.preprocess.input_size))


# Each kind of change, made for real, and nothing else is found

BGR = Preprocess(size=(8, 8), channels="BGR", interpolation="bicubic")
COUNTED: dict[str, tuple[Callable[[str], Path], tuple[str, ...]]] = {
    "preprocessing": (lambda name: made(name, preprocess=BGR), ("preprocess",)),
    "labels": (lambda name: made(name, labels=("red", "blue", "green")), ("labels",)),
    "task": (
        lambda name: tiny_artifact(Path(name), spec=color_spec(8, task="multi-label"), model=color_classifier(8)),
        ("task",),
    ),
    "graph": (lambda name: color_artifact(Path(name), batch="batch"), ("graph",)),
    "weights": (lambda name: made(name, model=color_classifier(8, scale=11.0)), ("weights",)),
    "everything": (lambda name: tiny_artifact(Path(name)), ("labels", "graph", "weights")),
}


@pytest.mark.parametrize("what", COUNTED)
def test_a_change_that_matters_is_found_alone(what: str, old: Path, capsys: Captured) -> None:
    make, sections = COUNTED[what]
    new = make("new.edgecnn")
    found = facts(capsys, old, new)
    assert tuple(found["differing"]) == sections
    diff(old, new, "--exit-code", code=1)
    diff(old, new, "--exit-code", *(word for section in sections for word in ("--ignore", section)))
    text = capsys.readouterr().out
    assert found["verdict"] in text


UNCOUNTED: dict[str, Callable[[Path], Path]] = {
    "release": lambda _: made("new.edgecnn", version="2.0.0", sequence=9),
    "proof": lambda old: repacked(old, {}, reference=ParityLimits(atol=1e-3, rtol=1e-5, min_agreement=1.0)),
    "provenance": lambda old: repacked(old, {"report.json": _other_stage(old)}),
}


def _other_stage(artifact: Path) -> bytes:
    with open_bundle(artifact) as bundle:
        report = bundle.report()
    stage = replace(report.stages[0], configuration={"opset": 18, "calibration_sha256": "0" * 64}, tools={"torch": "2.14.0"})
    return Report(stages=(stage,), layers=report.layers, golden=report.golden).to_json()


@pytest.mark.parametrize("what", UNCOUNTED)
def test_a_change_that_changes_no_answer_is_told_and_does_not_count(what: str, old: Path, capsys: Captured) -> None:
    found = facts(capsys, old, UNCOUNTED[what](old), "--exit-code")
    assert found["differing"] == []
    assert [name for name in ("release", "proof", "provenance") if found[name]] == [what]
    assert not found["identical"]


def test_a_model_packed_by_force_is_told(old: Path, capsys: Captured) -> None:
    found = facts(capsys, old, color_artifact(Path("forced.edgecnn"), force=True), "--exit-code")
    assert {"what": "validated", "a": True, "b": False} in found["proof"]


def test_a_file_and_itself(old: Path, photos: Path, capsys: Captured) -> None:
    Path("copy.edgecnn").write_bytes(old.read_bytes())
    for other in ("old.edgecnn", "copy.edgecnn"):
        diff(old, other, "--data", photos, "--bench", "--exit-code")
        assert capsys.readouterr() == (f"old.edgecnn and {other} are the same, byte for byte.\n", "")
    found = facts(capsys, old, "copy.edgecnn")
    assert (found["identical"], found["differing"]) == (True, [])


# Answers


def test_both_decide_the_same_images(old: Path, photos: Path, capsys: Captured) -> None:
    new = made("new.edgecnn", labels=("red", "blue", "green"))
    found = facts(capsys, old, new, "--data", photos)
    answers = found["answers"]
    assert (answers["images"], answers["agreeing"], answers["right_a"], answers["right_b"]) == (9, 3, 9, 3)
    assert (answers["difference"]["only_a"], answers["difference"]["only_b"], answers["kinds"]) == (6, 0, {"lost": 6})
    assert answers["p_value"] == pytest.approx(2 / 2**6)
    assert {row["name"] for row in answers["shown"]} == {f"{color}/{at}.png" for color in ("blue", "green") for at in range(3)}
    diff(old, new, "--data", photos, "--show", "4")
    out = capsys.readouterr().out
    assert "3 of 9 images of photos are decided alike (33.33 %)" in out
    assert out.count("only A is right") == 4
    assert "and 2 more that they part on" in out


def test_answers_count_where_all_else_may_be_ignored(old: Path, photos: Path) -> None:
    new = made("new.edgecnn", model=color_classifier(8, scale=11.0))
    diff(old, new, "--data", photos, "--exit-code", "--ignore", "weights")
    wrong = made("wrong.edgecnn", model=color_classifier(8, scale=-11.0))
    diff(old, wrong, "--data", photos, "--exit-code", "--ignore", "weights", code=1)


def test_a_bare_graph_beside_an_artifact(old: Path, photos: Path, capsys: Captured) -> None:
    Path("net.onnx").write_bytes(color_classifier(8))
    diff("net.onnx", old, "--data", photos, "--exit-code")
    out, err = capsys.readouterr()
    assert "Not compared, for A is a bare .onnx: preprocessing, labels and task." in out
    assert "9 of 9 images" in out
    assert err == "edgecnn: note: A, net.onnx, states no preprocessing and no labels; the other's are taken.\n"


def test_two_bare_graphs_have_no_labels_to_decide_by(photos: Path, capsys: Captured) -> None:
    for at, name in enumerate(("a.onnx", "b.onnx")):
        Path(name).write_bytes(tiny_classifier(3, seed=at))
    diff("a.onnx", "b.onnx", "--exit-code", code=1)
    capsys.readouterr()
    diff("a.onnx", "b.onnx", "--data", photos, code=2)
    assert "--data needs labels and preprocessing" in capsys.readouterr().err


def test_names_in_the_store(old: Path, capsys: Captured) -> None:
    for version, at in (("1.0.0", 1), ("2.0.0", 2)):
        artifact = made(f"v{at}.edgecnn", version=version, sequence=at, model=color_classifier(8, scale=10.0 + at))
        assert main(["store", "install", str(artifact), "--store", "store"]) == 0
    capsys.readouterr()
    found = facts(capsys, "colors@1.0.0", "colors", "--store", "store")
    assert found["differing"] == ["weights"]
    assert [change["what"] for change in found["release"]] == ["version", "sequence"]
    # an installed version is the file that it was installed from
    assert facts(capsys, "colors@2.0.0", "v2.edgecnn", "--store", "store")["identical"]


# Latency


def test_both_are_timed_in_turn(old: Path, capsys: Captured) -> None:
    new = color_artifact(Path("new.edgecnn"), size=16)
    found = facts(capsys, old, new, "--bench", "--min-seconds", "0.1")
    assert [report["file"] for report in found["latency"]] == ["old.edgecnn", "new.edgecnn"]
    assert all(len(report["samples_ns"]) >= 100 for report in found["latency"])
    diff(old, new, "--bench", "--min-seconds", "0.1", "--exit-code", "--ignore", "graph", "--ignore", "preprocess")
    assert "95 % intervals of the median" in capsys.readouterr().out


# Where it goes


def test_a_page_with_pictures(old: Path, photos: Path, capsys: Captured) -> None:
    diff(old, made("new.edgecnn", labels=("red", "blue", "green")), "--data", photos, "-o", "diff.html")
    assert capsys.readouterr().out == f"diff.html, {Path('diff.html').stat().st_size:,} bytes\n"
    page = Path("diff.html").read_text()
    assert page.count("<img ") == 6
    assert "green/0.png" in page


def test_the_form_goes_by_the_file_s_end(old: Path) -> None:
    new = made("new.edgecnn", version="2")
    diff(old, new, "-o", "diff.json")
    assert json.loads(Path("diff.json").read_text())["schema"] == 1
    diff(old, new, "-o", "diff.txt")
    assert Path("diff.txt").read_text().startswith("A  old.edgecnn: colors 1.0.0, float32")


def test_a_page_is_not_poured_over_a_terminal(old: Path) -> None:
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn", "diff", str(old), str(old), "--format", "html"], stdout=follower, stderr=subprocess.PIPE, text=True
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert "give -o diff.html" in done.stderr


# Refusals


def damaged(old: Path, name: str) -> Path:
    whole = old.read_bytes()
    place = whole.index(b"golden/outputs.npy") + 150
    path = Path(name)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    return path


@pytest.mark.parametrize("first", [True, False])
def test_a_flipped_bit_is_refused_on_either_side(first: bool, old: Path, capsys: Captured) -> None:
    bad = damaged(old, "bad.edgecnn")
    diff(*((bad, old) if first else (old, bad)), code=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgecnn: bad.edgecnn was altered or damaged")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.edgecnn", None, "gone.edgecnn doesn't exist"),
        ("gone.onnx", None, "gone.onnx doesn't exist"),
        ("gone", None, "there is no file gone"),
        ("cut.onnx", color_classifier(8)[:-40], "cut.onnx: The ONNX graph can't be read"),
        ("no.onnx", b"", "no.onnx: The ONNX graph can't be read"),
        ("no.edgecnn", b"PK\x03\x04 no", "no.edgecnn"),
    ],
)
def test_what_can_not_be_read_is_named(name: str, content: bytes | None, said: str, old: Path, capsys: Captured) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    diff(old, name, "--store", "store", code=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_a_graph_that_no_device_runs_is_compared_but_not_run(old: Path, photos: Path, capsys: Captured) -> None:
    import onnx

    proto = onnx.load_from_string(color_classifier(8))
    node = proto.graph.node.add(op_type="Mystery", domain="com.example", name="mystery", input=["logits"])
    node.output.append("more")
    proto.opset_import.add(domain="com.example", version=1)
    Path("strange.onnx").write_bytes(proto.SerializeToString())
    found = facts(capsys, old, "strange.onnx")
    assert [layer["operator"] for layer in found["graph"]["added"]] == ["com.example:Mystery"]
    diff(old, "strange.onnx", "--data", photos, code=3)
    assert "com.example" in capsys.readouterr().err


def test_numbers_that_json_lacks_are_words(old: Path, capsys: Captured) -> None:
    import numpy as np
    import onnx

    proto = onnx.load_from_string(color_classifier(8))
    proto.graph.node[-1].attribute.append(onnx.helper.make_attribute("alpha", float("nan")))
    bias = next(entry for entry in proto.graph.initializer if entry.name == "fc.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.float32([np.inf, 0, 0]), "fc.bias"))
    Path("nan.onnx").write_bytes(proto.SerializeToString())
    found = facts(capsys, old, "nan.onnx", "--exit-code", code=1)
    assert {"what": "alpha", "a": None, "b": "nan"} in found["graph"]["changed"][0]["changes"]
    assert [(row["tensor"], row["relative"]) for row in found["weights"]["rows"]] == [("bias", None)]
    diff(old, "nan.onnx")
    assert "not finite" in capsys.readouterr().out


def test_ignore_is_for_the_exit_code(old: Path, capsys: Captured) -> None:
    diff(old, old, "--ignore", "weights", code=2)
    assert "give both or none" in capsys.readouterr().err


def test_a_name_cannot_act_on_the_terminal(old: Path, capsys: Captured) -> None:
    name = "\x1b[2Jnew.edgecnn"
    made(name, version="2")
    diff(old, name)
    assert "\x1b" not in capsys.readouterr().out


def test_where_a_signature_is_required_both_need_one(old: Path, capsys: Captured) -> None:
    keys = make_keys(Path())
    sign_anything(old, keys)
    diff(old, old, "--key", keys.public)
    for other in (made("new.edgecnn"), Path("net.onnx")):
        Path("net.onnx").write_bytes(color_classifier(8))
        diff(old, other, "--key", keys.public, code=3)
        assert f"{other} has no signature" in capsys.readouterr().err

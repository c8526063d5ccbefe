"""`edgecnn blame`: the verdict first, tables for people, JSON for programs, and an exit code that says whether a stage falls short."""

from __future__ import annotations

import json
import re
import signal
from contextlib import contextmanager

import pytest

from edgecnn.build import pipeline
from edgecnn.build.blame import rebuilt
from edgecnn.build.simplify import Simplified
from edgecnn.cli import main
from tests.bad_input.test_extras import without
from tests.fixtures.onnx_nets import COLORS, color_folder, color_net


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blame")
    (folder / "net.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 60, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        for module in (pipeline, rebuilt):  # without onnxsim's child, which takes seconds
            patch.setattr(module, "simplify", lambda model, **_: Simplified(model=model))
        for name, preprocess in (("good", "size=16x16"), ("bgr", "size=16x16,channels=BGR")):
            given = {"labels": COLORS, "preprocess": preprocess, "calibration": folder / "some", "validation": folder / "others"}
            pipeline.export(folder / "net.onnx", output=folder / f"{name}.edgecnn", quantize="int8", force=True, **given)
        yield folder


def run(place, *options, file="good", preprocess=("--preprocess", "size=16x16")):
    arguments = [str(place / f"{file}.edgecnn"), "--reference", str(place / "net.onnx"), *preprocess, *options]
    return main(["blame", *arguments])


def images(place):
    return ["--data", str(place / "others"), "--calibration", str(place / "some")]


def test_the_verdict_comes_first_and_a_row_a_stage_follows(place, capsys):
    assert run(place, *images(place), "--images", "20") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"no stage of {place}/good.edgecnn falls short of its limits: it decides 20 of 20 images as its network does, ")
    assert lines[2] == "by stage, against the source network, on 20 images of --data:"
    assert [line.split()[0] for line in lines[3:10]] == ["stage", "preprocessing", "export", "simplify", "quantize", "optimized", "packaged"]
    assert re.fullmatch(
        r"quantize +rebuilt alike +[\d.e-]+ +[\d.e-]+ +\d\d\.\d dB +0\.\d{6} +20 of 20 +[\d.e-]+ .* 98 % alike, 15 dB +pass", lines[7]
    )
    assert "\x1b" not in captured.out


def test_layers_are_shown_the_worst_first_with_their_tensors(place, capsys):
    assert run(place, *images(place), "--layers", "2") == 0
    out = capsys.readouterr().out
    assert "by layer, each alone quantized, on 60 images, the 2 worst of 5:" in out
    rows = out[out.index("by layer") : out.index("their tensors")].splitlines()[2:4]
    figures = [float(re.search(r"(\d+\.\d) dB", row)[1]) for row in rows]
    assert figures == sorted(figures)
    assert re.search(r"tensor +of layer +SQNR +arriving +values +range +scale +zero point +saturated", out)


def test_no_layers_are_measured_where_none_are_asked_for(place, capsys):
    assert run(place, *images(place), "--layers", "0") == 0
    captured = capsys.readouterr()
    assert "by layer" not in captured.out
    assert "no layer could be told" not in captured.err


def test_a_stage_that_falls_short_ends_with_1_and_the_verdict_on_standard_error(place, capsys):
    assert run(place, *images(place), file="bgr") == 1
    captured = capsys.readouterr()
    verdict = captured.out.splitlines()[0]
    assert verdict.startswith(f"{place}/bgr.edgecnn falls short first at preprocessing: channels is BGR in the artifact and RGB in the reference")
    assert captured.err.splitlines()[-1] == f"edgecnn: {verdict.partition(' To do: ')[0]} See docs/why-is-my-int8-model-wrong.md."
    assert "To do: export it again with the reference's preprocessing" in verdict
    assert any(re.fullmatch(r"preprocessing .* FAIL", line) for line in captured.out.splitlines())
    assert "FAIL preprocessing: channels is BGR" in captured.out


def test_json_gives_the_same_facts_to_programs(place, capsys):
    assert run(place, *images(place), "--json", file="bgr") == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["schema"], facts["passed"], facts["culprit"], facts["entered"]) == (1, False, "preprocessing", None)
    assert facts["verdict"].startswith(f"{place}/bgr.edgecnn falls short first at preprocessing")
    assert [stage["stage"] for stage in facts["stages"]] == ["preprocessing", "export", "simplify", "quantize", "optimized", "packaged"]
    quantized = facts["stages"][3]
    assert quantized["made"] == "rebuilt alike"
    assert quantized["graph_sha256"] == quantized["recorded_sha256"]
    assert set(quantized["against_source"]) == {
        *("samples", "max_abs", "mean_abs", "sqnr_db", "cosine", "agreeing", "agreement", "kl_divergence"),
    }
    layer = facts["layers"][0]
    assert {"layer", "operator", "sqnr_db", "weights_sqnr_db", "activations_sqnr_db", "tensors", "readers", "advice"} == set(layer)
    assert len(facts["layers"]) == 5
    assert facts["cures"] == []


def test_without_images_it_says_what_that_is_worth(place, capsys):
    assert run(place) == 0
    captured = capsys.readouterr()
    assert "on 8 golden images" in captured.out
    assert "8 golden images are few" in captured.err
    assert "can't be measured again without --calibration, so the packaged graph stands for it" in captured.err


def test_what_was_tried_is_shown_and_what_a_fault_leaves_behind_is_told_once(place, capsys):
    assert run(place, *images(place), "--min-sqnr", "60") == 1
    captured = capsys.readouterr()
    assert [line.partition(":")[0] for line in captured.out.splitlines() if line.startswith("FAIL")] == ["FAIL quantize"]
    table = captured.out.partition("what it may be exported with instead, tried on these 60 images:\n")[2].splitlines()
    assert re.split(r" {2,}", table[0]) == ["SQNR", "alike", "enough", "--config"]
    assert re.fullmatch(r"\d+\.\d dB +60 of 60 +no +\(as it is\)", table[1])
    assert any(re.fullmatch(r"\d+\.\d dB +60 of 60 +(yes|no) +ranges=mse", line) for line in table)
    assert run(place, *images(place), "--min-sqnr", "60", "--json") == 1
    cures = json.loads(capsys.readouterr().out)["cures"]
    assert cures[0]["config"] == ""
    assert {"config", "found", "costs", "enough"} == set(cures[0])
    assert cures[1]["found"]["agreement"] == 1.0


@pytest.fixture
def terminal(monkeypatch):
    def of_width(columns):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))

    return of_width


def on_screen(capsys):
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in capsys.readouterr().out.splitlines()]


def test_a_wide_terminal_shows_all_columns(place, capsys, terminal):
    terminal(220)
    assert run(place, *images(place)) == 0
    (heading,) = [line for line in on_screen(capsys) if line.startswith("stage ")]
    assert re.split(r" {2,}", heading) == [
        *("stage", "graph", "largest diff", "mean diff", "SQNR", "cosine", "alike", "KL (nats)", "SQNR to prev.", "limit", "result")
    ]


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_narrow_one_leaves_columns_away_rather_than_cut_cells_and_says_so(place, capsys, terminal, columns):
    terminal(columns)
    assert run(place, *images(place)) == 0
    captured = capsys.readouterr()
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in captured.out.splitlines()]
    (heading,) = [number for number, line in enumerate(lines) if line.startswith("stage ")]
    assert all(len(line) <= columns for line in lines[heading : heading + 7])
    assert {"stage", "SQNR", "alike", "result"} <= set(re.split(r" {2,}", lines[heading]))
    assert not any("…" in line for line in lines)
    assert "the terminal is too narrow for limit, SQNR to prev." in captured.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--images", "0"], 2, "0 images were asked for; at least 1 was wanted"),
        (["--layers", "-1"], 2, "-1 layers were asked for; 0 or more was wanted"),
        (["--data", "gone"], 3, "gone doesn't exist"),
        (["--min-sqnr", "nan"], 2, "an SQNR of nan dB was asked for; a finite number was wanted, such as 15"),
        (["--calibration", "gone"], 3, "gone doesn't exist"),
        (["--preprocess", "size=16x16,channels=XYZ"], 2, "XYZ"),
        (["--preprocess", "size=9x9"], 2, "make them agree"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(place, capsys, options, code, told):
    assert run(place, *options) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert "Traceback" not in captured.err


def test_a_reference_that_is_not_there_is_told(place, capsys):
    assert main(["blame", str(place / "good.edgecnn"), "--reference", "gone.onnx"]) == 3
    assert "gone.onnx doesn't exist" in capsys.readouterr().err


def test_images_that_are_none_are_told(place, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run(place, "--data", str(tmp_path / "empty")) == 3
    assert "empty" in capsys.readouterr().err
    broken = tmp_path / "broken" / "red"
    broken.mkdir(parents=True)
    (broken / "0.png").write_bytes(b"nothing")
    assert run(place, "--data", str(broken.parent)) == 3
    captured = capsys.readouterr()
    assert "0.png" in captured.err
    assert captured.out == ""


def test_other_calibration_images_are_refused(place, capsys):
    assert run(place, "--calibration", str(place / "others")) == 3
    assert "24 of the 60 images of --calibration (sha256 " in capsys.readouterr().err


def test_a_file_that_is_no_artifact_is_refused(place, capsys):
    assert main(["blame", str(place / "net.onnx"), "--reference", str(place / "net.onnx")]) == 3
    assert "net.onnx" in capsys.readouterr().err


@pytest.mark.parametrize("until", ["opening", "exporting", "quantizing", "comparing stages", "measuring layers", "trying other options"])
def test_ctrl_c_ends_it_with_one_line_whatever_it_does(place, capfd, monkeypatch, until):
    @contextmanager
    def pressing():
        def tell(text):
            if text.startswith(until):
                signal.raise_signal(signal.SIGINT)

        yield tell

    monkeypatch.setattr("edgecnn.cli._blame.progress_line", pressing)
    assert run(place, *images(place), "--min-sqnr", "60") == 130
    assert capfd.readouterr() == ("", "edgecnn: interrupted\n")


def test_the_package_that_is_missing_is_named_with_the_pip_line(place):
    done = without(["onnx"], "blame", place / "good.edgecnn", "--reference", place / "net.onnx")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "edgecnn: onnx isn't installed, and this needs it; run: pip install 'edgecnn[export]'\n"

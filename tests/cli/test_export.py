from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile

import onnx
import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.build import pipeline, quantize, quantizing
from edgecnn.build.quantize import Quantized
from edgecnn.build.simplify import Simplified
from edgecnn.cli import main
from edgecnn.cli.export import command
from tests.fixtures.onnx_nets import color_folder, color_net

DESCRIBED = ["--labels", "blue,green,red", "--preprocess", "size=16x16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 60, seed=2)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Without onnxsim's child, which takes seconds; and temporary files where they can be counted."""
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model, note="nothing was left to simplify"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def run(place, output, *options, described=DESCRIBED):
    return main(["export", str(place / "colors.onnx"), "-o", str(output), *described, *options])


def images(place):
    return ["--calibration", str(place / "some"), "--validation", str(place / "others")]


def test_results_go_to_standard_output_and_the_way_there_to_standard_error(place, tmp_path, capsys):
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "int8", *images(place)) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"artifact            {tmp_path}/a.edgecnn, ")
    assert "colors 1.0.0, quantization int8" in lines[1]
    assert "100.00% of 60 decisions are the source network's" in lines[2]
    assert [line[:18].rstrip() for line in lines[3:]] == ["accuracy, source", "accuracy, artifact", "accuracy, change"]
    assert "60 images, 95 % interval" in lines[3]
    assert re.search(r"\+0\.00 points, 95 % interval -\d\.\d\d to \+\d\.\d\d \(paired, same images\)", lines[5])
    told = captured.err.splitlines()
    assert [line.split()[0] for line in told[:5]] == list(pipeline.STAGES)
    assert re.fullmatch(r"quantize  +\d+\.\d s  \d+ nodes  [\d,]+ bytes  largest difference [\d.e-]+  agreement 100\.00% of 16", told[2])
    assert told[-1].startswith("edgecnn: note: 60 images are too few")


def test_json_gives_the_same_facts_to_programs(place, tmp_path, capsys):
    options = ["--json", "--quantize", "int8", *images(place), "--license", "model=MIT", "--license", "data=CC0-1.0", "--name", "mine"]
    assert run(place, tmp_path / "a.edgecnn", *options, "--model-version", "2.1.0", "--sequence", "7") == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert facts["schema"] == 1
    assert facts["validated"]
    assert facts["bytes"] == (tmp_path / "a.edgecnn").stat().st_size
    spec = facts["manifest"]["spec"]
    assert (spec["name"], spec["version"], spec["sequence"], spec["labels"]) == ("mine", "2.1.0", 7, ["blue", "green", "red"])
    assert facts["manifest"]["licenses"] == {"model": "MIT", "data": "CC0-1.0"}
    assert [stage["name"] for stage in facts["stages"]] == ["export", "simplify", "quantize"]
    assert facts["accuracy"]["source"]["correct"] == 60
    assert facts["accuracy"]["difference"]["points"] == 0


def test_the_command_line_and_python_write_the_same_file(place, tmp_path):
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "fp16", "--batch", "dynamic") == 0
    given = {"labels": ["blue", "green", "red"], "preprocess": "size=16x16", "batch": "dynamic"}
    pipeline.export(place / "colors.onnx", output=tmp_path / "b.edgecnn", quantize="fp16", **given)
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()


def test_on_a_terminal_a_table_lives(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "int8", *images(place)) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    final = shown[shown.rindex("largest difference") :]
    assert re.search(r"export +\d+\.\d s +7 +[\d,]+ +[\d.e-]+ +100\.00% of 16", final)
    assert re.search(r"validate +\d+\.\d s +[\d.e-]+ +100\.00% of 60", final)
    assert "simplify: nothing was left to simplify" in final
    assert "..." not in final


# exit codes, and nothing half-written


def spoiled(name, model, calibration, **config):
    proto = onnx.load_from_string(model)
    tensor = next(entry for entry in proto.graph.initializer if len(entry.dims) == 2)
    tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    return Quantized(model=proto.SerializeToString())


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_lost_parity_ends_with_1_and_no_artifact(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantizing, "run_quantizer", spoiled)
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "dynamic", *images(place)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("edgecnn: after dynamic the answers are not the source network's: 0 of 60 decisions agree")
    assert left(tmp_path) == []


def test_force_packs_it_marked(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantizing, "run_quantizer", spoiled)
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "dynamic", *images(place), "--force") == 0
    assert "forced" in capsys.readouterr().out
    with open_bundle(tmp_path / "a.edgecnn") as bundle:
        assert not bundle.manifest.validated


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--quantize", "int8"], 2, "int8 needs calibration images to measure ranges on"),
        (["--quantize", "int9"], 2, "'int9' is not one of 'none', 'dynamic', 'fp16', 'int8'"),
        (["--batch", "0"], 2, "'0' is no batch; give a number from 1, or dynamic"),
        (["--license", "MIT"], 2, "'MIT' is no KEY=VALUE"),
        (["--opset", "99"], 2, "Opset 99"),
        (["--min-agreement", "98"], 2, "min_agreement must lie between 0 and 1"),
        (["--calibration", "nowhere"], 3, "nowhere doesn't exist"),
        (["--labels", "cat,dog"], 2, "labels"),
        (["--weights", "w.safetensors"], 2, "Weights and arguments belong to"),
        (["--log", "no/folder/export.log"], 4, "no/folder/export.log can't be written"),
    ],
)
def test_a_bad_request_is_one_sentence_with_its_exit_code(place, tmp_path, capsys, options, code, message):
    assert run(place, tmp_path / "a.edgecnn", *options) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert captured.err.count("edgecnn: ") == 1
    assert left(tmp_path) == []


def test_the_same_images_in_both_sets_end_with_3(place, tmp_path, capsys):
    assert run(place, tmp_path / "a.edgecnn", "--calibration", str(place / "some"), "--validation", str(place / "some")) == 3
    assert "24 of the 24 validation images are among the calibration images" in capsys.readouterr().err


def test_an_output_folder_that_is_not_there_ends_with_4(place, tmp_path, capsys):
    assert run(place, tmp_path / "none" / "a.edgecnn") == 4
    assert "there is no folder" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_leaves_nothing(place, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(quantizing, "run_quantizer", interrupted)
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "int8", *images(place)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "edgecnn: interrupted"
    assert left(tmp_path) == []


def test_a_missing_extra_is_named_with_its_pip_line(place, tmp_path):
    code = "import sys; sys.modules['onnx'] = None\nfrom edgecnn.cli import main\nsys.exit(main(sys.argv[1:]))"
    arguments = ["export", str(place / "colors.onnx"), "-o", str(tmp_path / "a.edgecnn")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 4
    assert done.stderr == "edgecnn: onnx isn't installed, and this needs it; run: pip install 'edgecnn[export]'\n"


# the log


NETWORK = """
import torch

class Fails(torch.nn.Module):
    def forward(self, x):
        y = x.mean((2, 3))
        return y if y.sum() > 0 else -y

def small(channels):
    layers = [torch.nn.Conv2d(3, channels, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 3)]
    return torch.nn.Sequential(*layers)
"""


def test_the_exporters_chatter_is_in_the_log_and_not_on_the_screen(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    options = ["--arg", "channels=4", "--preprocess", "size=16x16", "--log", "kept.log"]
    assert main(["export", "net.py:small", "-o", "a.edgecnn", *options]) == 0
    captured = capfd.readouterr()
    assert "torch.onnx" not in captured.out + captured.err
    assert [line.split()[0] for line in captured.err.splitlines()[:4]] == ["export", "simplify", "validate", "pack"]
    assert (tmp_path / "kept.log").read_text().strip()
    assert left(tmp_path / "temporary") == []


def test_where_the_network_is_to_blame_the_log_is_kept_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    assert main(["export", "net.py:Fails", "-o", "a.edgecnn", "--input-size", "16x16"]) == 3
    (name,) = left(tmp_path / "temporary")
    told = capsys.readouterr().err.splitlines()
    assert f"edgecnn: what the libraries said is in {tmp_path}/temporary/{name}" in told
    assert "forward decides by the values in a tensor" in told[-1]


def test_without_trouble_no_log_is_left(place, tmp_path):
    assert run(place, tmp_path / "a.edgecnn") == 0
    assert left(tmp_path) == ["a.edgecnn"]


# help


def test_every_option_shows_an_example():
    plain = [option.name for option in command.params if option.name not in ("source", "as_json", "help") and "e.g." not in (option.help or "")]
    assert plain == []


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom edgecnn.cli import main\nmain(['export', '--help'])\n"
        "print({'torch', 'onnx', 'onnxruntime', 'numpy', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "Example: edgecnn export" in done.stdout


def test_help_lists_the_options_of_each_quantizer(capsys):
    assert main(["export", "--help"]) == 0
    told = capsys.readouterr().out
    for name in quantize.names():
        for option in quantize.options(name):
            assert f"{name}: {option.name}={option.values}" in told


def test_config_is_passed_on_and_what_is_no_pair_is_a_usage_error(place, tmp_path, capsys):
    config = ["--config", "per_channel=false", "--config", "ranges=mse"]
    assert run(place, tmp_path / "a.edgecnn", "--quantize", "int8", "--input-type", "uint8", "--json", *config, *images(place)) == 0
    facts = json.loads(capsys.readouterr().out)
    recorded = facts["stages"][-1]["configuration"]
    assert (recorded["per_channel"], recorded["ranges"]) == (False, "mse")
    assert facts["manifest"]["spec"]["input"]["dtype"] == "uint8"
    assert run(place, tmp_path / "b.edgecnn", "--quantize", "int8", "--config", "ranges", *images(place)) == 2
    assert "'ranges' is no KEY=VALUE" in capsys.readouterr().err

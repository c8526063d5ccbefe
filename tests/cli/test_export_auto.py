from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace

import pytest

from edgecnn.build import pipeline
from edgecnn.build.search import lab
from edgecnn.build.search.progress import Status
from edgecnn.build.search.records import Goal
from edgecnn.build.search.speed import Race
from edgecnn.build.simplify import Simplified
from edgecnn.cli import main
from edgecnn.cli._search import SearchView
from tests.fixtures.onnx_nets import color_folder, color_net

DESCRIBED = ["--labels", "blue,green,red", "--preprocess", "size=16x16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 90, seed=2)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Without onnxsim's child and real timing: int8 takes half of float32's time."""
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model))
    race = lambda models, *_, **__: Race(rounds={name: (5e5 if name.startswith("int8") else 1e6,) * 15 for name in models})  # noqa: E731
    monkeypatch.setattr(lab, "race", race)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def run(place, output, *options):
    images = ["--calibration", str(place / "some"), "--validation", str(place / "others")]
    return main(["export", str(place / "colors.onnx"), "-o", str(output), *DESCRIBED, "--quantize", "auto", *images, *options])


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_table_says_what_was_tried_and_who_won(place, tmp_path, capsys):
    assert run(place, tmp_path / "a.edgecnn", "--max-drop", "5", "--recipe", str(tmp_path / "r.toml")) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.endswith("candidate"))
    table = lines[head + 1 : -2]
    assert table[0].endswith("  float32")
    (winner,) = [line for line in table if line.startswith("*  won")]
    assert re.search(
        r"100\.00%  95\.\d\d to 100\.00 +\+0\.00  -4\.\d\d to \+4\.\d\d +1 +\d\d\.\d dB +=?0\.500  0\.50 \(0\.50 to 0\.50\) +[\d,]+  int8", winner
    )
    assert lines[-2].startswith("* not beaten in both accuracy and latency")
    assert "won: nothing that is faster holds 5 points" in lines[-1]
    told = [line for line in captured.err.splitlines() if line.startswith("search")]
    assert any("judging" in line for line in told)
    assert left(tmp_path) == ["a.edgecnn", "r.toml"]


def test_the_time_that_is_left_is_told(capsys):
    view = SearchView(live=False)
    status = Status(goal=Goal(max_drop=1), doing="judging int8", done=1, total=4, seconds_left=75.2, trials=())
    view(status)
    view(replace(status, done=2, seconds_left=50))
    view(replace(status, doing="making fp16", seconds_left=None))
    assert capsys.readouterr().err.splitlines() == ["search     judging int8, at most 1:15 left", "search     making fp16"]
    assert list(view.so_far()) == []


def test_a_recipe_is_replayed_by_the_same_option_without_auto(place, tmp_path, capsys):
    recipe = ["--recipe", str(tmp_path / "r.toml")]
    assert run(place, tmp_path / "a.edgecnn", "--max-drop", "5", *recipe) == 0
    assert run(place, tmp_path / "b.edgecnn", "--quantize", "none", *recipe) == 0
    assert (tmp_path / "a.edgecnn").read_bytes() == (tmp_path / "b.edgecnn").read_bytes()


def test_json_has_all_of_it(place, tmp_path, capsys):
    assert run(place, tmp_path / "a.edgecnn", "--max-drop", "5", "--json", "--objective", "latency") == 0
    (line,) = capsys.readouterr().out.splitlines()
    search = json.loads(line)["search"]
    assert search["goal"] == {"max_drop": 5.0, "min_agreement": 0.98, "objective": "latency", "threads": 1}
    assert search["winner"] in search["why"]
    (winner,) = [trial for trial in search["trials"] if trial["name"] == search["winner"]]
    assert (winner["judged"]["finding"], winner["latency"]["ratio"], winner["front"]) == ("holds", 0.5, True)


def test_on_a_terminal_the_table_lives(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert run(place, tmp_path / "a.edgecnn", "--max-drop", "5") == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(r"- +\d\d\.\d dB +=?0\.500 +[\d,]+ +int8.*judging \d graphs on the validation images", shown, re.DOTALL)


def test_ctrl_c_shows_what_was_tried_and_writes_nothing(place, tmp_path, capsys, monkeypatch):
    class Interrupted(lab.Jury):
        def judge(self, models, progress):
            raise KeyboardInterrupt

    monkeypatch.setattr(lab, "Jury", Interrupted)
    assert run(place, tmp_path / "a.edgecnn", "--max-drop", "5", "--recipe", str(tmp_path / "r.toml")) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[-1] == "edgecnn: interrupted"
    head = next(number for number, line in enumerate(lines) if line.endswith("candidate"))
    assert any(line.endswith("  int8") and "dB" in line for line in lines[head:])
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "--quantize auto needs a goal: --max-drop"),
        (["--max-drop", "-0.5"], 2, "--max-drop -0.5 is no goal"),
        (["--max-drop", "nan"], 2, "--max-drop nan is no goal"),
        (["--max-drop", "0"], 2, "no number of images can show a drop of 0"),
        (["--max-drop", "little"], 2, "'little' is not a valid float"),
        (["--max-drop", "0.5"], 1, "inconclusive: 90 images can't tell 0.5 points apart"),
        (["--max-drop", "5", "--objective", "speed"], 2, "'speed' is not one of"),
        (["--max-drop", "5", "--quantize", "int8"], 2, "--max-drop is for --quantize auto"),
        (["--max-drop", "5", "--calibration", "nowhere"], 3, "nowhere doesn't exist"),
        (["--quantize", "none", "--recipe", "nowhere.toml"], 3, "nowhere.toml doesn't exist"),
    ],
)
def test_a_bad_request_is_one_sentence_with_its_exit_code(place, tmp_path, capsys, options, code, message):
    assert run(place, tmp_path / "a.edgecnn", *options) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert left(tmp_path) == []

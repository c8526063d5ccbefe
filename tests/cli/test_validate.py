"""`edgecnn validate`: each step with its limit and figure, accuracy with its interval, and an exit code that says whether it is enough."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.pack import canonical_zip
from edgecnn.cli import main
from edgecnn.cli._accuracy import abbreviate, accuracy_lines
from edgecnn.cli._progress import progress_line
from edgecnn.device.golden import read_golden
from edgecnn.device.validate import AccuracyReport, LabelCounts
from tests.attacks.make import listed, members_of
from tests.fixtures.artifacts import color_artifact, encode, npy, solid, tiny_artifact
from tests.fixtures.repack import repacked


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images in class folders, of which one green one shows blue."""
    folder = tmp_path / "photos"
    for color in ("red", "green", "blue"):
        (folder / color).mkdir(parents=True)
        for i in range(3):
            (folder / color / f"{i}.png").write_bytes(encode(solid("blue" if (color, i) == ("green", 1) else color)))
    return folder


def _run(*arguments: object) -> int:
    return main([str(argument) for argument in ("validate", *arguments, "--threads", 1)])


def test_each_step_is_printed_with_its_limit_and_figure(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "colors 1.0.0, quantization none, 3 labels"
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "step",
        "golden image -> model input",
        "input -> host's outputs",
        "input -> reference's answers",
    ]
    assert "exact" in lines[2]
    assert lines[2].endswith("pass")
    assert "atol 0.0001" in lines[3]
    assert lines[4].endswith("atol 1e-05 + rtol 1e-05, 100 % agreement  pass, 2 of 2 decide alike")
    assert err == ""


def _other_reference(artifact: Path) -> Path:
    with open_bundle(artifact) as bundle:
        reference = read_golden(bundle).reference
    return repacked(artifact, {"golden/reference.npy": npy(-reference)})


def test_another_reference_fails_with_exit_code_1_and_names_the_step(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(_other_reference(artifact)) == 1
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()[2:4]] == ["pass", "alike"]
    assert "FAIL, 0 of 2 decide alike" in out
    assert "falls short in the step input -> reference's answers: the largest difference is" in err
    assert len(err.splitlines()) == 1


def test_accuracy_comes_with_its_interval_and_the_confusion_matrix(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--data", photos) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5] == "top-1 accuracy 88.89%: 8 of 9 images, 95 % interval 56.50% to 98.01%"
    assert [line.split() for line in lines[7:]] == [
        ["true", "\\", "decided", "red", "green", "blue", "recall"],
        ["red", "3", ".", ".", "100.0%"],
        ["green", ".", "2", "1", "66.7%"],
        ["blue", ".", ".", "3", "100.0%"],
    ]


def test_a_collection_of_fewer_classes_is_fine(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (photos / "red").iterdir():
        file.unlink()
    (photos / "red").rmdir()
    assert _run(artifact, "--data", photos) == 0
    assert "5 of 6 images" in capsys.readouterr().out


def test_json_holds_the_same_facts(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--data", photos, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert (facts["schema"], facts["file"], facts["golden"]["passed"]) == (1, str(artifact), True)
    assert [step["samples"] for step in facts["golden"]["steps"]] == [2, 2, 2]
    accuracy = facts["accuracy"]
    assert (accuracy["count"], accuracy["correct"], accuracy["confusion"]) == (9, 8, [[3, 0, 0], [0, 2, 1], [0, 0, 3]])
    assert accuracy["interval"] == pytest.approx([0.5650, 0.9801], abs=1e-4)
    assert accuracy["per_label"][1]["recall"] == pytest.approx(2 / 3)


def test_json_of_a_failure_is_whole_and_the_exit_code_tells(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(_other_reference(artifact), "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert [step["passed"] for step in facts["golden"]["steps"]] == [True, True, False]


def test_an_accuracy_under_the_least_wanted_is_exit_code_1(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(artifact, "--data", photos, "--min-accuracy", 0.88) == 0
    assert _run(artifact, "--data", photos, "--min-accuracy", 0.89) == 1
    assert "decides 88.89% of 9 images right, 89.00% was wanted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--min-accuracy", "0.5"], ["--data", "photos", "--min-accuracy", "83"], ["--data", "photos", "--min-accuracy", "nan"]]
)
def test_a_least_accuracy_without_data_or_out_of_range_is_a_usage_error(
    artifact: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(artifact, *arguments) == 2
    assert "needs --data and lies between 0 and 1" in capsys.readouterr().err


def test_a_forced_artifact_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(color_artifact(tmp_path / "forced.edgecnn", force=True)) == 0
    assert "packed by force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda artifact, photos: artifact.unlink(), "colors.edgecnn"),
        (lambda artifact, photos: artifact.write_bytes(artifact.read_bytes()[:-100]), "colors.edgecnn"),
        (lambda artifact, photos: (photos / "green" / "0.png").write_bytes(b"no image"), "green/0.png"),
        (lambda artifact, photos: (photos / "green").rename(photos / "violet"), "violet"),
    ],
)
def test_input_that_is_missing_or_broken_is_one_sentence_and_exit_code_3(
    artifact: Path, photos: Path, break_it: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(artifact, photos)
    assert _run(artifact, "--data", photos) == 3
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_every_member_is_verified(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(artifact.read_bytes())
    data[data.index(b'"stages"') + 3] ^= 1  # in report.json, which no step reads
    artifact.write_bytes(data)
    assert _run(artifact) == 3
    assert "report.json" in capsys.readouterr().err


@pytest.mark.parametrize("report", [b"{}\n", None], ids=["of nothing", "none"])
def test_the_report_is_checked_too(report: bytes | None, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {name: data for name, data in {**members_of(artifact.read_bytes()), "report.json": report}.items() if data is not None}
    artifact.write_bytes(b"".join(canonical_zip(listed(members))))
    assert _run(artifact) == 3
    assert "report.json" in capsys.readouterr().err


def test_multi_label_shows_each_label_and_exact_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = color_artifact(tmp_path / "colors.edgecnn", task="multi-label")
    yellow = solid("red") + solid("green")
    files = {"red.png": (solid("red"), "red"), "yellow.png": (yellow, "red;green"), "wrong.png": (yellow, "red;blue")}
    for name, (pixels, _) in files.items():
        (tmp_path / name).write_bytes(encode(pixels))
    (tmp_path / "set.csv").write_text("file,labels\n" + "".join(f"{name},{labels}\n" for name, (_, labels) in files.items()))
    assert _run(artifact, "--data", tmp_path / "set.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].startswith("exact-match ratio 66.67%: 2 of 3 images")
    assert [line.split() for line in lines[6:]] == [
        ["label", "images", "precision", "recall", "F1"],
        ["red", "3", "100.0%", "100.0%", "100.0%"],
        ["green", "1", "50.0%", "100.0%", "66.7%"],
        ["blue", "1", "-", "0.0%", "0.0%"],
    ]


def test_validating_loads_neither_torch_nor_onnx_nor_rich(artifact: Path, photos: Path) -> None:
    code = (
        "import sys; from edgecnn.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'onnx', 'rich') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, "validate", artifact, "--data", photos], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _report(labels: Sequence[str], confusion: np.ndarray) -> AccuracyReport:
    counts = [
        LabelCounts(label=label, true_positives=int(confusion[i, i]), false_positives=int(confusion[:, i].sum()), false_negatives=0)
        for i, label in enumerate(labels)
    ]
    rows = tuple(map(tuple, confusion.tolist()))
    return AccuracyReport(labels=tuple(labels), count=int(confusion.sum()), correct=int(np.trace(confusion)), per_label=tuple(counts), confusion=rows)


def test_the_matrix_lines_up_and_cuts_long_names() -> None:
    labels = ["T-shirt/top", "Trouser", "Pullover", "a name far too long for the margin of a terminal"]
    lines = accuracy_lines(_report(labels, np.full((4, 4), 12345)))
    assert len({len(line) for line in lines[2:]}) == 1
    assert lines[2].split() == ["true", "\\", "decided", "T-shi", "Trous", "Pullo", "a", "nam", "recall"]
    assert "a name far too long for~" in lines[6]


def test_many_labels_show_the_most_frequent_confusions_instead() -> None:
    confusion = np.zeros((30, 30), dtype=int)
    confusion[3, 4], confusion[5, 6], confusion[7, 7] = 2, 9, 100
    lines = accuracy_lines(_report([f"label{i}" for i in range(30)], confusion))
    assert lines[1] == "most frequent confusions, 2 of 2:"
    assert [line.split() for line in lines[3:]] == [["label5", "label6", "9"], ["label3", "label4", "2"]]


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20, unique=True))
def test_abbreviated_labels_still_differ(labels: list[str]) -> None:
    short = abbreviate(labels)
    assert len(set(short)) == len(labels)
    assert max(map(len, short)) <= 8


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_only_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_line(every_seconds=0) as show:
        show("10 of 20 images")
        show("done")
    assert terminal.getvalue().split("\r") == ["", "10 of 20 images", "done           ", " " * 4, ""]
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress_line(every_seconds=0) as show:
        show("10 of 20 images")
    assert pipe.getvalue() == ""


def test_an_artifact_of_random_weights_validates_too(tmp_path: Path) -> None:
    assert _run(tiny_artifact(tmp_path / "tiny.edgecnn", images=5)) == 0

"""`edgecnn run`: images, folders, arrays and standard input become labels, a line each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.cli import main
from edgecnn.cli._inputs import find_inputs
from edgecnn.device.host import available_cores
from edgecnn.device.image import to_input
from edgecnn.device.model import Model
from edgecnn.errors import EdgecnnError
from tests.fixtures.artifacts import COLORS, color_artifact, color_spec, encode, npy, solid


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(color_artifact(tmp_path_factory.mktemp("artifact") / "colors.edgecnn"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """red.png, sub/blue.jpg, sub/green.bmp, and files that are no images."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "red.png").write_bytes(encode(solid("red")))
    (folder / "sub" / "blue.jpg").write_bytes(encode(solid("blue"), "JPEG"))
    (folder / "sub" / "green.BMP").write_bytes(encode(solid("green"), "BMP"))
    (folder / "README.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    """Exit code, lines on standard output, lines on standard error."""
    code = main(["run", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]], list[str]]:
    code, out, err = run(capsys, *arguments, "--json")
    return code, [json.loads(line) for line in out], err


# What comes out


def test_a_line_says_input_label_and_score(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, artifact, photos / "red.png")
    assert (code, err) == (0, [])
    assert [line.split() for line in out] == [[str(photos / "red.png"), "red", "1.000"]]


def test_a_folder_is_walked_in_order_and_columns_are_aligned(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, artifact, photos)
    assert code == 0
    names = [str(photos / "red.png"), str(photos / "sub" / "blue.jpg"), str(photos / "sub" / "green.BMP")]
    assert [line.split()[:2] for line in out] == [[name, label] for name, label in zip(names, ("red", "blue", "green"), strict=True)]
    assert len({line.rindex(line.split()[1]) for line in out}) == 1
    assert len({line.rindex(line.split()[2]) for line in out}) == 1


def test_top_shows_the_next_best_too(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, artifact, photos / "red.png", "--top", 3)
    assert out[0].split()[1:] == ["red", "1.000", "green", "0.000", "blue", "0.000"]


def test_json_is_a_line_an_input_of_schema_1(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_json(capsys, artifact, photos)
    assert (code, err) == (0, [])
    assert [(line["schema"], line["task"], line["label"], line["labels"]) for line in out] == [
        (1, "single-label", label, [label]) for label in ("red", "blue", "green")
    ]
    first = out[0]
    assert list(first) == ["schema", "input", "task", "label", "labels", "score", "top", "ms"]
    assert first["input"] == str(photos / "red.png")
    assert first["score"] == first["top"][0]["score"] > 0.99
    assert len(first["top"]) == 3
    assert set(first["ms"]) == {"decode", "preprocess", "inference"}
    assert len(run_json(capsys, artifact, photos / "red.png", "--top", 2)[1][0]["top"]) == 2


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(color_artifact(tmp_path_factory.mktemp("several") / "several.edgecnn", task="multi-label", thresholds=(0.5, 0.5, 0.5)))


def painted(*colors: str) -> np.ndarray:
    return sum((solid(color) for color in colors), np.zeros((20, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("colors", "top", "said"),
    [
        (("red", "blue"), (), "red 0.993 blue 0.993"),
        (("green",), ("--top", 2), "green 0.993 (red 0.007)"),
        ((), (), "none"),
        ((), ("--top", 1), "none (red 0.007)"),
        (("red", "green", "blue"), ("--top", 1), "red 0.993 green 0.993 blue 0.993"),
    ],
)
def test_a_multi_label_model_shows_all_labels_that_hold_or_none(
    several: str, colors: tuple[str, ...], top: tuple[Any, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "painted.png"
    path.write_bytes(encode(painted(*colors)))
    assert " ".join(run(capsys, several, path, *top)[1][0].split()) == f"{path} {said}"
    told = run_json(capsys, several, path)[1][0]
    assert told["labels"] == sorted(colors, key=COLORS.index)
    assert told["label"] == (told["labels"][0] if colors else None)


# What goes in


def test_standard_input_is_one_encoded_image(artifact: str) -> None:
    for extra, said in (((), "-  blue   1.000\n"), (("--json",), '"input": "-"')):
        command = [sys.executable, "-m", "edgecnn", "run", artifact, "-", *extra]
        done = subprocess.run(command, input=encode(solid("blue")), capture_output=True, check=True)
        assert said in done.stdout.decode()


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_standard_input_that_is_no_image_is_refused(artifact: str, data: bytes) -> None:
    done = subprocess.run([sys.executable, "-m", "edgecnn", "run", artifact, "-"], input=data, capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"edgecnn: standard input ")


@pytest.mark.parametrize(
    ("array", "labels"),
    [
        (solid("blue"), ["blue"]),
        (np.stack([solid("green"), solid("red")]), ["green", "red"]),
        (np.asfortranarray(np.stack([solid("green"), solid("red")])), ["green", "red"]),
        (np.concatenate([to_input(solid(color), color_spec().preprocess) for color in COLORS]), list(COLORS)),
        (np.full((9, 9), 200, np.uint8), ["red"]),  # grey: the first of three equals
        (np.full((2, 9, 9, 1), 200, np.uint8), ["red", "red"]),
    ],
)
def test_arrays_hold_an_image_or_a_batch_of_them_or_inputs(
    artifact: str, array: np.ndarray, labels: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(array))
    code, out, err = run_json(capsys, artifact, path)
    assert (code, err) == (0, [])
    assert [line["label"] for line in out] == labels
    batch = array.ndim == 4
    assert [line["input"] for line in out] == [f"{path}[{i}]" if batch else str(path) for i in range(len(labels))]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((9, 9, 3)), "float64"),
        (np.zeros((9, 9, 2), np.uint8), r"\[9, 9, 2\]"),
        (np.zeros((0, 9, 9, 3), np.uint8), r"\[0, 9, 9, 3\]"),
        (np.zeros((3, 8, 8), np.float32), r"\[3, 8, 8\]"),
        (np.zeros((1, 3, 8, 9), np.float32), r"\[1, 3, 8, 9\]"),
        (np.full((1, 3, 8, 8), np.nan, np.float32), "NaN"),
        (np.zeros((1, 3, 8, 8), ">f4"), ">f4|float32"),
        (np.array([{"a": 1}], dtype=object), "no .npy file"),
    ],
)
def test_an_array_that_is_neither_is_refused_with_what_it_is(
    artifact: str, array: np.ndarray, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    code, out, err = run(capsys, artifact, path)
    assert (code, out, len(err)) == (3, [], 1)
    assert err[0].startswith("edgecnn: ")
    assert any(part in err[0] for part in said.replace("\\", "").split("|"))


GOOD_NPY = npy(np.stack([solid("green", (4, 5)), solid("red", (4, 5))]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(changes=st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=6), keep=st.integers(0, len(GOOD_NPY)))
def test_a_damaged_array_is_read_or_refused_never_a_crash(changes: list[tuple[int, int]], keep: int, tmp_path: Path) -> None:
    damaged = bytearray(GOOD_NPY)
    for place, value in changes:
        damaged[place] = value
    path = tmp_path / "a.npy"
    path.write_bytes(bytes(damaged[:keep]))
    for item in find_inputs([str(path)]):
        try:
            item.read()
        except EdgecnnError as error:
            assert "\n" not in str(error)  # noqa: PT017


# What can't be used


def test_an_image_that_cannot_be_read_is_one_line_the_others_go_on(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    code, out, err = run(capsys, artifact, photos)
    assert code == 5
    assert [line.split()[1] for line in out] == ["red", "blue", "green"]
    assert err == [
        f"edgecnn: {photos / 'broken.jpg'} is no image that can be read.",
        "edgecnn: 1 of 4 inputs could not be used, the rest were done.",
    ]


def test_in_json_an_error_is_a_line_among_the_others(artifact: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    code, out, _ = run_json(capsys, artifact, photos)
    assert code == 5
    assert out[0] == {"schema": 1, "input": str(photos / "broken.jpg"), "error": f"{photos / 'broken.jpg'} is no image that can be read."}
    assert [line["label"] for line in out[1:]] == ["red", "blue", "green"]


def test_the_only_input_that_cannot_be_read_ends_with_3(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere.jpg"
    assert run(capsys, artifact, missing) == (3, [], [f"edgecnn: {missing} doesn't exist."])
    assert run_json(capsys, artifact, missing)[:2] == (3, [{"schema": 1, "input": str(missing), "error": f"{missing} doesn't exist."}])


def test_when_none_of_many_can_be_read_nothing_was_done_and_it_is_3(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, artifact, tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert (code, out, len(err)) == (3, [], 2)


def test_a_folder_without_images_is_said(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, artifact, tmp_path)
    assert (code, out, len(err)) == (3, [], 1)
    assert f"{tmp_path} holds no images" in err[0]


def test_a_bad_image_in_a_batch_of_pixels_is_named_by_its_place(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = np.concatenate([to_input(solid("red"), color_spec().preprocess)] * 3)
    inputs[1, 0, 0, 0] = np.inf
    path = tmp_path / "a.npy"
    path.write_bytes(npy(inputs))
    code, out, _ = run_json(capsys, artifact, path)
    assert code == 5
    assert [line["input"] for line in out if "error" in line] == [f"{path}[1]"]


def test_a_missing_artifact_is_3(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, tmp_path / "nowhere.edgecnn", photos)
    assert (code, out, len(err)) == (3, [], 1)
    assert "nowhere.edgecnn doesn't exist" in err[0]


@pytest.mark.parametrize("threads", [0, -1, available_cores() + 1])
def test_threads_that_are_not_allowed_are_a_usage_error_with_the_number_allowed(
    artifact: str, photos: Path, threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, artifact, photos, "--threads", threads)
    assert (code, out, len(err)) == (2, [], 1)
    assert f"this process may use {available_cores()}" in err[0]


def test_an_artifact_packed_by_force_says_so_each_time(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forced = color_artifact(tmp_path / "forced.edgecnn", force=True)
    for _ in range(2):
        code, out, err = run(capsys, forced, photos / "red.png")
        assert (code, len(out), len(err)) == (0, 1, 1)
        assert "packed by force" in err[0]


# Names


def test_names_with_control_characters_or_broken_encodings_are_spelled_out(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a\x1b[2J.png", b"b\xff.png", "c\u732b.png".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(encode(solid("red")))
    code, out, err = run(capsys, artifact, folder)
    assert (code, len(out), err) == (0, 3, [])
    assert "\\x1b[2J.png" in out[0]
    assert "\\udcff.png" in out[1]
    assert "c\u732b.png" in out[2]
    code, told, _ = run_json(capsys, artifact, folder)
    assert [os.fsencode(line["input"]).rpartition(b"/")[2] for line in told] == [b"a\x1b[2J.png", b"b\xff.png", "c\u732b.png".encode()]


# Memory


def test_memory_does_not_grow_with_the_folder(artifact: str, tmp_path: Path) -> None:
    image = encode(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8), "BMP")
    peaks = []
    for count in (20, 320):  # 300 more images of 256 KB decoded: 60 MB, were they kept
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "0000.bmp").write_bytes(image)
        for i in range(1, count):
            os.link(folder / "0000.bmp", folder / f"{i:04d}.bmp")
        script = "import resource, sys; from edgecnn.cli import main\n"
        script += f"code = main(['run', {artifact!r}, {str(folder)!r}]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(lines) == count + 1
        peaks.append(int(lines[-1]))
    assert peaks[1] - peaks[0] < 20_000  # KiB


# Side by side


@pytest.mark.skipif(available_cores() < 2, reason="one core is there, and nothing goes side by side")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_many_images_side_by_side_are_the_lines_of_one_by_one(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    import edgecnn.cli.run as module

    for number in range(60):
        (photos / f"{number:02}.png").write_bytes(encode(solid(list(COLORS)[number % 3])) if number % 13 else b"no image")
    arguments = [artifact, photos, photos / "gone.png", photos / "red.png", *more]

    def lines() -> tuple[int, list[str], list[str]]:
        code, out, err = run(capsys, *arguments)
        return code, [re.sub(r'"ms": .*', "", line) for line in out], err

    alone = lines()
    used: list[str] = []
    twin = Model.twin
    monkeypatch.setattr(module, "_WORTHWHILE", 0.0)
    monkeypatch.setattr(Model, "twin", lambda self: (used.append("twin"), twin(self))[1])
    assert lines() == alone
    assert used
    assert alone[0] == 5

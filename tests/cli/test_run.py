"""`edgecnn run`: images, folders, arrays and standard input become labels, a line each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.cli import _answers, main
from edgecnn.cli import run as run_module
from edgecnn.cli._inputs import find_inputs
from edgecnn.device import host, side_by_side
from edgecnn.device.host import available_cores
from edgecnn.device.image import to_input
from edgecnn.device.model import open_model
from edgecnn.errors import EdgecnnError, StoreError
from tests.fixtures.artifacts import COLORS, color_artifact, color_spec, encode, manifest_of, npy, solid

T = TypeVar("T")


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
    for count in (300, 5000):  # 4700 more images of 196 KB decoded: 920 MB, were they kept
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "0000.bmp").write_bytes(image)
        for i in range(1, count):
            os.link(folder / "0000.bmp", folder / f"{i:04d}.bmp")
        script = "import resource, sys; from edgecnn.cli import main\n"
        script += f"main(['run', {artifact!r}, {str(folder)!r}])\n"
        script += "print(*(resource.getrusage(which).ru_maxrss for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))"
        lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(lines) == count + 1
        peaks.append([int(peak) for peak in lines[-1].split()])
    (few, _), (many, helper) = peaks
    assert many - few < 20_000  # KiB
    assert helper < 200_000


# Several processes


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Helpers are there for two inputs, and waited for before anything is answered; the numbers of inputs that they answered."""
    answered: list[int] = []
    in_order, hear = side_by_side.in_order, side_by_side.Helper.hear

    def patient(*arguments: Any, helpers: list[side_by_side.Helper], **keywords: Any) -> Any:
        assert len(helpers) in (0, available_cores() - 1)
        assert all(helper.pipe.poll(60) for helper in helpers)
        assert keywords["here"](next(find_inputs(["-"])))
        return in_order(*arguments, helpers=helpers, **keywords)

    def heard(helper: side_by_side.Helper) -> Any:
        found = hear(helper)
        answered.append(sum(line is not None for line in found) if isinstance(found, list) else 0)
        return found

    monkeypatch.setattr(_answers, "_MANY", 2)
    monkeypatch.setattr(_answers, "_MEMORY", 1 << 20)
    monkeypatch.setattr(side_by_side, "in_order", patient)
    monkeypatch.setattr(side_by_side.Helper, "hear", heard)
    return answered


@pytest.mark.skipif(available_cores() < 2, reason="one core is there, and one process")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_many_images_by_several_processes_are_the_lines_of_one(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], helped: list[int], more: list[str]
) -> None:
    for number in range(400):
        (photos / f"{number:03}.png").write_bytes(encode(solid(list(COLORS)[number % 3])) if number % 13 else b"no image")
    (photos.parent / "some.npy").write_bytes(npy(np.stack([solid("green", (4, 5)), solid("red", (4, 5))])))
    (photos.parent / "inputs.npy").write_bytes(npy(np.full((3, 3, 8, 8), np.nan, np.float32)))
    arguments = [artifact, photos.parent / "some.npy", photos, photos / "gone.png", photos.parent / "inputs.npy", photos / "red.png", *more]

    def lines(*more: str) -> tuple[int, list[str], list[str]]:
        code, out, err = run(capsys, *arguments, *more)
        return code, [re.sub(r'"ms": .*', "", line) for line in out], err

    alone = lines("--threads", "1")
    assert not helped
    assert lines() == alone
    assert sum(helped) > 0
    assert alone[0] == 5


@pytest.mark.skipif(available_cores() < 2, reason="one core is there, and one process")
def test_standard_input_is_read_by_the_process_that_was_given_it(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], helped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encode(solid("red")))))
    code, out, err = run(capsys, artifact, photos, "-", photos)
    assert (code, err) == (0, [])
    assert [line.split()[1] for line in out] == ["red", "blue", "green", "red", "red", "blue", "green"]


@pytest.mark.parametrize("first", [[], ["red.png"]])
def test_standard_input_is_read_once_where_what_comes_with_it_is_refused(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, first: list[str]
) -> None:
    (photos / "bad.npy").write_bytes(npy(np.full((2, 3, 8, 8), np.nan, np.float32)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encode(solid("green")))))
    code, out, err = run(capsys, artifact, *(photos / name for name in first), "-", photos / "bad.npy")
    assert code == 5
    assert [line.split()[1] for line in out] == ["red", "green"][1 - len(first) :]
    assert [line.partition(": the input holds NaN")[0] for line in err[:2]] == [f"edgecnn: {photos / 'bad.npy'}[{number}]" for number in range(2)]


def test_a_model_too_large_for_several_has_no_helpers(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(_answers, "_MANY", 2)
    monkeypatch.setattr(side_by_side.Helper, "tell", lambda self, message: told.append(message))
    size = manifest_of(Path(artifact)).member("model.onnx").size
    for memory, processes in ((2 * (_answers._MEMORY + 4 * size) - 1, 1), (2 * (_answers._MEMORY + 4 * size), 2)):
        monkeypatch.setattr(host, "memory_bytes", lambda memory=memory: memory)
        told.clear()
        code, out, _ = run(capsys, artifact, photos)
        assert (code, len(out), len(told)) == (0, 3, min(processes, available_cores()) - 1)


@pytest.mark.skipif(available_cores() < 2, reason="one core is there, and one process")
def test_a_store_that_changes_meanwhile_costs_the_help_and_not_the_answers(
    artifact: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Path:
        raise StoreError("it is gone.")

    started: list[object] = []
    init = side_by_side.Helper.__init__
    monkeypatch.setattr(_answers, "_MANY", 2)
    monkeypatch.setattr(side_by_side.Helper, "__init__", lambda self, *arguments: (started.append(self), init(self, *arguments))[1])
    monkeypatch.setattr(run_module, "located", gone)
    code, out, err = run(capsys, artifact, photos)
    assert (code, len(out), err) == (0, 3, [])
    assert started


def test_a_helper_that_finds_another_model_leaves(artifact: str, tmp_path: Path) -> None:
    other = color_artifact(tmp_path / "other.edgecnn", size=9)
    model = open_model(artifact, threads=1)
    lines = _answers.JsonLines(None, model)
    for path, stays in ((Path(artifact), True), (other, False), (tmp_path / "none.edgecnn", False)):
        with side_by_side.Helper(_answers._CHILD, "ort") as helper:
            helper.tell(_answers.Setup(path, None, "ort", _answers.manifest_digest(model), model.session.engine.provider, lines))
            assert helper.pipe.poll(60)
            helper.hear()
            assert helper.ended is not stays


@pytest.mark.skipif(not Path("/proc/self/stat").exists() or available_cores() < 2, reason="needs /proc and two cores")
@pytest.mark.parametrize(("ending", "code"), [("SIGKILL", -9), ("SIGTERM", -15), ("SIGINT", 130), ("closed pipe", 0)])
def test_helpers_end_with_the_process_that_they_help(artifact: str, photos: Path, ending: str, code: int) -> None:
    for number in range(20_000):  # more than a pipe holds the lines of
        os.link(photos / "red.png", photos / f"{number}.png")
    command = [sys.executable, "-m", "edgecnn", "run", artifact, str(photos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        assert process.stdout is not None
        for _ in range(2000):
            process.stdout.readline()
        helpers = children(process.pid)
        assert len(helpers) == available_cores() - 1
        if ending == "SIGINT":  # a terminal sends it to all
            os.killpg(process.pid, signal.SIGINT)
        elif ending.startswith("SIG"):
            process.send_signal(signal.Signals[ending])
        process.stdout.close()
        assert process.wait(60) == code
    assert eventually(lambda: not any(running(helper) for helper in helpers))


def running(process: int) -> bool:
    """Not so of one that ended and whose end nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def eventually(found: Callable[[], T]) -> T:
    """What `found` gives once that is something; fails after a minute."""
    end = time.monotonic() + 60
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return result

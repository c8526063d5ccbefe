"""Places that can't be written and disks that fill up: what stood there stays whole, and nothing half-written is left."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.cli import main
from tests.bad_input.conftest import DESCRIBED, Refused, contents, sentence

Recipe = Callable[..., Path]
Captured = pytest.CaptureFixture[str]

FULL = "edgecnn: standard output can't be written (No space left on device); send it elsewhere."


def export(made: Path, output: object, *more: object) -> list[object]:
    return ["export", made / "colors.onnx", "-o", output, *DESCRIBED, *more]


# a place that takes no file


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("gone/new.edgecnn", 4, "there is no folder gone; make it first"),
        ("old.edgecnn/new.edgecnn", 4, "old.edgecnn/new.edgecnn can't be written"),
        (".", 2, "is a folder"),
        ("/dev/null", 4, "is no regular file"),
        ("/proc/new.edgecnn", 4, "/proc/new.edgecnn can't be written (No such file or directory); choose another place"),
    ],
)
def test_export_says_before_the_work_where_it_can_not_write(output: str, code: int, says: str, made: Path, refused: Refused) -> None:
    assert says in refused(*export(made, output), code=code)


@pytest.mark.parametrize("log", ["gone/export.log", "old.edgecnn/export.log", "."])
def test_a_log_that_can_not_be_written(log: str, made: Path, refused: Refused) -> None:
    assert "the log" in refused(*export(made, "old.edgecnn", "--log", log), code=4)


@pytest.mark.parametrize("output", ["old.edgecnn", "old.edgecnn/run", "/proc/run", "/dev/null"])
def test_train_says_before_the_work_where_it_can_not_write(output: str, refused: Refused, recipe_file: Recipe) -> None:
    assert f"{output} can't be written" in refused("train", recipe_file(), "-o", output, code=4)


@pytest.mark.parametrize("output", ["gone/card.md", "old.edgecnn/card.md", "."])
def test_a_card_that_can_not_be_written(output: str, refused: Refused) -> None:
    assert "can't be written" in refused("card", "old.edgecnn", "-o", output, code=4)


# a disk that fills up


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_export_to_a_failing_disk_leaves_the_old_file(
    moment: str, code: int, made: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([code] if moment == "replace" else [])
    original = getattr(os, moment)

    def fail(*arguments: Any) -> Any:
        if moment == "fsync" or next(calls, None):
            raise OSError(code, os.strerror(code))
        return original(*arguments)

    monkeypatch.setattr(f"edgecnn.artifact.files.os.{moment}", fail)
    assert "old.edgecnn can't be written" in refused(*export(made, "old.edgecnn"), code=4)


def test_a_card_to_a_full_disk_leaves_the_old_one(workplace: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "card.md").write_text("the old card")
    monkeypatch.setattr("edgecnn.artifact.files.os.fsync", full)
    assert "card.md can't be written: the disk is full" in refused("card", "old.edgecnn", "-o", "card.md", code=4)


@pytest.mark.parametrize("name", ["report.html", "report.md", "report.json"])
def test_a_report_to_a_full_disk_leaves_the_old_one(
    name: str, made: Path, workplace: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / name).write_text("the old report")
    monkeypatch.setattr("edgecnn.artifact.files.os.fsync", full)
    assert f"{name} can't be written: the disk is full" in refused("report", "old.edgecnn", "--data", made / "some", "-o", name, code=4)


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))  # Python ignores SIGXFSZ: a write fails, and none before
sys.argv[:2] = ["edgecnn"]
from edgecnn.build import pipeline
from edgecnn.build.simplify import Simplified
pipeline.simplify = lambda model, **_: Simplified(model=model, note="")
from edgecnn.cli import main
sys.exit(main())
"""


def limited(size: int, *arguments: object) -> tuple[int, str, str]:
    """The command line where no file can grow beyond `size` bytes: exit code, standard output and standard error."""
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(size), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_an_artifact_that_does_not_fit_is_not_written_at_all(made: Path, workplace: Path) -> None:
    before = contents(workplace)
    code, out, err = limited(4096, *export(made, "old.edgecnn"))
    assert (code, out) == (4, "")
    assert sentence(err) == "edgecnn: old.edgecnn can't be written (File too large); choose another place. What stood there before still stands."
    assert contents(workplace) == before


def test_a_training_whose_checkpoint_does_not_fit_says_so(workplace: Path, recipe_file: Recipe) -> None:
    wide = recipe_file(**{"channels = [4]": "channels = [64]", "hidden = [8]": "hidden = [64]", "held_out = 16": "held_out = 32"})
    code, out, err = limited(30_000, "train", wide, "-o", "run", "--threads", 1)
    assert (code, out) == (4, "")
    assert err.startswith("edgecnn: run/last.safetensors can't be written (File too large); choose another place.")
    assert err.count("\n") == 1
    left = [name for name, data in contents(workplace / "run").items() if data is not None]
    assert [name for name in left if not name.startswith("images/")] == [".lock"]
    assert not any("part" in name for name in left)


def test_pictures_that_no_longer_fit_on_the_disk_are_an_error_and_not_the_end(
    workplace: Path, capfd: Captured, recipe_file: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written through a mapping, they would end the process by SIGBUS."""
    monkeypatch.setattr("edgecnn.artifact.files.os.fsync", full)
    assert main(["train", str(recipe_file()), "-o", "run"]) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert "can't be written: the disk is full" in sentence(err)
    assert contents(workplace / "run") == {".lock": b"", "images": None}


@pytest.mark.parametrize(("written", "stopped_at"), [(12, "last.safetensors"), (14, "metrics.jsonl")])
def test_a_disk_that_fills_up_while_training_leaves_the_last_whole_epoch_to_go_on_from(
    written: int, stopped_at: str, workplace: Path, capfd: Captured, recipe_file: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(recipe_file())
    flushed: list[int] = []
    fsync = os.fsync

    def fills_up(handle: int) -> None:
        flushed.append(handle)
        if len(flushed) > written:  # the pictures (2), and each epoch's checkpoint and metrics: of each the file and its folder
            full()
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr("edgecnn.artifact.files.os.fsync", fills_up)
        assert main(["train", recipe, "-o", "run", "--threads", "1"]) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"edgecnn: run/{stopped_at} can't be written: the disk is full")
    assert err.count("edgecnn: ") == 1
    left = contents(workplace / "run")
    assert not any("part" in name or "model" in name for name in left)
    assert len((left["metrics.jsonl"] or b"").splitlines()) == 2
    assert main(["train", recipe, "-o", "run", "--threads", "1", "--resume"]) == 0
    assert main(["train", recipe, "-o", "at once", "--threads", "1"]) == 0
    assert (workplace / "run" / "model.safetensors").read_bytes() == (workplace / "at once" / "model.safetensors").read_bytes()


# a temporary folder that is full


def test_a_full_temporary_folder_is_named(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    from edgecnn.artifact.files import temporary_folder
    from edgecnn.errors import OutputNotWritable

    with pytest.raises(OutputNotWritable, match=r"temporary file can't be written in .*/temporary: the disk is full; .* TMPDIR"), temporary_folder():
        full()
    with pytest.raises(PermissionError), temporary_folder():
        raise PermissionError(errno.EACCES, "not that")


def test_a_log_on_a_full_disk_neither_stops_the_export_nor_fills_the_screen(made: Path, workplace: Path, capfd: Captured) -> None:
    (workplace / "net.py").write_text(
        "import logging\nfrom torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        logging.getLogger('torch.onnx').warning('a library warns')\n        return x.mean((2, 3))[:, :2]\n"
    )
    assert main(["export", "net.py:Net", "--input-size", "8x8", "-o", "new.edgecnn", "--log", "/dev/full"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("artifact ")
    said = [line for line in err.splitlines() if line.startswith("edgecnn: ") and "note: " not in line]
    assert said == ["edgecnn: the log /dev/full is not whole (No space left on device)"]
    assert "Logging error" not in err


# results that can't be written


def with_full_output(*arguments: str) -> int:
    """The command line's exit code where standard output is on a full disk."""
    with open("/dev/full", "w") as disk, contextlib.redirect_stdout(disk):
        return main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "old.edgecnn", "IMAGES"],
        ["run", "old.edgecnn", "IMAGES", "--json"],
        ["validate", "old.edgecnn"],
        ["validate", "old.edgecnn", "--json"],
        ["inspect", "old.edgecnn"],
        ["inspect", "old.edgecnn", "--json"],
        ["bench", "old.edgecnn", "--min-seconds", "0"],
        ["bench", "old.edgecnn", "--min-seconds", "0", "--json"],
        ["card", "old.edgecnn"],
        ["report", "old.edgecnn"],
        ["report", "old.edgecnn", "--format", "json"],
    ],
)
def test_results_to_a_full_disk_are_an_error(arguments: list[str], made: Path, workplace: Path, capfd: Captured) -> None:
    before = contents(workplace)
    assert with_full_output(*(str(made / "some") if argument == "IMAGES" else argument for argument in arguments)) == 4
    assert capfd.readouterr().err == FULL + "\n"
    assert contents(workplace) == before


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_training_whose_results_can_not_be_written_keeps_its_checkpoints(
    options: list[str], workplace: Path, recipe_file: Recipe, capfd: Captured
) -> None:
    assert with_full_output("train", str(recipe_file()), "-o", "run", "--threads", "1", *options) == 4
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == FULL
    assert err.count("edgecnn: ") == 1
    assert (workplace / "run" / "last.safetensors").exists()

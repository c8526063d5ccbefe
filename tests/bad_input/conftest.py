"""What every refusal owes its user: one sentence, the right exit code, and nothing half-written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecnn.build import pipeline
from edgecnn.build.simplify import Simplified
from edgecnn.cli import main
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.onnx_nets import color_folder, color_net

DESCRIBED = ("--labels", "blue,green,red", "--preprocess", "size=16x16")
LOG = "edgecnn: what the libraries said is in "

Refused = Callable[..., str]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file's bytes and every folder below `folder`, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def sentence(err: str) -> str:
    """The one sentence on standard error: all else there may be the lines of finished stages, and where a log is."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.split()[:1] and line.split()[0] not in pipeline.STAGES]
    for line in lines[:-1]:
        assert line.startswith(LOG), err
        assert Path(line.removeprefix(LOG)).stat().st_size > 0
    assert lines, "nothing was said"
    assert lines[-1].startswith("edgecnn: "), err
    return lines[-1]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colors.onnx, colors.edgecnn (of another net of the same labels), and class folders some/ (24 pictures) and others/ (30)."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "colors.onnx").write_bytes(color_net(batch="batch"))
    color_artifact(folder / "colors.edgecnn")
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 30, seed=2)
    return folder


@pytest.fixture
def workplace(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with an artifact old.edgecnn in it; temporary files lie elsewhere, and onnxsim's child isn't started."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    (folder / "old.edgecnn").write_bytes((made / "colors.edgecnn").read_bytes())
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(pipeline, "simplify", lambda model, **_: Simplified(model=model, note="nothing was left to simplify"))
    yield folder
    left = [path for path in (tmp_path / "temporary").glob("*edgecnn*") if path.suffix != ".log"]
    assert left == [], "temporary files were left"


@pytest.fixture
def refused(workplace: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """refused(*arguments, code=3): run the command line, which must refuse; the sentence that it says."""

    def run(*arguments: object, code: int) -> str:
        before = contents(workplace)
        capfd.readouterr()
        found = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert (found, out) == (code, ""), err
        assert contents(workplace) == before
        return sentence(err)

    return run

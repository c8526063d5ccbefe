"""Starting with a model of the store: one that kills its process three times in a row is rolled back, and nothing else is held against it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.cli import main
from edgecnn.errors import GraphRejected, InputMissing, KeyRejected, ProviderMissing, StoreError, UsageError
from edgecnn.sign.write import sign_file
from edgecnn.store import activate, install, installed, load, locate, start
from edgecnn.store.places import Place
from edgecnn.store.starts import deaths
from edgecnn.store.state import read_state
from tests.fixtures.artifacts import encode, solid
from tests.fixtures.signing import make_keys
from tests.store.calls import Call, watched
from tests.store.stores import contents, files, runnable, tried_here, unflushed


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """1.0.0, 2.0.0 and 3.0.0, which really run."""
    folder = tmp_path_factory.mktemp("artifacts")
    return [runnable(folder, f"{number}.0.0") for number in (1, 2, 3)]


@pytest.fixture
def store(tmp_path: Path, artifacts: list[Path]) -> Path:
    """1.0.0 was active before 2.0.0."""
    with tried_here(), unflushed():
        for artifact in artifacts[:2]:
            install(artifact, store=tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(encode(solid("red")))
    return path


def place(store: Path) -> Place:
    return Place(store=store, name="tiny")


def died(store: Path, version: str = "2.0.0") -> int:
    return deaths(place(store), version)


def die(store: Path, reference: str = "tiny") -> None:
    """A start whose process is killed before its first answer."""
    script = "import os, sys; from edgecnn.store import start\nbegun = start(sys.argv[1], store=sys.argv[2])\nos.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script, reference, str(store)]).returncode == -9


def die_here(store: Path, times: int) -> None:
    """What is left of starts that died, without processes."""
    for _ in range(times):
        begun = start("tiny", store=store)
        begun._mark.leave()


def test_three_deaths_in_a_row_bring_the_version_before(store: Path) -> None:
    said: list[str] = []
    for number in range(3):
        assert died(store) == number
        die(store)
    with start("tiny", store=store, say=said.append) as begun:
        assert begun.reference == "tiny@1.0.0"
    assert said == ["tiny@2.0.0 was rolled back to tiny@1.0.0: 3 starts in a row died before their first answer"]
    state = read_state(place(store))
    assert (state.active, state.previous) == ("1.0.0", ())
    assert state.set_aside == {"2.0.0": "3 starts in a row died before their first answer"}
    assert (state.history[-1].what, state.history[-1].reason) == ("rolled back", "3 starts in a row died before their first answer")
    said.clear()
    with start("tiny", store=store, say=said.append) as begun:
        assert (begun.reference, said) == ("tiny@1.0.0", [])


def test_it_is_not_gone_forward_to_by_itself(store: Path, artifacts: list[Path]) -> None:
    die_here(store, 3)
    with start("tiny", store=store), tried_here(), unflushed():
        with pytest.raises(StoreError, match=r"tiny@2\.0\.0 was rolled back here \(3 starts in a row died"):
            install(artifacts[1], store=store)
        assert install(artifacts[2], store=store).version == "3.0.0"
        assert activate("tiny@2.0.0", store=store).version == "2.0.0", "asked for, it gets another chance"
    assert died(store) == 0
    with start("tiny", store=store) as begun:
        assert begun.reference == "tiny@2.0.0"


def test_without_a_version_before_it_stays_and_that_is_said(tmp_path: Path, artifacts: list[Path]) -> None:
    with tried_here(), unflushed():
        install(artifacts[0], store=tmp_path / "store")
    die_here(tmp_path / "store", 3)
    said: list[str] = []
    with start("tiny", store=tmp_path / "store", say=said.append) as begun:
        assert begun.reference == "tiny@1.0.0"
    (line,) = said
    assert line.startswith(
        "tiny@1.0.0 stays active, though 3 starts in a row died before their first answer: tiny@1.0.0 has no whole version before it"
    )


def test_two_versions_that_die_are_both_left(tmp_path: Path, artifacts: list[Path]) -> None:
    with tried_here(), unflushed():
        for artifact in artifacts:
            install(artifact, store=tmp_path / "store")
    found = []
    for _ in range(7):
        begun = start("tiny", store=tmp_path / "store")
        found.append(begun.folder.name)
        begun._mark.leave()
    assert found == ["3.0.0"] * 3 + ["2.0.0"] * 3 + ["1.0.0"]


def test_an_answer_is_a_new_beginning(store: Path, image: Path) -> None:
    die_here(store, 2)
    model = load("tiny", store=store, threads=1)
    assert died(store) == 2, "its own start is no death yet"
    model.predict(image)
    assert died(store) == 0
    die_here(store, 2)
    assert (died(store), locate("tiny", store=store).name) == (2, "2.0.0")
    assert model.predict(image).label == load("tiny", store=store, threads=1).predict(image).label
    assert died(store) == 0


def test_a_name_with_its_version_is_taken_whatever_happened(store: Path) -> None:
    for _ in range(4):
        die_here(store, 1)
        with start("tiny@2.0.0", store=store) as begun:
            assert begun.reference == "tiny@2.0.0"
    with start("tiny@1.0.0", store=store) as begun:
        assert begun.reference == "tiny@1.0.0"


def test_a_power_cut_is_not_held_against_it(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system was booted anew: what the disk kept of marks is of another boot, and swept."""
    die_here(store, 3)
    assert died(store) == 3
    (tmp_path / "boot_id").write_text("another-boot\n")
    monkeypatch.setattr("edgecnn.store.starts._BOOT_ID", tmp_path / "boot_id")
    assert died(store) == 0
    with start("tiny", store=store) as begun:
        assert begun.reference == "tiny@2.0.0"
    with tried_here(), unflushed():
        activate("tiny@2.0.0", store=store)
    assert not (store / "tiny" / ".starts").exists()


def test_where_boots_are_not_told_apart_nothing_is_counted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.store.starts._BOOT_ID", tmp_path / "none")
    before = contents(store)
    die_here(store, 4)
    assert contents(store) == before
    with start("tiny", store=store) as begun:
        assert begun.reference == "tiny@2.0.0"


def test_starts_that_are_still_going_on_are_no_deaths(store: Path) -> None:
    """Cameras that share a store and start at once."""
    begun = [start("tiny", store=store) for _ in range(5)]
    assert {one.reference for one in begun} == {"tiny@2.0.0"}
    assert died(store) == 0
    for one in begun[:3]:
        one._mark.leave()
    assert died(store) == 3
    for one in begun:
        one.forget()


def test_the_end_of_the_program_is_no_death(store: Path, image: Path) -> None:
    script = "import sys, edgecnn.store\nmodel = edgecnn.store.load('tiny', store=sys.argv[1], threads=1)"
    subprocess.run([sys.executable, "-c", script, str(store)], check=True)
    assert died(store) == 0
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), start("tiny", store=store):
            raise error
    assert died(store) == 0
    assert not list((store / "tiny" / ".starts").iterdir())


def test_a_store_that_is_read_only_can_be_run_from(store: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    die_here(store, 3)
    before = contents(store)

    def refuse(call: Call, make: Callable[[], Any]) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with watched(store, refuse):
        assert main(["run", "tiny", str(image), "--store", str(store), "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(str(image))
    assert "tiny@2.0.0 stays active, though 3 starts in a row died before their first answer" in err
    assert "can't be written" in err
    assert contents(store) == before


# what counts and what doesn't, on the command line

_FAULTY = """
import os, signal, sys
from edgecnn.device.engines import ort
def fault(*_):
    {fault}
ort.OrtEngine.{method} = fault
from edgecnn.cli import main
sys.exit(main())
"""


def run(store: Path, image: object, *, fault: str = "", method: str = "run_one") -> tuple[int, str]:
    """`edgecnn run tiny IMAGE` with an engine that has a fault: the exit code, and what was said."""
    program = ["-c", _FAULTY.format(fault=fault, method=method)] if fault else ["-m", "edgecnn"]
    command = [sys.executable, *program, "run", "tiny", str(image), "--store", str(store), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_an_engine_that_crashes_three_times_is_left_by_the_fourth_start(store: Path, image: Path) -> None:
    for _ in range(3):
        assert run(store, image, fault="os.abort()")[0] == -signal.SIGABRT
    code, err = run(store, image)
    assert code == 0
    assert err == "edgecnn: tiny@2.0.0 was rolled back to tiny@1.0.0: 3 starts in a row died before their first answer\n"


@pytest.mark.parametrize(
    ("fault", "method", "count"),
    [
        ("raise RuntimeError('engine')", "run_one", 1),
        ("raise MemoryError", "__init__", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", "run_one", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", "run_one", 0),
        ("os.kill(os.getpid(), signal.SIGHUP)", "run_one", 0),
        ("os.kill(os.getpid(), signal.SIGINT)", "run_one", 0),
    ],
)
def test_what_counts_as_a_death(fault: str, method: str, count: int, store: Path, image: Path) -> None:
    code, err = run(store, image, fault=fault, method=method)
    assert code != 0
    if "SIGTERM" in fault:
        assert code == -signal.SIGTERM
    assert died(store) == count, err


@pytest.mark.parametrize("key", ["gone.pem", "none.pem", "private.pem"])
def test_a_key_that_can_not_be_used_is_not_held_against_it(key: str, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that is signed, so that the key is what fails."""
    keys = make_keys(tmp_path)
    (tmp_path / "none.pem").write_bytes(b"no key")
    keys.private.rename(tmp_path / "private.pem")
    artifact = runnable(tmp_path, "1.0.0")
    sign_file(artifact, tmp_path / "private.pem")
    with tried_here(), unflushed():
        install(artifact, store=tmp_path / "signed")
    for _ in range(3):
        assert main(["run", "tiny", str(image), "--store", str(tmp_path / "signed"), "--key", str(tmp_path / key)]) == 3
        assert key in capsys.readouterr().err
    with pytest.raises((InputMissing, KeyRejected)):
        load("tiny", store=tmp_path / "signed", trust_key=tmp_path / key)
    assert died(tmp_path / "signed", "1.0.0") == 0
    assert main(["run", "tiny", str(image), "--store", str(tmp_path / "signed"), "--key", str(keys.public)]) == 0


def test_other_failures_are_not_held_against_it(store: Path, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.png").write_bytes(b"no picture")
    for arguments, code in (
        (["run", "tiny", str(tmp_path / "none.png")], 3),
        (["run", "tiny", str(tmp_path / "gone.png")], 3),
        (["run", "tiny", str(image), "--threads", "0"], 2),
        (["run", "tiny", str(image), "--require-signature", "--key", str(tmp_path / "gone.pem")], 3),
    ):
        assert main([*arguments, "--store", str(store)]) == code, capsys.readouterr().err
    assert died(store) == 0
    assert not list((store / "tiny" / ".starts").iterdir())


@pytest.mark.parametrize(("error", "count"), [(GraphRejected, 1), (ProviderMissing, 0), (UsageError, 0), (KeyboardInterrupt, 0)])
def test_a_model_that_can_not_be_loaded_counts(error: type[BaseException], count: int, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("no")

    monkeypatch.setattr("edgecnn.device.model.open_session", refuse)
    with pytest.raises(error):
        load("tiny", store=store)
    assert died(store) == count


def test_a_version_that_rotted_is_left_after_three_starts(store: Path, image: Path) -> None:
    with open(store / "tiny" / "2.0.0" / "model.onnx", "r+b") as file:
        file.seek(200)
        file.write(b"rot")
    codes = [main(["run", "tiny", str(image), "--store", str(store)]) for _ in range(4)]
    assert codes == [3, 3, 3, 0]


def test_marks_are_swept_with_their_versions(store: Path) -> None:
    die_here(store, 2)
    with tried_here(), unflushed():
        activate("tiny@1.0.0", store=store, allow_downgrade=True)
        from edgecnn.store import remove

        remove("tiny@2.0.0", store=store)
    assert not [name for name in files(store) if "2.0.0" in name]
    assert len(installed(store=store)[0].versions) == 1

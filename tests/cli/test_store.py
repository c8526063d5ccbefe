"""`edgecnn store`, and commands that take a model of the store by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.cli import main
from edgecnn.cli._model import is_path
from edgecnn.errors import InputMissing
from tests.fixtures.artifacts import encode, solid
from tests.store.stores import runnable, sample, tried_here, unflushed

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick() -> object:
    with tried_here(), unflushed():
        yield


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """ran(*arguments): the command line in a folder with an image, and the store beside it: exit code, standard output and error."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "red.png").write_bytes(encode(solid("red")))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EDGECNN_STORE", str(tmp_path / "store"))

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Path]:
    return [runnable(tmp_path, version) for version in ("1.0.0", "2.0.0")]


def test_the_life_of_a_model(ran: Ran, artifacts: list[Path], tmp_path: Path) -> None:
    assert ran("store", "install", artifacts[0]) == (0, "tiny@1.0.0 is active\n", "")
    assert ran("run", "tiny", "red.png")[0] == 0
    assert ran("store", "install", artifacts[1]) == (0, "tiny@2.0.0 is active, 1.0.0 was before\n", "")
    assert ran("store", "install", artifacts[1]) == (0, "tiny@2.0.0 is active already\n", "")
    assert ran("store", "rollback", "tiny") == (0, "tiny@1.0.0 is active, 2.0.0 was before\n", "")
    code, out, err = ran("store", "list")
    assert (code, err) == (0, "")
    assert [re.sub(r"[\d,]{5,}", "N", line).split() for line in out.splitlines()] == [
        ["model", "version", "sequence", "bytes"],
        ["tiny", "1.0.0", "0", "N", "active"],
        ["tiny", "2.0.0", "0", "N", "rolled", "back:", "asked", "for"],
    ]
    code, out, err = ran("store", "install", artifacts[1])
    assert (code, out) == (3, "")
    assert "was rolled back here (asked for)" in err
    assert ran("store", "activate", "tiny@2.0.0") == (0, "tiny@2.0.0 is active, 1.0.0 was before\n", "")
    assert ran("store", "remove", "tiny@1.0.0") == (0, "tiny@1.0.0 was removed\n", "")
    assert ran("store", "list")[1].count("tiny") == 1
    (tmp_path / "store" / "tiny" / "2.0.0" / "report.json").unlink()
    assert ran("store", "list")[2].endswith("lacks the member 'report.json' that its manifest lists.\n")
    assert ran("store", "install", artifacts[1]) == (0, "tiny@2.0.0 was damaged; it is whole again, and active\n", "")


def test_programs_get_the_same_facts(ran: Ran, artifacts: list[Path], tmp_path: Path) -> None:
    ran("store", "install", artifacts[0])
    code, out, err = ran("store", "install", artifacts[1], "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "schema": 1,
        "name": "tiny",
        "active": "2.0.0",
        "before": "1.0.0",
        "changed": True,
        "unpacked": True,
        "downgrade": False,
    }
    assert json.loads(ran("store", "rollback", "tiny", "--json")[1])["active"] == "1.0.0"
    (line,) = ran("store", "list", "--json")[1].splitlines()
    facts = json.loads(line)
    assert (facts["name"], facts["active"], facts["previous"], facts["damaged"]) == ("tiny", "1.0.0", [], None)
    assert facts["versions"][1] == {
        "version": "2.0.0",
        "active": False,
        "sequence": 0,
        "quantization": "none",
        "bytes": artifacts[1].stat().st_size,
        "validated": True,
        "rolled_back": "asked for",
        "damaged": None,
    }
    assert [event["what"] for event in facts["history"]] == ["installed", "installed", "rolled back"]
    assert json.loads(ran("store", "remove", "tiny@2.0.0", "--json")[1]) == {"schema": 1, "removed": "tiny@2.0.0"}


def test_an_empty_store_says_how_to_fill_it(ran: Ran, tmp_path: Path) -> None:
    code, out, err = ran("store", "list")
    assert (code, out) == (0, "")
    assert err == f"edgecnn: there are no models in {tmp_path / 'store'}; `edgecnn store install FILE` brings one in\n"
    assert ran("store", "list", "--json")[:2] == (0, "")


def test_a_downgrade_names_the_option(ran: Ran, tmp_path: Path) -> None:
    for version, sequence in (("2.0.0", 2), ("1.0.0", 1)):
        sample(tmp_path, version, sequence=sequence)
    ran("store", "install", tmp_path / "tiny-2.0.0.edgecnn")
    code, out, err = ran("store", "install", tmp_path / "tiny-1.0.0.edgecnn")
    assert (code, out) == (3, "")
    assert err.endswith("--allow-downgrade takes it all the same. See docs/trust.md.\n")
    code, out, err = ran("store", "install", tmp_path / "tiny-1.0.0.edgecnn", "--allow-downgrade")
    assert out == "tiny@1.0.0 is active, 2.0.0 was before, though its sequence is lower\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["install", "gone.edgecnn"], 3, "gone.edgecnn doesn't exist"),
        (["install", "red.png"], 3, "is no .edgecnn file"),
        (["install"], 2, "Missing argument 'FILE'"),
        (["activate", "tiny"], 2, "doesn't say which version"),
        (["activate", "six@1"], 3, "has no model 'six'"),
        (["rollback", "six"], 3, "has no model 'six'"),
        (["rollback", "../six"], 2, "is no model's name"),
        (["remove", "tiny@1"], 3, "has no model 'tiny'"),
        (["install", "red.png", "--require-signature"], 2, "--key PUB"),
        (["list", "--store", "red.png"], 3, "can't be read (Not a directory)"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(arguments: list[str], code: int, says: str, ran: Ran, tmp_path: Path) -> None:
    found, out, err = ran("store", *arguments)
    assert (found, out) == (code, "")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["tiny", "tiny@1.0.0"])
@pytest.mark.parametrize("command", [["run", "NAME", "red.png"], ["validate", "NAME"], ["inspect", "NAME"], ["verify", "NAME"], ["bench", "NAME"]])
def test_commands_take_a_model_by_its_name(command: list[str], name: str, ran: Ran, artifacts: list[Path]) -> None:
    ran("store", "install", artifacts[0])
    more = ["--min-seconds", "0", "--min-runs", "100"] if command[0] == "bench" else []
    code, out, err = ran(*[name if part == "NAME" else part for part in command], *more)
    # a benchmark on a busy machine may be invalid, which is 1
    assert code in ((0, 1) if command[0] == "bench" else (0,)), err
    assert out


def test_a_store_is_named_by_an_option_too(ran: Ran, artifacts: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    ran("store", "install", artifacts[0], "--store", other)
    assert ran("run", "tiny", "red.png", "--store", other)[0] == 0
    assert ran("inspect", "tiny", "--store", other)[0] == 0
    assert ran("run", "tiny", "red.png")[0] == 3


# a path, or a name?


def test_a_name_means_the_store_whatever_lies_in_the_working_folder(ran: Ran, artifacts: list[Path]) -> None:
    ran("store", "install", artifacts[0])
    Path("tiny").write_bytes(artifacts[1].read_bytes())
    assert "tiny 1.0.0" in ran("inspect", "tiny")[1]
    assert "tiny 2.0.0" in ran("inspect", "./tiny")[1]
    Path("tiny.edgecnn").write_bytes(artifacts[1].read_bytes())
    assert "tiny 2.0.0" in ran("inspect", "tiny.edgecnn")[1]


def test_a_file_of_a_name_that_the_store_does_not_know_is_a_file(ran: Ran, artifacts: list[Path]) -> None:
    Path("other").write_bytes(artifacts[1].read_bytes())
    assert "tiny 2.0.0" in ran("inspect", "other")[1]


@pytest.mark.parametrize("file", ["./a", "/a", "a/b", "a.edgecnn", "a.onnx", "", ".", ".."])
def test_what_looks_like_a_path_is_one(file: str, tmp_path: Path) -> None:
    assert is_path(file, tmp_path)


@pytest.mark.parametrize("file", ["six", "Six", "six@", "six@1", "x" * 300, "a b", "nul\0"])
def test_what_is_neither_is_said(file: str, ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="there is no file"):
        is_path(file, tmp_path)
    code, _, err = ran("run", file, "red.png")
    assert code == 3
    assert err.count("\n") == 1

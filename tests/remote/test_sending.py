"""Which files go to a device, and what they are called there."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from edgecnn import cli
from edgecnn.cli._on import _ALWAYS, _data, _job, on_option
from edgecnn.errors import InputMissing, InputRefused, UsageError
from edgecnn.remote.cache import checked_parts
from edgecnn.remote.sending import Parcel
from tests.cli.test_examples import COMMANDS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "a" / "work"
    (work / "in").mkdir(parents=True)
    for path in (work / "x", work / "in" / "x", work.parent / "x", work.parent / "y"):
        path.write_text(str(path))
    monkeypatch.chdir(work)
    return work


def places(parcel: Parcel) -> dict[str, str]:
    return {"/".join(file.parts): file.source.read_text() for file in parcel.files}


def test_a_path_keeps_its_name_and_nothing_leads_out_of_the_folder(folder: Path) -> None:
    parcel = Parcel()
    assert parcel.add("x") == "x"
    assert parcel.add("./in//x") == "./in//x"
    assert parcel.add("../y") == "y"
    assert parcel.add(str(folder / "x")) == str(folder / "x")[1:]
    assert places(parcel) == {
        "x": str(folder / "x"),
        "in/x": str(folder / "in/x"),
        "y": str(folder.parent / "y"),
        str(folder)[1:] + "/x": str(folder / "x"),
    }
    for file in parcel.files:
        assert checked_parts(list(file.parts)) == file.parts


def test_two_files_of_one_name_don_t_meet(folder: Path) -> None:
    parcel = Parcel()
    assert [parcel.add("x"), parcel.add("../x"), parcel.add("in/../x"), parcel.add("x")] == ["x", "2/x", "x", "x"]
    assert places(parcel) == {"x": str(folder / "x"), "2/x": str(folder.parent / "x")}


def test_what_is_no_file_is_said() -> None:
    with pytest.raises(InputMissing, match="gone doesn't exist"):
        Parcel().add("gone")
    with pytest.raises(InputRefused, match="in is"):
        Parcel().add("in")
    os.mkfifo("pipe")
    with pytest.raises(InputRefused, match="pipe is no regular file"):
        Parcel().add("pipe")


@pytest.mark.parametrize("parts", [[], [".."], ["a", ".."], [""], ["."], ["a/b"], ["a\0"], [1], "a", None, ["a", ["b"]]])
def test_a_device_takes_no_path_that_leads_out(parts: object) -> None:
    from edgecnn.remote.wire import Broken

    with pytest.raises(Broken):
        checked_parts(parts)


def test_a_csv_brings_its_images_and_nothing_from_elsewhere(folder: Path) -> None:
    (folder / "in" / "labels.txt").write_text("cat\n")
    (folder / "in" / "link").symlink_to(folder.parent / "y")
    (folder / "in" / "set.csv").write_text(f"file,labels\nx,cat\n../x,cat\n{folder.parent}/y,cat\nlink,cat\ngone,cat\n")
    parcel = Parcel()
    assert _data("in/set.csv", parcel) == "in/set.csv"
    assert sorted(places(parcel)) == ["in/labels.txt", "in/set.csv", "in/x"]


def test_a_folder_of_images_is_sent_without_what_is_hidden(folder: Path) -> None:
    (folder / "in" / ".git").mkdir()
    (folder / "in" / ".git" / "key").write_text("secret")
    (folder / "in" / ".hidden").write_text("secret")
    parcel = Parcel()
    _data("in", parcel)
    assert sorted(places(parcel)) == ["in/x"]
    assert parcel.folders == [("in",)]


@pytest.mark.parametrize("words", [words for words, command in COMMANDS.items() if any(p.name == "on" for p in command.params)], ids=" ".join)
def test_roles_are_those_of_parameters_that_there_are(words: tuple[str, ...]) -> None:
    roles = COMMANDS[words].callback.roles  # type: ignore[union-attr]
    assert set(roles) - set(_ALWAYS) <= {parameter.name for parameter in COMMANDS[words].params}


@click.command()
@on_option()
@click.option("--page", type=click.Path())
@click.option("--numbers", callback=lambda ctx, parameter, value: tuple(map(int, value.split(","))) if value else None)
def some(page: str | None, numbers: tuple[int, ...] | None) -> None:
    pass


def test_a_path_of_which_nobody_said_whose_it_is_is_refused() -> None:
    with pytest.raises(UsageError, match="--page can't go with --on"):
        some.main(["--page", "x.html", "--on", "pi"], standalone_mode=False)


def test_an_option_that_was_read_already_is_said_again() -> None:
    ctx = some.make_context("some", ["--numbers", "1,2"])
    with ctx:
        assert _job(ctx, {}, ["some"], Path(), more=[]).arguments == ("some", "--numbers=1,2", "--")


def test_the_commands_for_devices_have_it() -> None:
    have = {" ".join(words) for words, command in COMMANDS.items() if any(p.name == "on" for p in command.params)}
    assert {"run", "bench", "validate", "probe", *(f"store {name}" for name in ("install", "activate", "rollback", "remove", "list"))} <= have
    assert isinstance(cli.edgecnn, click.Group)

"""Names and versions become parts of paths, and of nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgecnn.artifact.spec import NAME, VERSION
from edgecnn.errors import EdgecnnError, StoreError, UsageError
from edgecnn.store.places import LOCK, STATE, Place, default_store, parse

STORE = Path("/store")


@given(st.from_regex(NAME, fullmatch=True), st.from_regex(VERSION, fullmatch=True))
def test_a_version_is_a_folder_of_its_model_s_folder_in_the_store(name: str, version: str) -> None:
    place = Place(store=STORE, name=name)
    try:
        folder = place.version(version)
    except StoreError:
        assert len(version) > 100 or version.endswith(".sig")
        return
    assert os.path.normpath(folder) == str(folder) == f"/store/{name}/{version}"
    assert len({name, LOCK}) == len({version, STATE}) == 2
    assert not version.startswith(".")
    assert name == name.lower()
    assert version == version.lower()
    assert len(os.fsencode(f".{version}@{'0' * 36}@{'0' * 10}-{'0' * 8}")) <= 255


@given(st.one_of(st.text(), st.sampled_from(["..", ".", "a/b", "a/..", "/a", "A", "a\0", "a\n", "", "é", "a" * 65, ".a", "-a"])))
def test_what_is_no_name_or_version_goes_nowhere(text: str) -> None:
    assume(not NAME.fullmatch(text))
    with pytest.raises(EdgecnnError):
        Place(store=STORE, name=text)
    assume(not VERSION.fullmatch(text))
    with pytest.raises(StoreError):
        Place(store=STORE, name="a").version(text)


def test_a_reference_is_a_name_with_or_without_a_version() -> None:
    assert parse("five") == ("five", None)
    assert parse("five@1.0.0") == ("five", "1.0.0")
    with pytest.raises(UsageError):
        parse("five@")


def test_the_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGECNN_STORE", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_store() == tmp_path / ".local/share/edgecnn/store"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_store() == tmp_path / ".local/share/edgecnn/store"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_store() == Path("/data/edgecnn/store")
    monkeypatch.setenv("EDGECNN_STORE", "")
    assert default_store() == Path("/data/edgecnn/store")
    monkeypatch.setenv("EDGECNN_STORE", "/models")
    assert default_store() == Path("/models")


def test_without_a_home_the_store_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("EDGECNN_STORE", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(UsageError, match="--store or in EDGECNN_STORE"):
        default_store()

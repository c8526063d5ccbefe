"""Which version is active: activating, going back, removing, listing, and records that were damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import ArtifactRejected, DowngradeRefused, ModelRejected, StoreError, UsageError
from edgecnn.store import activate, install, installed, remove, rollback
from edgecnn.store.places import Place
from edgecnn.store.state import State, read_state
from tests.store.stores import active, contents, expected_files, files, sample, tried_here, unflushed


@pytest.fixture(autouse=True)
def quick() -> object:
    with tried_here(), unflushed():
        yield


@pytest.fixture
def store(tmp_path: Path, made: Path) -> Path:
    """1.0.0, 2.0.0 and 3.0.0 were installed one after the other."""
    for number in (1, 2, 3):
        install(made / f"tiny-{number}.0.0.edgecnn", store=tmp_path / "store")
    return tmp_path / "store"


def state(store: Path) -> State:
    return read_state(Place(store=store, name="tiny"))


def spoil(store: Path, version: str) -> None:
    (store / "tiny" / version / "report.json").write_bytes(b"")


def test_rolling_back_goes_further_back_each_time(store: Path) -> None:
    found = rollback("tiny", store=store, reason="too many dogs")
    assert (found.version, found.before, found.changed) == ("2.0.0", "3.0.0", True)
    assert active(store) == "2.0.0"
    assert state(store).set_aside == {"3.0.0": "too many dogs"}
    assert rollback("tiny", store=store).version == "1.0.0"
    assert active(store) == "1.0.0"
    with pytest.raises(StoreError, match=r"tiny@1\.0\.0 has no whole version before it to go back to; install one"):
        rollback("tiny", store=store)
    assert active(store) == "1.0.0"
    assert [(event.what, event.version, event.before, event.reason) for event in state(store).history[-2:]] == [
        ("rolled back", "2.0.0", "3.0.0", "too many dogs"),
        ("rolled back", "1.0.0", "2.0.0", "asked for"),
    ]


def test_a_damaged_version_is_passed_over(store: Path) -> None:
    spoil(store, "2.0.0")
    found = rollback("tiny", store=store)
    assert found.version == "1.0.0"
    assert "2.0.0 holds 0 bytes as 'report.json'" in found.skipped[0]
    spoil(store, "1.0.0")
    activate("tiny@3.0.0", store=store)
    with pytest.raises(StoreError, match=r"no whole version before it to go back to \(.*1\.0\.0 holds 0 bytes"):
        rollback("tiny", store=store)
    assert active(store) == "3.0.0"


def test_a_version_is_activated_by_its_name(store: Path) -> None:
    with pytest.raises(DowngradeRefused, match="sequence 1, lower than 3"):
        activate("tiny@1.0.0", store=store)
    assert active(store) == "3.0.0"
    assert activate("tiny@1.0.0", store=store, allow_downgrade=True).downgrade
    assert state(store).history[-1].downgrade
    found = activate("tiny@2.0.0", store=store)
    assert (found.version, found.before, found.downgrade) == ("2.0.0", "1.0.0", False)
    assert rollback("tiny", store=store).version == "1.0.0", "it was active before, though its sequence is lower"
    assert not activate("tiny@1.0.0", store=store).changed


def test_what_is_no_longer_good_is_not_activated(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise ModelRejected(f"{path} crashed")

    before = contents(store)
    with monkeypatch.context() as patch:
        patch.setattr("edgecnn.store.switch.try_model", refuse)
        with pytest.raises(ModelRejected):
            activate("tiny@2.0.0", store=store, allow_downgrade=True)
    assert contents(store) == before
    spoil(store, "2.0.0")
    with pytest.raises(ArtifactRejected):
        activate("tiny@2.0.0", store=store, allow_downgrade=True)
    assert active(store) == "3.0.0"


def test_a_version_is_removed_but_not_the_active_one(store: Path, made: Path) -> None:
    with pytest.raises(StoreError, match=r"tiny@3\.0\.0 is the active version, which isn't removed"):
        remove("tiny@3.0.0", store=store)
    remove("tiny@2.0.0", store=store)
    assert files(store) == expected_files(made / "tiny-1.0.0.edgecnn", made / "tiny-3.0.0.edgecnn")
    assert state(store).history[-1].what == "removed"
    assert rollback("tiny", store=store).version == "1.0.0"
    remove("tiny@3.0.0", store=store)
    assert state(store).set_aside == {}
    install(made / "tiny-3.0.0.edgecnn", store=store)
    assert active(store) == "3.0.0"


@pytest.mark.parametrize("act", [activate, remove])
def test_versions_and_models_that_are_not_there_are_told_with_those_that_are(act: object, store: Path) -> None:
    assert callable(act)
    with pytest.raises(StoreError, match=r"has no version '9' of tiny; there are: 1\.0\.0, 2\.0\.0, 3\.0\.0"):
        act("tiny@9", store=store)
    with pytest.raises(StoreError, match="has no model 'six'; there are: tiny"):
        act("six@1", store=store)
    with pytest.raises(UsageError, match="doesn't say which version"):
        act("tiny", store=store)
    with pytest.raises(UsageError, match="names no version after the @"):
        act("tiny@", store=store)
    with pytest.raises(StoreError, match="no version"):
        act("tiny@../1.0.0", store=store)
    with pytest.raises(UsageError, match="is no model's name"):
        act("../tiny@1.0.0", store=store)
    with pytest.raises(StoreError, match="has no model"):
        act("tiny@1", store=store / "nowhere")
    assert not (store / "nowhere").exists()


def test_the_list_says_what_is_what(store: Path, made: Path) -> None:
    rollback("tiny", store=store)
    spoil(store, "1.0.0")
    (listed,) = installed(store=store)
    first, second, third = listed.versions
    assert (first.version, first.active, first.spec) == ("1.0.0", False, None)
    assert first.damaged is not None
    assert "holds 0 bytes" in first.damaged
    assert (second.active, second.damaged, second.set_aside) == (True, None, None)
    assert second.spec is not None
    assert (second.spec.sequence, second.quantization, second.validated) == (2, "none", True)
    assert (third.active, third.set_aside) == (False, "asked for")
    assert installed(store=store / "nowhere") == ()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"\0" * 300,
        b'{"schema": 2}',
        b'{"schema": 1, "installed": ["1.0.0"], "active": "2.0.0", "previous": [], "set_aside": {}, "history": []}',
        b'{"schema": 1, "installed": ["../.."], "active": "../..", "previous": [], "set_aside": {}, "history": []}',
        b'{"schema": 1, "installed": [], "previous": [], "set_aside": {}, "history": [], "more": 1}',
        b"[" * 100_000,
        None,
    ],
)
def test_a_damaged_record_is_said_and_written_anew_by_activating(damage: bytes | None, store: Path, made: Path) -> None:
    path = store / "tiny" / "state.json"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    says = (
        r"state\.json doesn't say which version is active .*`edgecnn store activate tiny@VERSION` writes it anew, the versions there are: 1\.0\.0, 2"
    )
    with pytest.raises(StoreError, match=says):
        install(made / "tiny-3.0.0.edgecnn", store=store)
    with pytest.raises(StoreError, match=says):
        rollback("tiny", store=store)
    (listed,) = installed(store=store)
    assert listed.state is None
    assert len(listed.versions) == 3, "no version is swept that a damaged record might speak of"
    activate("tiny@2.0.0", store=store)
    assert active(store) == "2.0.0"
    assert state(store).installed == ("1.0.0", "2.0.0", "3.0.0")


def test_the_history_does_not_grow_without_end(tmp_path: Path) -> None:
    first, second = (sample(tmp_path, version) for version in ("1.0.0", "2.0.0"))
    install(first, store=tmp_path / "store")
    install(second, store=tmp_path / "store")
    before = state(tmp_path / "store")
    for _ in range(60):
        before = before.with_active(before.previous[0], what="activated")
    assert len(before.history) == 50
    assert before.previous == ("2.0.0",) or before.previous == ("1.0.0",)

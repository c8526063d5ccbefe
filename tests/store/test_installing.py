"""Installing a model: what becomes active, what is refused, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn import store as stores
from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.pack import canonical_zip
from edgecnn.device.golden import read_golden
from edgecnn.errors import ArtifactRejected, DowngradeRefused, InputMissing, ModelRejected, SignatureRejected, StoreBusy, StoreError
from edgecnn.store import activate, install, installed, locate, rollback
from edgecnn.store.lock import locked
from tests.artifact.samples import pack_sample, spec
from tests.attacks.make import listed, members_of
from tests.fixtures.artifacts import npy, tiny_artifact
from tests.fixtures.repack import repacked
from tests.store.stores import active, contents, expected_files, files, runnable, sample, tried_here, unflushed


@pytest.fixture(autouse=True)
def quick() -> object:
    with tried_here(), unflushed():
        yield


def one(made: Path) -> Path:
    return made / "tiny-1.0.0.edgecnn"


def two(made: Path) -> Path:
    return made / "tiny-2.0.0.edgecnn"


def test_the_installed_model_is_active_and_all_that_is_there(tmp_path: Path, made: Path) -> None:
    found = install(one(made), store=tmp_path / "a" / "store")
    assert (found.name, found.version, found.before, found.changed, found.unpacked, found.downgrade) == ("tiny", "1.0.0", None, True, True, False)
    assert active(tmp_path / "a" / "store") == "1.0.0"
    assert files(tmp_path / "a" / "store") == expected_files(one(made))
    found = install(str(two(made)), store=str(tmp_path / "a" / "store"))
    assert (found.version, found.before) == ("2.0.0", "1.0.0")
    assert files(tmp_path / "a" / "store") == expected_files(one(made), two(made))
    (listed,) = installed(store=tmp_path / "a" / "store")
    assert [(version.version, version.active) for version in listed.versions] == [("1.0.0", False), ("2.0.0", True)]
    assert listed.state is not None
    assert [(event.what, event.version, event.before) for event in listed.state.history] == [
        ("installed", "1.0.0", None),
        ("installed", "2.0.0", "1.0.0"),
    ]


def test_the_members_are_those_of_the_file(tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path)
    with open_bundle(one(made)) as bundle:
        for name in bundle.names:
            assert (tmp_path / "tiny" / "1.0.0" / name).read_bytes() == bundle.read(name)


def test_the_default_store_is_named_by_the_environment(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_STORE", str(tmp_path / "here"))
    install(one(made))
    assert locate("tiny") == tmp_path / "here" / "tiny" / "1.0.0"
    assert active(tmp_path / "here") == "1.0.0"


def test_installing_again_changes_nothing(tmp_path: Path, made: Path) -> None:
    install(two(made), store=tmp_path)
    before = contents(tmp_path)
    again = install(two(made), store=tmp_path)
    assert (again.version, again.before, again.changed, again.unpacked) == ("2.0.0", "2.0.0", False, False)
    assert contents(tmp_path) == before


def test_another_file_of_the_same_version_is_refused(tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path)
    other = tmp_path / "other.edgecnn"
    pack_sample(other, spec=spec(name="tiny", version="1.0.0", sequence=3))
    before = contents(tmp_path / "tiny")
    with pytest.raises(StoreError, match=r"is another tiny@1\.0\.0 than the one that is installed; give it another version"):
        install(other, store=tmp_path)
    assert contents(tmp_path / "tiny") == before


def test_a_lower_sequence_is_refused_unless_it_is_allowed_which_is_recorded(tmp_path: Path, made: Path) -> None:
    install(two(made), store=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DowngradeRefused, match=r"tiny@1\.0\.0 has the sequence 1, lower than 2 of 2\.0\.0, which is active; --allow-downgrade"):
        install(one(made), store=tmp_path)
    assert contents(tmp_path) == before
    found = install(one(made), store=tmp_path, allow_downgrade=True)
    assert (found.version, found.downgrade) == ("1.0.0", True)
    (listed,) = installed(store=tmp_path)
    assert listed.state is not None
    assert listed.state.history[-1].downgrade
    assert not listed.state.history[0].downgrade


def test_an_equal_sequence_is_none_lower(tmp_path: Path) -> None:
    for version in ("1.0.0", "0.9.0"):
        found = install(sample(tmp_path, version), store=tmp_path / "store", allow_downgrade=True)
        assert not found.downgrade
    assert active(tmp_path / "store") == "0.9.0"


def test_an_older_version_that_is_still_there_is_activated_by_installing_it(tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path)
    install(two(made), store=tmp_path)
    with pytest.raises(DowngradeRefused):
        install(one(made), store=tmp_path)
    found = install(one(made), store=tmp_path, allow_downgrade=True)
    assert (found.version, found.unpacked) == ("1.0.0", False)


def test_what_was_rolled_back_is_not_installed_again_by_itself(tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path)
    install(two(made), store=tmp_path)
    rollback("tiny", store=tmp_path)
    with pytest.raises(
        StoreError, match=r"tiny@2\.0\.0 was rolled back here \(asked for\); `edgecnn store activate tiny@2\.0\.0` takes it all the same"
    ):
        install(two(made), store=tmp_path)
    assert active(tmp_path) == "1.0.0"
    activate("tiny@2.0.0", store=tmp_path)
    assert not install(two(made), store=tmp_path).changed


@pytest.mark.parametrize("damage", ["flip", "lose a member", "lose the manifest", "lose all", "another manifest's bytes"])
def test_a_damaged_version_is_made_whole_by_installing_it(damage: str, tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path)
    folder = tmp_path / "tiny" / "1.0.0"
    if damage == "flip":
        data = bytearray((folder / "model.onnx").read_bytes())
        data[100] ^= 4
        (folder / "model.onnx").write_bytes(data)
    elif damage == "lose all":
        folder.rename(tmp_path / "gone")
    elif damage == "another manifest's bytes":
        (folder / "manifest.json").write_bytes(b"\0" * 100)
    else:
        (folder / {"lose a member": "report.json", "lose the manifest": "manifest.json"}[damage]).unlink()
    with pytest.raises((ArtifactRejected, InputMissing)):
        active(tmp_path)
    found = install(one(made), store=tmp_path)
    assert (found.changed, found.unpacked) == (False, True)
    assert active(tmp_path) == "1.0.0"


def test_two_models_do_not_touch_each_other(tmp_path: Path, made: Path) -> None:
    install(one(made), store=tmp_path / "store")
    install(sample(tmp_path, "7.0", name="tiny.2"), store=tmp_path / "store")
    assert [listed.name for listed in installed(store=tmp_path / "store")] == ["tiny", "tiny.2"]
    assert active(tmp_path / "store", "tiny.2") == "7.0"
    assert active(tmp_path / "store") == "1.0.0"


@pytest.mark.parametrize("version", ["1." + "0" * 100, "1.0.sig"])
def test_a_version_that_can_not_be_a_folder_is_refused(version: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="version"):
        install(sample(tmp_path, version), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


# the trial


def real_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecnn.device.trial import try_model

    monkeypatch.setattr("edgecnn.store.installing.try_model", try_model)


def test_a_model_whose_answers_fall_short_never_becomes_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_trial(monkeypatch)
    good = runnable(tmp_path, "1.0.0")
    with open_bundle(runnable(tmp_path, "2.0.0")) as bundle:
        outputs = read_golden(bundle).outputs + 1
    bad = repacked(tmp_path / "2.0.0.edgecnn", {"golden/outputs.npy": npy(np.asarray(outputs, dtype=np.float32))})
    store = tmp_path / "store"
    install(good, store=store)
    before = contents(store)
    with pytest.raises(ModelRejected, match="short") as refusal:
        install(bad, store=store)
    assert str(bad) in str(refusal.value), "it is called by its own name"
    assert "incoming" not in str(refusal.value)
    assert contents(store) == before
    with pytest.raises(ModelRejected):
        install(bad, store=tmp_path / "empty")
    assert files(tmp_path / "empty") == {".lock"}


def _with_report(report: bytes | None) -> Callable[[bytes], bytes]:
    """A file that is what its manifest says, with another report or none."""
    return lambda good: b"".join(
        canonical_zip(listed({name: data for name, data in {**members_of(good), "report.json": report}.items() if data is not None}))
    )


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a byte": (lambda good: good.replace(b"not looked at here", b"not looked at herE"), "altered or damaged"),
    "a report of nothing": (_with_report(b"{}\n"), r"report\.json breaks the rules"),
    "no report": (_with_report(None), r"no member 'report\.json'"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("again", [False, True], ids=["new", "installed"])
def test_every_byte_of_the_file_is_checked(spoilt: str, again: bool, tmp_path: Path, made: Path) -> None:
    """Also of one whose version lies in the store already."""
    store = tmp_path / "store"
    if again:
        install(one(made), store=store)
    before = contents(store)
    spoil, says = SPOILT[spoilt]
    (tmp_path / "spoilt.edgecnn").write_bytes(spoil(one(made).read_bytes()))
    with pytest.raises(ArtifactRejected, match=says):
        install(tmp_path / "spoilt.edgecnn", store=store)
    assert contents(store) == before


# signatures


def keys(folder: Path) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "pub.pem").write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return folder / "key.pem", folder / "pub.pem"


def test_a_signature_is_kept_and_checked_at_each_start(tmp_path: Path) -> None:
    from edgecnn.sign.write import sign_file

    key, pub = keys(tmp_path)
    artifact = runnable(tmp_path, "1.0.0")
    store = tmp_path / "store"
    with pytest.raises(SignatureRejected, match="no signature"):
        install(artifact, store=store, trust_key=pub)
    assert not store.exists()
    install(artifact, store=store)  # nobody asked
    with pytest.raises(SignatureRejected):
        stores.load("tiny", store=store, trust_key=pub, threads=1)
    sign_file(artifact, key)
    assert not install(artifact, store=store, trust_key=pub).changed  # but brings the signature
    assert stores.load("tiny", store=store, trust_key=pub, threads=1).spec.name == "tiny"
    (tmp_path / "others").mkdir()
    with pytest.raises(SignatureRejected, match="another key"):
        stores.load("tiny", store=store, trust_key=keys(tmp_path / "others")[1], threads=1)
    with open(store / "tiny" / "1.0.0" / "report.json", "r+b") as file:
        file.write(b" ")
    with pytest.raises(SignatureRejected):
        stores.load("tiny", store=store, trust_key=pub, threads=1)


# others at the same time


def test_a_running_session_keeps_its_model(tmp_path: Path) -> None:
    first, second = runnable(tmp_path, "1.0.0"), runnable(tmp_path, "2.0.0")
    store = tmp_path / "store"
    install(first, store=store)
    model = stores.load("tiny", store=store, threads=1)
    with open_bundle(first) as bundle:
        x = read_golden(bundle).inputs[:1]
    before = model.logits(x)
    install(second, store=store)
    stores.remove("tiny@1.0.0", store=store)
    assert np.array_equal(model.logits(x), before)
    assert (model.spec.version, stores.load("tiny", store=store, threads=1).spec.version) == ("1.0.0", "2.0.0")


def test_one_install_waits_for_another_and_says_so(tmp_path: Path, made: Path) -> None:
    said: list[str] = []
    free = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with locked(tmp_path):
            held.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)

    def say(message: str) -> None:
        said.append(message)
        free.set()

    install(one(made), store=tmp_path, say=say)
    thread.join()
    assert said == [f"another process is changing {tmp_path}; waiting for it"]
    assert active(tmp_path) == "1.0.0"


def test_waiting_ends(tmp_path: Path, made: Path) -> None:
    with locked(tmp_path), pytest.raises(StoreBusy, match=r"wasn't done after 0\.1 s; try again later"):
        install(one(made), store=tmp_path, wait_s=0.1)


def test_a_lock_outlives_no_process(tmp_path: Path, made: Path) -> None:
    script = "import os, sys; from edgecnn.store.lock import locked\nwith locked(__import__('pathlib').Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == -9
    install(one(made), store=tmp_path, wait_s=0.1)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path, made: Path) -> None:
    (tmp_path / "store").mkdir()
    os.symlink(tmp_path / "precious", tmp_path / "store" / ".lock")
    with pytest.raises(Exception, match="can't be written"):
        install(one(made), store=tmp_path / "store")
    assert not (tmp_path / "precious").exists()


def test_an_artifact_packed_by_force_is_taken_and_marked(tmp_path: Path) -> None:
    install(tiny_artifact(tmp_path / "forced.edgecnn", force=True), store=tmp_path / "store")
    (listed,) = installed(store=tmp_path / "store")
    assert listed.versions[0].validated is False

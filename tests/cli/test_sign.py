"""`edgecnn sign`, as somebody uses it who has just made a key."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import click
import pytest

from edgecnn.cli import main
from edgecnn.sign import open_signed
from tests.bad_input.test_extras import without
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.signing import Keys, make_keys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """In the working folder, with an artifact a.edgecnn beside them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGECNN_KEY_PASSWORD", raising=False)
    color_artifact(tmp_path / "a.edgecnn")
    return make_keys(Path())


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int) -> str:
    found = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (found, out, err.count("\n"), err[:9]) == (code, "", 1, "edgecnn: ")
    assert not Path("a.edgecnn.sig").exists()
    return err[9:-1]


def test_it_signs_and_verify_agrees(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "a.edgecnn", "--key", "key.pem"]) == 0
    assert capsys.readouterr() == ("a.edgecnn.sig signs a.edgecnn\n", "")
    assert main(["verify", "a.edgecnn", "--key", "key.pub.pem"]) == 0
    assert "signed by the key of key.pub.pem" in capsys.readouterr().out
    assert main(["verify", "a.edgecnn", "--key", "key.pub.pem", "--deep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed_by"] == "key.pub.pem"
    assert main(["verify", "a.edgecnn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed_by"] is None


def test_json_names_both_files(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "a.edgecnn", "--key", "key.pem", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "file": "a.edgecnn", "signature": "a.edgecnn.sig"}


def test_what_cant_be_signed_is_said_in_a_sentence(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.edgecnn doesn't exist" in refused(capsys, "sign", "gone.edgecnn", "--key", "key.pem", code=3)
    assert "gone.pem doesn't exist; a private key" in refused(capsys, "sign", "a.edgecnn", "--key", "gone.pem", code=3)
    assert "holds a public key, which can't sign" in refused(capsys, "sign", "a.edgecnn", "--key", "key.pub.pem", code=3)
    assert "key.pem is no .edgecnn file" in refused(capsys, "sign", "key.pem", "--key", "key.pem", code=3)
    assert "a.edgecnn" in refused(capsys, "sign", "a.edgecnn", "--key", "a.edgecnn", code=3)
    assert "'--key'" in refused(capsys, "sign", "a.edgecnn", code=2)


def test_a_damaged_artifact_is_refused_and_not_signed(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("a.edgecnn")
    path.write_bytes(path.read_bytes().replace(b"colors", b"colour", 1))
    assert "a.edgecnn" in refused(capsys, "sign", path, "--key", "key.pem", code=3)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_passphrase_comes_from_the_environment_or_a_person(keys: Keys, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    locked = make_keys(Path(), "locked", passphrase="grün".encode())
    command = ["sign", "a.edgecnn", "--key", "locked.pem"]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "passphrase wasn't given; set EDGECNN_KEY_PASSWORD" in refused(capsys, *command, code=3)

    monkeypatch.setenv("EDGECNN_KEY_PASSWORD", "wrong")
    assert "by this passphrase" in refused(capsys, *command, code=3)
    monkeypatch.setenv("EDGECNN_KEY_PASSWORD", "grün")
    assert main(command) == 0
    open_signed("a.edgecnn", locked.public).close()
    Path("a.edgecnn.sig").unlink()

    monkeypatch.delenv("EDGECNN_KEY_PASSWORD")
    monkeypatch.setattr(sys, "stdin", _Terminal())
    asked = []
    monkeypatch.setattr(click.termui, "hidden_prompt_func", lambda text: asked.append(text) or "grün")
    assert main(command) == 0
    assert len(asked) == 1
    open_signed("a.edgecnn", locked.public).close()


def test_without_cryptography_the_pip_line_is_named(keys: Keys) -> None:
    done = without(["cryptography"], "sign", "a.edgecnn", "--key", "key.pem")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "edgecnn: cryptography isn't installed, and this needs it; run: pip install 'edgecnn[verify]'\n"

"""A device that trusts one key runs nothing else, whichever command it is handed to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import edgecnn
from edgecnn.artifact import bundle
from edgecnn.cli import main
from edgecnn.errors import ExtraMissing
from tests.bad_input.test_extras import without
from tests.fixtures.artifacts import color_artifact, encode, solid
from tests.fixtures.graphs import color_classifier
from tests.fixtures.signing import Keys, make_keys, sign_anything

COMMANDS = {
    "run": ["run", "a.edgecnn", "green.png"],
    "bench": ["bench", "a.edgecnn", "--min-seconds", "0", "--min-runs", "100"],
    "validate": ["validate", "a.edgecnn"],
    "verify": ["verify", "a.edgecnn"],
    "install": ["store", "install", "a.edgecnn", "--store", "models"],
}
commands = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """In the working folder, with a signed artifact a.edgecnn, green.png and the keys of a stranger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGECNN_TRUST_KEY", raising=False)
    color_artifact(tmp_path / "a.edgecnn")
    Path("green.png").write_bytes(encode(solid("green")))
    make_keys(Path(), "stranger")
    keys = make_keys(Path())
    sign_anything(Path("a.edgecnn"), keys)
    return keys


Said = Callable[[list[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """refused(arguments): what the command says that must end with 3, having parsed nothing and printed nothing else."""

    def parsed(*_: object) -> None:
        raise AssertionError("it was parsed")

    def run(arguments: list[str]) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(bundle, "PackedMembers", parsed)
            patch.setattr(bundle.Manifest, "from_json", parsed)
            code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (3, "", 1), err
        return err

    return run


WANTED = ["--require-signature", "--key", "key.pub.pem"]


@commands
def test_a_signed_artifact_is_taken(command: list[str], keys: Keys, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # a benchmark on a busy machine may be invalid, which is 1
    fine = (0, 1) if command[0] == "bench" else (0,)
    assert main([*command, *WANTED]) in fine, capsys.readouterr().err
    monkeypatch.setenv("EDGECNN_TRUST_KEY", "key.pub.pem")
    assert main(command) in fine, capsys.readouterr().err


def _altered_file() -> None:
    path = Path("a.edgecnn")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def _altered_signature() -> None:
    path = Path("a.edgecnn.sig")
    value = json.loads(path.read_bytes())
    sig = value["dsseEnvelope"]["signatures"][0]["sig"]
    value["dsseEnvelope"]["signatures"][0]["sig"] = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]
    path.write_text(json.dumps(value))


def _missing_signature() -> None:
    Path("a.edgecnn.sig").unlink()


def _another_s_signature() -> None:
    sign_anything(Path("a.edgecnn"), Keys(private=Path("stranger.pem"), public=Path("stranger.pub.pem")))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_altered_file, "a.edgecnn isn't the file that was signed"),
        (_altered_signature, "The signature of a.edgecnn was altered"),
        (_missing_signature, "there is no a.edgecnn.sig beside it"),
        (_another_s_signature, "signed with another key than that of key.pub.pem"),
    ],
)
@commands
def test_what_isnt_the_signed_file_is_refused_before_anything_is_parsed(
    command: list[str], spoil: Callable[[], None], said: str, keys: Keys, refused: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil()
    assert said in refused([*command, *WANTED])
    assert said in refused([*command, "--key", "key.pub.pem"])
    monkeypatch.setenv("EDGECNN_TRUST_KEY", "key.pub.pem")
    assert said in refused(command)
    assert said in refused([*command, "--require-signature"])


def test_the_key_that_is_named_goes_before_the_one_of_the_environment(keys: Keys, refused: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_TRUST_KEY", "stranger.pub.pem")
    assert "stranger.pub.pem" in refused(["run", "a.edgecnn", "green.png"])
    assert main(["run", "a.edgecnn", "green.png", *WANTED]) == 0


@pytest.mark.parametrize("key", ["gone.pem", "key.pem", "green.png", "."])
def test_a_key_that_cant_be_used_never_means_no_key(key: str, keys: Keys, refused: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    assert key in refused(["run", "a.edgecnn", "green.png", "--key", key])
    monkeypatch.setenv("EDGECNN_TRUST_KEY", key)
    assert key in refused(["run", "a.edgecnn", "green.png"])


@commands
def test_a_demand_without_a_key_is_a_usage_error(command: list[str], keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--require-signature"]) == 2
    assert "give --key PUB, e.g. pub.pem, or set EDGECNN_TRUST_KEY" in capsys.readouterr().err


def test_each_benchmarked_file_needs_its_signature_a_bare_graph_too(keys: Keys, refused: Said, capsys: pytest.CaptureFixture[str]) -> None:
    graph = Path("b.onnx")
    graph.write_bytes(color_classifier())
    quick = ["--min-seconds", "0", "--min-runs", "100"]
    with_graph = ["bench", "b.onnx", *quick, *WANTED]
    assert "there is no b.onnx.sig beside it" in refused(with_graph)
    sign_anything(graph, keys)
    assert main(["bench", "a.edgecnn", "b.onnx", *quick, *WANTED]) in (0, 1)
    capsys.readouterr()
    graph.write_bytes(color_classifier() + b"\0")
    assert "b.onnx isn't the file that was signed" in refused(with_graph)


@commands
def test_nobody_who_asks_for_no_signature_needs_cryptography(command: list[str], keys: Keys) -> None:
    """`without` makes sure that it isn't even looked for."""
    done = without(["cryptography"], *command)
    assert done.returncode in ((0, 1) if command[0] == "bench" else (0,)), done.stderr


def test_without_cryptography_the_pip_line_is_named(keys: Keys) -> None:
    done = without(["cryptography"], "run", "a.edgecnn", "green.png", *WANTED)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "edgecnn: cryptography isn't installed, and this needs it; run: pip install 'edgecnn[verify]'\n"


def test_python_names_the_pip_line_too(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraMissing, match=r"pip install 'edgecnn\[verify\]'"):
        edgecnn.load("a.edgecnn", trust_key="key.pub.pem")

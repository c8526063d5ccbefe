"""Completion in a real bash, key by key, and what zsh and fish are told; each answer is found without importing anything heavy."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.cli import main

BIN = Path(sys.executable).parent
PATIENCE_S = 120


class Bash:
    """An interactive bash with the completion that `edgecnn completion bash` prints."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            cwd=folder,
            env={**environment, "PATH": f"{BIN}{os.pathsep}{environment['PATH']}", "TERM": "dumb", "PS1": "> ", "INPUTRC": "/dev/null"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.said = ""
        self.type("bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind 'set page-completions off'\n")
        self.type("""show() { echo "LINE<$READLINE_LINE>"; }; bind -x '"\\C-g": show'\n""")
        self.type('source <(edgecnn completion bash); echo "sour""ced"\n')
        self.wait("sourced")

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def wait(self, wanted: str) -> str:
        """What was said until `wanted`, which is taken off."""
        until = time.monotonic() + PATIENCE_S
        while wanted not in self.said:
            if select.select([self.leader], [], [], 1)[0]:
                self.said += os.read(self.leader, 1 << 16).decode(errors="replace")
            assert time.monotonic() < until, f"bash said: {self.said!r}"
        before, _, self.said = self.said.partition(wanted)
        return before

    def complete(self, line: str) -> str:
        """The line after Tab."""
        self.type(line + "\t\x07")
        self.wait("LINE<")
        found = self.wait(">\r\n")
        self.type("\x15")
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bash]:
    folder = tmp_path_factory.mktemp("shell")
    for name in ("resnet8.edgecnn", "net.onnx", "cat.jpg"):
        (folder / "files" / name).parent.mkdir(exist_ok=True)
        (folder / "files" / name).touch()
    (folder / "photo.jpg").touch()
    (folder / "pets.edgecnn").touch()
    for name in ("pets", "colors"):
        (folder / "store" / name).mkdir(parents=True)
    (folder / "other" / "planes").mkdir(parents=True)
    shell = Bash(folder, {**os.environ, "EDGECNN_STORE": str(folder / "store")})
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("edgecnn insp", "edgecnn inspect "),
        ("edgecnn --ver", "edgecnn --version "),
        ("edgecnn nothing", "edgecnn nothing"),
        ("edgecnn diff a b --exit", "edgecnn diff a b --exit-code "),
        ("edgecnn diff a b --ignore wei", "edgecnn diff a b --ignore weights "),
        ("edgecnn export net.onnx --quantize dyn", "edgecnn export net.onnx --quantize dynamic "),
        ("edgecnn store inst", "edgecnn store install "),
        ("edgecnn store rollback co", "edgecnn store rollback colors "),
        ("edgecnn completion fi", "edgecnn completion fish "),
        ("edgecnn run files/res", "edgecnn run files/resnet8.edgecnn "),
        ("edgecnn run fil", "edgecnn run files/"),
        ("edgecnn run co", "edgecnn run colors "),
        ("edgecnn run pets.", "edgecnn run pets.edgecnn "),
        ("edgecnn run --store other pla", "edgecnn run --store other planes "),
        ("edgecnn run x pho", "edgecnn run x photo.jpg "),
        ("edgecnn validate x --data fil", "edgecnn validate x --data files/"),
        ("edgecnn export files/ne", "edgecnn export files/net.onnx "),
        ("edgecnn bench a files/n", "edgecnn bench a files/net.onnx "),
    ],
)
def test_tab_in_bash(typed: str, completed: str, bash: Bash) -> None:
    assert bash.complete(typed) == completed


def test_a_name_in_the_store_and_a_file_here_are_both_offered(bash: Bash) -> None:
    bash.type("edgecnn run pe\t\t\t\x07")  # the first Tab goes as far as both do
    listed = bash.wait("LINE<")
    assert "pets.edgecnn" in listed
    assert bash.wait(">\r\n") == "edgecnn run pets"
    bash.type("\x15")


def asked(shell: str, words: str, at: int) -> str:
    """The protocol of click's scripts."""
    environment = {**os.environ, "_EDGECNN_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    if shell == "fish":
        environment["COMP_CWORD"] = words.split()[-1]
    return subprocess.run([sys.executable, "-m", "edgecnn"], env=environment, capture_output=True, text=True, check=True).stdout


def test_zsh_and_fish_are_told_what_each_command_is_for() -> None:
    assert asked("zsh", "edgecnn verif", 1) == "plain\nverify\nCheck that an artifact is whole and unaltered; --deep tries its model, too.\n"
    assert "verify" in asked("fish", "edgecnn verif", 1)
    assert "Check that an artifact is whole" in asked("fish", "edgecnn verif", 1)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_ask_edgecnn_itself(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert (f"_EDGECNN_COMPLETE={shell}_complete" in out, err) == (True, "")


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "powershell"]) == 2
    assert "'powershell' is not one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "at"), [("edgecnn r", 1), ("edgecnn diff --", 2), ("edgecnn run pe", 2), ("edgecnn export net.onnx --quantize d", 4)]
)
def test_an_answer_imports_nothing_heavy(words: str, at: int) -> None:
    script = """
import sys
from edgecnn.cli import main
try:
    main([])
except SystemExit:
    pass
heavy = {"numpy", "onnxruntime", "PIL", "torch", "onnx", "rich"} & set(sys.modules)
print("HEAVY", *sorted(heavy), file=sys.stderr)
"""
    environment = {**os.environ, "_EDGECNN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "HEAVY\n"
    assert done.stdout


def test_a_store_that_can_not_be_read_offers_files(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    environment = {**os.environ, "_EDGECNN_COMPLETE": "bash_complete", "COMP_WORDS": "edgecnn run pe", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn"],
        env={**environment, "EDGECNN_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("file,pe\n", "")

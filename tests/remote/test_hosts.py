"""What is taken for a device's name, and that no name can be more than a name."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.cli import main
from edgecnn.errors import UsageError
from edgecnn.remote.connection import COMMAND, ssh_command
from edgecnn.remote.hosts import parse


@pytest.mark.parametrize(
    ("text", "target", "port"),
    [
        ("pi", "pi", None),
        ("pi@camera.local", "pi@camera.local", None),
        ("pi@10.0.0.7:2222", "pi@10.0.0.7", 2222),
        ("cam_1", "cam_1", None),
        ("a.b-c@x-y.example:1", "a.b-c@x-y.example", 1),
        ("first@corp@host", "first@corp@host", None),
        ("machine$@host", "machine$@host", None),
        ("pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0", 22),
        ("[::1]", "::1", None),
    ],
)
def test_names_that_people_use(text: str, target: str, port: int | None) -> None:
    found = parse(text)
    assert (found.target, found.port, found.name) == (target, port, text)
    assert ssh_command(found, asking=True)[-3:] == ["--", target, COMMAND]


HOSTILE = [
    "",
    "-oProxyCommand=touch${IFS}x",
    "-p22",
    "user@-oProxyCommand=touch x",
    "-l@host",
    "user@",
    "@host",
    "host; touch x",
    "host`touch x`",
    "host$(touch x)",
    "host|touch x",
    "ho st",
    "host\n",
    "\nhost",
    "host\ttouch",
    "host\0x",
    "user name@host",
    "us'er@host",
    'us"er@host',
    "%h@host",
    "host%h",
    "ssh://host",
    "host:",
    "host:0",
    "host:65536",
    "host:22x",
    "host:-22",
    "host:22:23",
    "host/../x",
    "~host",
    "[::1",
    "::1]",
    "[-oProxyCommand=x]",
    "[::1%-o x]",
    "hôst",
    "h" * 256,
    "host:٢٢",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("command", [["probe", "--on"], ["setup"]], ids=["--on", "setup"])
def test_what_is_no_plain_name_is_one_usage_error(command: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*command, text] if command[0] == "probe" else [*command, "--", text]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("edgecnn: ")


@given(st.text(max_size=40))
def test_nothing_that_is_taken_has_a_character_that_anybody_reads_as_more(text: str) -> None:
    try:
        found = parse(text)
    except UsageError:
        return
    assert not found.target.startswith("-")
    assert not set(found.target) & set(" \t\r\n\0'\"\\`;&|<>(){}*?!#~=,/")
    assert shlex.split(found.target.replace("$", "")) == [found.target.replace("$", "")]


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_line_for_the_device_s_shell_is_read_alike_by_shells(shell: str) -> None:
    """It asks for an interpreter on standard input, and says so where there is none."""
    try:
        done = subprocess.run([shell, "-c", COMMAND], input=b"/nowhere/$(touch x)/python\n", capture_output=True, check=False)
    except FileNotFoundError:
        return  # this machine lacks that shell, and the others are tried
    assert done.stdout == b"edgecnn-remote-without-python\n"
    assert done.stderr == b""


def test_it_is_fixed_and_has_nothing_that_shells_disagree_about() -> None:
    (inner,) = shlex.split(COMMAND)[3:]
    assert shlex.split(COMMAND)[:3] == ["exec", "sh", "-c"]
    assert not set(inner) & set("'\\!\n")


def test_an_odd_edgecnn_ssh_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGECNN_SSH", "ssh -F 'my config")
    assert main(["probe", "--on", "pi"]) == 2
    assert "EDGECNN_SSH is no command line" in capsys.readouterr().err
    monkeypatch.setenv("EDGECNN_SSH", "/nowhere/ssh")
    assert main(["probe", "--on", "pi"]) == 4
    assert "/nowhere/ssh can't be started" in capsys.readouterr().err

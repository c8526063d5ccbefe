"""What a device that belongs to somebody else can send back: text at most, and never without end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from edgecnn.cli import main
from tests.fixtures.artifacts import color_artifact, encode, solid

DEVICE = """\
import sys, threading
MAGIC = b"\\0edgecnn-remote\\0"
out = sys.stdout.buffer
def frame(kind, content):
    out.write(kind + len(content).to_bytes(4, "big") + content)
    out.flush()
def hello(version='"0.1.0"'):
    out.write(MAGIC)
    frame(b"h", b'{"protocol": 1, "edgecnn": %s, "python": "3"}' % version.encode())
def nothing_wanted():
    frame(b"n", b"[]")
def wait():
    sys.stdin.buffer.read()
try:
    BODY
except BrokenPipeError:
    pass
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """device(body): what answers instead of ssh is a program with that in it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("edgecnn.remote.connection.GRACE_S", 0.3)
    color_artifact(tmp_path / "work" / "colors.edgecnn")
    (tmp_path / "work" / "red.png").write_bytes(encode(solid("red")))

    def make(body: str) -> None:
        (tmp_path / "device.py").write_text(DEVICE.replace("    BODY", "\n".join(f"    {line}" for line in body.splitlines())))
        monkeypatch.setenv("EDGECNN_SSH", shlex.join([sys.executable, str(tmp_path / "device.py")]))

    return make


RUN = ["run", "colors.edgecnn", "red.png", "--on", "pi"]
ODD = "doesn't answer as edgecnn does; see that `ssh pi` reaches the device that you mean."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("out.write(b'y' * 1000000)", ODD),
        ("out.write(MAGIC + b'h' + b'\\xff' * 4)", ODD),
        ("out.write(MAGIC); frame(b'h', b'[' * 100000)", ODD),
        ("out.write(MAGIC); frame(b'o', b'{}')", ODD),
        ("hello('{}')", "edgecnn isn't installed on pi"),
        ("hello('\"\\\\u001b[2J' + 'x' * 100000 + '\"')", "edgecnn is \\x1b[2Jxxx"),
        ("hello(); frame(b'n', b'[[7, 0]]'); wait()", ODD),
        ("hello(); frame(b'n', b'[[-1, 0]]'); wait()", ODD),
        ("hello(); frame(b'n', b'[[0, -1]]'); wait()", ODD),
        ("hello(); frame(b'n', b'[[0, 1e9]]'); wait()", ODD),
        ("hello(); frame(b'n', b'[[0, 99999999]]'); wait()", ODD),
        ("hello(); frame(b'n', b'[[0, 0], [0, 0], [0, 0], [0, 0]]'); wait()", ODD),
        ("hello()\nthreading.Thread(target=wait, daemon=True).start()\nwhile True: frame(b'n', b'[[0, 0]]'); nothing_wanted()", ODD),
        ("hello(); frame(b'n', b'{}'); wait()", ODD),
        ("hello(); frame(b'n', b'7'); wait()", ODD),
        ("hello(); nothing_wanted(); frame(b'z', b''); wait()", ODD),
        ("hello(); nothing_wanted(); frame(b'x', b'\"0\"'); wait()", "ended without an exit code"),
        ("hello(); nothing_wanted(); frame(b'x', b'1000'); wait()", "ended without an exit code"),
        ("hello(); nothing_wanted(); frame(b'x', b'-9'); wait()", "killed there by SIGKILL; its memory may have run out"),
        (
            "hello(); nothing_wanted(); frame(b'e', b'{\"error\": \"\\\\u001b[2J\\\\nedgecnn: \\\\u009b31m\"}'); wait()",
            "pi: \\x1b[2J edgecnn: \\x9b31m",
        ),
        ("hello(); nothing_wanted(); frame(b'e', b'[]'); wait()", "pi: None"),
        ("sys.stderr.write('ssh: \\x1b]0;title\\x07 no\\n')", "ssh: \\x1b]0;title\\x07 no"),
        ("hello(); nothing_wanted()\nwhile True: frame(b'o', b'y' * 1000000)", "a line of more than 32 MiB"),
    ],
)
def test_nonsense_is_one_error(device: object, capfd: pytest.CaptureFixture[str], body: str, said: str) -> None:
    device(body)  # type: ignore[operator]
    assert main(RUN) == 4
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1, err
    assert len(err) < 2000
    assert err.rstrip("\n").isprintable()


HAPPY = "hello(); nothing_wanted(); {}; frame(b'x', b'0'); wait()"
ESCAPES = b"\\x1b[2J\\x9b31m\\r\\x00\\u202e".decode("unicode_escape").encode()


def test_what_a_terminal_would_act_on_is_spelled_out(device: object, capfd: pytest.CaptureFixture[str]) -> None:
    device(HAPPY.format(f"frame(b'o', {ESCAPES!r} + b'\\xff one\\ntwo'); frame(b'm', b'edgecnn: ' + {ESCAPES!r} + b'\\n' + b'z' * 300000)"))  # type: ignore[operator]
    assert main(RUN) == 0
    said = capfd.readouterr()
    assert said.out == "\\x1b[2J\\x9b31m\\r\\x00\\u202e\\xff one\ntwo\n"
    for line in (said.out + said.err).splitlines():
        assert line.isprintable()
    assert said.err.startswith("edgecnn: pi: \\x1b[2J")
    assert max(map(len, said.err.splitlines())) < 20_000


@pytest.mark.parametrize(
    "command", [["bench", "colors.edgecnn"], ["probe"], ["run", "colors.edgecnn", "red.png", "--json"], ["validate", "colors.edgecnn"]]
)
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "nonsense",
        "NaN",
        '{"file": "\\u001b[2J", "ms": {"p50": "x", "p90": -1, "p99": 1e308}, "valid": 1, "threads": [], "host": 7}',
        '{"file": null, "ms": [], "images_per_second": true, "onnxruntime": {"products": {}, "providers": [1, {"loads": 1}]}}',
        '{"memory_bytes": 10e999}',
        '{"memory_bytes": 1' + "0" * 5000 + "}",
        '{"board": "' + "\\u001b" * 500 + '", "onnxruntime": 3}',
        "[" * 20000,
    ],
    ids=lambda line: line[:20] if isinstance(line, str) else None,
)
def test_no_record_breaks_a_table(device: object, capfd: pytest.CaptureFixture[str], command: list[str], line: str) -> None:
    device(HAPPY.format(f"frame(b'o', {line.encode()!r} + b'\\n')"))  # type: ignore[operator]
    assert main([*command, "--on", "a", "--on", "b"]) == 0
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    for shown in (said.out + said.err).splitlines():
        assert shown.isprintable()


def test_no_file_is_written_here_whatever_the_device_says(device: object, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    device(HAPPY.format("frame(b'o', b'/etc/passwd ../x\\n')"))  # type: ignore[operator]
    assert main(RUN) == 0
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "device.py") == before

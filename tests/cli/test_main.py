"""The frame of the command line: help without imports, one sentence for an error, the right exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import edgecnn
from edgecnn import cli, errors
from edgecnn.cli import main

ROOT = Path(edgecnn.__file__).parents[1]
COMMANDS = sorted(path.stem.replace("_", "-") for path in Path(cli.__file__).parent.glob("[!_]*.py"))
STDLIB_AND_CLICK_ONLY = """
import sys
from edgecnn.cli import main
code = main(sys.argv[1:])
heavy = {"numpy", "onnxruntime", "PIL", "torch", "onnx", "rich", "lightning"} & set(sys.modules)
print("HEAVY", *sorted(heavy))
print("COMMANDS", *sorted(name for name in sys.modules if name.startswith("edgecnn.cli.") and not name.startswith("edgecnn.cli._")))
sys.exit(code)
"""


def edgecnn_process(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgecnn", *arguments], capture_output=True, text=True, timeout=120, **keywords)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes `edgecnn inspect` do something else."""

    def replace(function: Callable[[], None]) -> None:
        monkeypatch.setattr(cli.Commands, "get_command", lambda *_: click.Command("inspect", callback=function))

    return replace


# Help


def test_help_lists_every_command_with_a_line_and_imports_none() -> None:
    done = subprocess.run([sys.executable, "-c", STDLIB_AND_CLICK_ONLY, "--help"], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"\n  {name}  " in done.stdout
    assert "HEAVY\n" in done.stdout
    assert "COMMANDS\n" in done.stdout


def test_help_tells_host_and_device_commands_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    device, host = capsys.readouterr().out.split("Device commands:")[1].split("Host commands")
    wanted = {device: ("run", "inspect", "validate", "bench", "report", "explain", "diff", "completion"), host: ("train", "export", "blame")}
    for group, names in wanted.items():
        for name in names:
            assert f"\n  {name} " in group


def test_help_says_which_device_commands_want_an_extra_for_their_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("[report]: its pages need pip install 'edgecnn[report]'.\n")
    device = out.split("Device commands:")[1].split("Host commands")[0]
    rows = [" ".join(row.split()) for row in device.replace("\n  ", "\0").replace("\0          ", " ").split("\0") if row.strip()]
    assert {row.split()[0] for row in rows if row.endswith("[report]")} == {"report", "explain", "diff", "bench"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_without_heavy_imports_and_shows_an_example(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", STDLIB_AND_CLICK_ONLY, name, "--help"], capture_output=True, text=True, check=True)
    assert f"Usage: edgecnn {name}" in done.stdout
    assert "Example" in done.stdout
    assert "HEAVY\n" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_line_of_its_own_in_the_list(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {name} "))
    assert len(line.split(maxsplit=1)[1]) > 10


def test_no_command_at_all_shows_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Device commands:" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgecnn {edgecnn.__version__}\n"


def test_python_m_edgecnn_is_edgecnn() -> None:
    assert edgecnn_process("--version").stdout == f"edgecnn {edgecnn.__version__}\n"


def test_a_shell_can_ask_for_completions() -> None:
    done = edgecnn_process(env={**os.environ, "_EDGECNN_COMPLETE": "bash_complete", "COMP_WORDS": "edgecnn in", "COMP_CWORD": "1"})
    assert done.stdout == "plain,inspect\n"


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "edgecnn: there is no command 'rnu', did you mean run? See `edgecnn --help`.\n"),
        (["run"], "edgecnn: Missing argument 'FILE'; see `edgecnn run --help`.\n"),
        (["run", "a", "b", "--tpo", "3"], "edgecnn: No such option"),
        (["--nothing"], "edgecnn: No such option"),
        (["run", "a", "b", "--top", "0"], "edgecnn: Invalid value for '--top'"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_a_hopeless_name_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frobnicate"]) == 2
    assert "run" in capsys.readouterr().err


def hierarchy(root: type[errors.EdgecnnError] = errors.EdgecnnError) -> list[type[errors.EdgecnnError]]:
    return [root, *(found for kind in root.__subclasses__() for found in hierarchy(kind))]


@pytest.mark.parametrize("kind", hierarchy())
def test_every_error_of_ours_is_one_line_its_exit_code_and_the_page_that_helps(
    kind: type[errors.EdgecnnError], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("this was found; that was wanted.")

    command(fail)
    assert main(["inspect"]) == kind.exit_code
    page = f" See {kind.page}." if kind.page else ""
    assert capsys.readouterr() == ("", f"edgecnn: this was found; that was wanted.{page}\n")


def test_every_page_that_an_error_names_exists() -> None:
    pages = {kind.page for kind in hierarchy()} - {""}
    assert {"docs/artifact-format.md", "docs/trust.md", "docs/why-is-my-int8-model-wrong.md"} <= pages
    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_a_bug_shows_a_traceback_and_what_to_report(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise LookupError("oops")

    command(fail)
    assert main(["inspect"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "LookupError: oops" in err
    assert "test_main.py" in err
    assert "please report it" in err
    assert f"edgecnn {edgecnn.__version__}" in err
    assert "command: edgecnn inspect" in err


def test_a_lack_of_memory_is_said_and_no_bug(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise MemoryError

    command(fail)
    assert main(["inspect"]) == 4
    assert capsys.readouterr() == ("", "edgecnn: this machine's memory isn't enough for that; free some, or take smaller files.\n")


def test_an_end_of_input_is_no_interrupt(command: Any) -> None:
    def fail() -> None:
        raise EOFError("input ended")

    command(fail)
    assert main(["inspect"]) == 70


def test_an_interrupt_is_one_line_and_130(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    command(fail)
    assert main(["inspect"]) == 130
    assert capsys.readouterr() == ("", "edgecnn: interrupted\n")


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("torch", "pip install 'edgecnn[export]'"),
        ("torch.nn", "pip install 'edgecnn[export]'"),
        ("onnxsim", "pip install 'edgecnn[export]'"),
        ("lightning_fabric", "pip install 'edgecnn[train]'"),
        ("pooch", "pip install 'edgecnn[train]'"),
        ("onnxruntime", "pip install edgecnn"),
        ("PIL", "pip install edgecnn"),
    ],
)
def test_a_package_that_is_not_installed_gives_the_pip_line(package: str, line: str, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    command(fail)
    assert main(["inspect"]) == 4
    err = capsys.readouterr().err
    assert err.endswith(f"run: {line}\n")
    assert err.count("\n") == 1


def test_a_module_of_ours_that_is_gone_is_a_bug(command: Any) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'edgecnn.nothing'", name="edgecnn.nothing")

    command(fail)
    assert main(["inspect"]) == 70


def test_require_extra_names_the_extra() -> None:
    from edgecnn.cli._options import require_extra

    with pytest.raises(errors.ExtraMissing, match=r"no_such_package isn't installed.*pip install 'edgecnn\[train\]'"), require_extra("train"):
        import no_such_package  # noqa: F401


def test_a_host_command_without_its_extra_says_so_from_a_real_import() -> None:
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning_fabric", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from edgecnn.cli import main
sys.exit(main(["train", "recipe.toml"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 4
    assert "pip install 'edgecnn[" in done.stderr
    assert done.stderr.count("\n") == 1


# Streams


def test_a_closed_pipe_ends_silently(command: Any) -> None:
    script = "import sys; from edgecnn.cli import main; from edgecnn.cli import _options\n"
    script += "import click; from edgecnn import cli\n"
    script += "cli.Commands.get_command = lambda *_: click.Command('many', callback=lambda: [_options.put('line') for _ in range(100000)])\n"
    script += "sys.exit(main(['inspect']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_full_disk_behind_standard_output_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "edgecnn", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4
    assert done.stderr == "edgecnn: standard output can't be written (No space left on device); send it elsewhere.\n"


def test_no_standard_output_at_all_is_no_bug() -> None:
    done = subprocess.run(["sh", "-c", f"exec {sys.executable} -m edgecnn --version >&-"], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_that_cannot_show_a_character_gets_it_spelled_out(tmp_path: Path) -> None:
    done = edgecnn_process("inspect", str(tmp_path / "caf\u00e9.onnx"), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 3
    assert "caf\\xe9.onnx doesn't exist" in done.stderr


def test_a_file_name_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "\x1b[2Jnowhere.onnx"]) == 3
    assert "\x1b" not in capsys.readouterr().err


def test_control_c_ends_a_command_with_130_and_one_line(tmp_path: Path) -> None:
    fifo = tmp_path / "waiting"
    os.mkfifo(fifo)
    script = "import sys; from edgecnn import cli; import click; from edgecnn.cli._options import put\n"
    script += f"cli.Commands.get_command = lambda *_: click.Command('wait', callback=lambda: (put('ready'), open({str(fifo)!r}).read()))\n"
    script += "sys.exit(cli.main(['inspect']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "edgecnn: interrupted\n")

"""Commands on devices, over a real ssh to a real sshd: what comes back, what goes over, and what a file's name can't do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgecnn.remote import jobs
from edgecnn.remote.hosts import parse
from edgecnn.remote.jobs import Copied, Ended, Job, Said
from edgecnn.remote.sending import described
from tests.fixtures.artifacts import encode, solid
from tests.remote.conftest import Cli, records
from tools.arm64_lab.loopback import Loopback


def without_times(text: str) -> list[dict[str, object]]:
    return [{key: value for key, value in record.items() if key != "ms"} for record in records(text)]


def test_one_device_s_answers_are_those_of_this_machine(cli: Cli, devices: Loopback) -> None:
    words = ("run", "colors.edgecnn", "red.png", "photos", "./photos//blue.png", "--top", "2")
    there, here = cli(*words, "--on", devices.names[0]), cli(*words)
    assert (there.returncode, there.stdout, there.stderr) == (0, here.stdout, "")
    assert len(here.stdout.splitlines()) == 4


def test_paths_from_elsewhere_and_standard_input(cli: Cli, devices: Loopback, workplace: Path) -> None:
    done = cli("run", workplace / "colors.edgecnn", "../work/red.png", "--json", "--on", devices.names[0])
    assert [record["input"] for record in records(done.stdout)] == ["work/red.png"]
    import subprocess
    import sys

    with open(workplace / "red.png", "rb") as feed:
        command = [sys.executable, "-m", "edgecnn", "run", "colors.edgecnn", "-", "--on", devices.names[0]]
        fed = subprocess.run(command, stdin=feed, capture_output=True, text=True, env={**os.environ, "EDGECNN_SSH": devices.ssh}, check=False)
    assert (fed.returncode, fed.stdout.split()[:2]) == (0, ["-", "red"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "colors.edgecnn", "gone.png"), 3, "gone.png doesn't exist"),
        (("run", "colors.edgecnn", "gone.png", "red.png"), 5, "1 of 2 inputs could not be used"),
        (("run", "cut.edgecnn", "red.png"), 3, "cut.edgecnn"),
        (("validate", "colors.edgecnn", "--data", "wrong", "--min-accuracy", "1"), 1, "colors.edgecnn decides 0.00% of 1 images right"),
        (("run", "colors.edgecnn", "red.png", "--threads", "100000"), 2, "threads"),
        (("run", "colours", "red.png"), 3, "colours"),
    ],
)
def test_exit_codes_and_messages_come_back(cli: Cli, devices: Loopback, workplace: Path, words: tuple[str, ...], code: int, said: str) -> None:
    (workplace / "cut.edgecnn").write_bytes((workplace / "colors.edgecnn").read_bytes()[:5000])
    (workplace / "wrong" / "green").mkdir(parents=True)
    (workplace / "wrong" / "green" / "0.png").write_bytes(encode(solid("red")))
    done = cli(*words, "--on", devices.names[0])
    assert done.returncode == code, done.stderr
    assert all(line.startswith(f"edgecnn: {devices.names[0]}: ") for line in done.stderr.splitlines())
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "gone.edgecnn", "red.png"), 3, "gone.edgecnn doesn't exist"),
        (("run", "./photos", "red.png"), 3, "photos is a folder"),
        (("run", "colors.edgecnn", "--watch", "photos"), 2, "--watch can't go with --on"),
        (("run", "colors.edgecnn", "--stream", "paths"), 2, "--stream can't go with --on"),
        (("validate", "colors.edgecnn", "--key", "gone.pem"), 3, "gone.pem doesn't exist"),
    ],
)
def test_what_can_t_be_sent_is_said_without_a_device(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    done = cli(*words, "--on", "nowhere.invalid", EDGECNN_SSH="/nowhere/ssh")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


HOSTILE = [
    "$(touch x).png",
    "`touch x`.png",
    "; touch x;.png",
    "| touch x #.png",
    "&& touch x.png",
    "> x.png",
    "-rf.png",
    "--json.png",
    "--on=root@elsewhere.png",
    'it\'s "quoted".png',
    "new\nline; touch x\n.png",
    "back\\slash.png",
    "$HOME.png",
    "*.png",
    " .png",
    "%h.png",
    "\udcff\udcfe.png",
    "\x1b[2J.png",
]


def test_no_name_of_a_file_is_more_than_a_name(cli: Cli, devices: Loopback, workplace: Path) -> None:
    for name in HOSTILE:
        (workplace / name).write_bytes((workplace / "red.png").read_bytes())
    for words in (("--", "colors.edgecnn", *HOSTILE), ("colors.edgecnn", ".")):
        here = cli("run", "--json", *words)
        there = cli("run", "--json", "--on", devices.names[0], *words)
        assert (there.returncode, there.stderr) == (0, "")
        assert without_times(there.stdout) == without_times(here.stdout)
        assert len(records(here.stdout)) >= len(HOSTILE)
    everywhere = [path for folder in (workplace, *devices.homes) for path in folder.rglob("*")]
    assert not [path for path in everywhere if path.name == "x"]


@pytest.mark.parametrize("name", ["$(touch x)", "-oProxyCommand=touch x", "a\nb", "~root", ".."])
def test_no_name_of_a_model_or_store_is_more_than_a_name(cli: Cli, devices: Loopback, name: str) -> None:
    done = cli("store", "rollback", f"--store={name}", "--on", devices.names[0], "--", name)
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
    assert not (devices.homes[0] / "x").exists()


def test_what_is_sent_isn_t_imported_there(cli: Cli, devices: Loopback, workplace: Path) -> None:
    (workplace / "data").mkdir()
    for name in ("numpy.py", "click.py", "edgecnn.py", "sitecustomize.py"):
        (workplace / name).write_text("import os; os._exit(99)")
        (workplace / "data" / name).write_text("import os; os._exit(99)")
    done = cli("run", "--on", devices.names[0], "./colors.edgecnn", "numpy.py", "click.py", "edgecnn.py", "red.png")
    assert done.returncode == 5, done.stderr
    assert "red" in done.stdout


def test_a_store_of_the_device_and_a_signature(cli: Cli, devices: Loopback, workplace: Path) -> None:
    import subprocess

    subprocess.run("openssl ecparam -name prime256v1 -genkey -noout -out k.pem; openssl ec -in k.pem -pubout -out p.pem 2>&1", shell=True, check=True)
    on = ("--on", devices.names[1])
    assert cli("store", "install", "colors.edgecnn", "--key", "p.pem", *on).returncode == 3
    assert cli("sign", "colors.edgecnn", "--key", "k.pem").returncode == 0
    assert cli("store", "install", "colors.edgecnn", "--store", "models", "--key", "p.pem", *on).stdout == "colors@1.0.0 is active\n"
    assert (devices.homes[1] / "models" / "colors" / "1.0.0").is_dir()
    assert cli("run", "colors", "red.png", "--store", "models", *on, EDGECNN_TRUST_KEY="p.pem").stdout.split()[:2] == ["red.png", "red"]
    (found,) = records(cli("store", "list", "--json", "--store", "~/models", *on).stdout)
    assert (found["name"], found["active"]) == ("colors", "1.0.0")


def test_several_devices_side_by_side(cli: Cli, devices: Loopback) -> None:
    on = [word for name in devices.names for word in ("--on", name)]
    first, second = devices.names
    lines = cli("run", "colors.edgecnn", "red.png", *on).stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [[first, "red.png", "red"], [second, "red.png", "red"]]
    found = records(cli("run", "colors.edgecnn", "red.png", "--json", *on).stdout)
    assert sorted((record["device"], record["label"]) for record in found) == sorted([(first, "red"), (second, "red")])
    table = cli("bench", "colors.edgecnn", "--min-seconds", "0.1", *on).stdout.splitlines()
    assert table[0].split()[:5] == ["device", "file", "p50", "p90", "p99"]
    assert [line.split()[:2] for line in table[1:]] == [[first, "colors.edgecnn"], [second, "colors.edgecnn"]]
    table = cli("probe", *on).stdout.splitlines()
    assert table[0].split()[:2] == ["device", "board"]
    assert [line.split()[0] for line in table[1:]] == [first, second]


def test_the_worst_exit_code_counts_and_the_others_go_on(cli: Cli, devices: Loopback) -> None:
    done = cli("run", "colors.edgecnn", "red.png", "gone.png", "--on", "nobody@127.0.0.1:1", "--on", devices.names[0])
    assert done.returncode == 4
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [[devices.names[0], "red.png", "red"]]
    assert "edgecnn: nobody@127.0.0.1:1 can't be used (ssh: connect to host 127.0.0.1 port 1: Connection refused)" in done.stderr
    assert f"edgecnn: {devices.names[0]}: 1 of 2 inputs" in done.stderr


def test_a_device_without_edgecnn_or_with_another_is_told_how_to_get_it(cli: Cli, others: Loopback) -> None:
    for name, found in zip(others.names, ("isn't installed", "is 0.0.9"), strict=True):
        done = cli("run", "colors.edgecnn", "red.png", "--on", name, EDGECNN_SSH=others.ssh)
        assert done.returncode == 4
        assert done.stderr == f"edgecnn: edgecnn {found} on {name}, and this is 0.1.0; run: edgecnn setup {name}. See docs/remote.md.\n"


# what goes over


def run(devices: Loopback, job: Job, number: int = 0) -> tuple[int, bytes, Ended]:
    """(bytes that went over, what was printed, how it ended)."""
    copied, printed, ended = 0, b"", Ended()
    for _, event in jobs.run([parse(devices.names[number])], job):
        if isinstance(event, Copied):
            copied = event.done
        elif isinstance(event, Said):
            printed += event.data
        else:
            ended = event
    return copied, printed, ended


@pytest.fixture
def big(tmp_path: Path, devices: Loopback, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job with a file of 12 MB, that no device has."""
    monkeypatch.setenv("EDGECNN_SSH", devices.ssh)
    (tmp_path / "big").write_bytes(os.urandom(12_000_000))
    return Job(arguments=("--version",), files=(described(tmp_path / "big", ("big",)),))


def cache(devices: Loopback) -> Path:
    return devices.homes[0] / ".cache" / "edgecnn" / "remote"


def test_a_file_goes_over_once(devices: Loopback, big: Job) -> None:
    copied, printed, ended = run(devices, big)
    assert (copied, printed, ended.result) == (12_000_000, b"edgecnn 0.1.0\n", 0)
    assert run(devices, big)[0] == 0
    assert list((cache(devices) / "jobs").iterdir()) == []
    # power failed: it is there, and isn't what it was
    (cache(devices) / "files" / big.files[0].sha256).write_bytes(bytes(12_000_000))
    assert run(devices, big)[0] == 12_000_000


def test_a_copy_that_was_cut_off_goes_on_where_it_was(devices: Loopback, big: Job) -> None:
    events: Any = jobs.run([parse(devices.names[0])], big)
    for _, event in events:
        if isinstance(event, Copied) and event.done > 3_000_000:
            events.close()
            break
    part = cache(devices) / "files" / f"{big.files[0].sha256}.part"
    there = part.stat().st_size
    assert 0 < there < 12_000_000
    copied, _, ended = run(devices, big)
    assert (copied, ended.result) == (12_000_000 - there, 0)
    assert not part.exists()


@pytest.mark.parametrize("size", [5, 12_000_000, 12_000_001])
def test_a_part_that_is_something_else_is_found_out(devices: Loopback, big: Job, size: int) -> None:
    part = cache(devices) / "files" / f"{big.files[0].sha256}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(bytes(size))
    copied, _, ended = run(devices, big)
    assert ended.result == 0
    assert copied == 12_000_000


def test_a_file_that_changes_meanwhile_is_one_error(devices: Loopback, big: Job, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"short")
    _, _, ended = run(devices, big)
    assert "it changed while it was copied" in str(ended.error)
    assert not (cache(devices) / "files" / big.files[0].sha256).exists()


def test_two_at_a_time_send_the_same_file(devices: Loopback, big: Job) -> None:
    host = parse(devices.names[0])
    ends = [event for _, event in jobs.run([host, host, host], big) if isinstance(event, Ended)]
    assert [(end.result, end.error) for end in ends] == [(0, None)] * 3

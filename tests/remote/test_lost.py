"""When the line breaks, at either end or in between: one error, and nothing runs on there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecnn.remote import jobs
from edgecnn.remote.hosts import parse
from edgecnn.remote.jobs import Ended, Job, Said
from tests.remote.conftest import running_there
from tools.arm64_lab.loopback import Loopback


def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"{what}, after 30 s")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and parent(int(entry.name)) == pid:
                found.append(int(entry.name))
    return found


def session(home: Path, server: int) -> int:
    """The process of sshd that holds the line of what runs there."""
    pid = int(running_there(home)[0].split()[0])
    while name(pid) != "sshd" or parent(pid) == server:
        if parent(pid) == server:
            break
        pid = parent(pid)
    return pid


@pytest.fixture
def busy(devices: Loopback, workplace: Path) -> Iterator[subprocess.Popen[str]]:
    """`edgecnn bench --on`, with the command running there."""
    command = [sys.executable, "-m", "edgecnn", "bench", "colors.edgecnn", "--min-seconds", "100", "--on", devices.names[0]]
    environment = {**os.environ, "EDGECNN_SSH": devices.ssh}
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        until(lambda: any("bench" in line for line in running_there(devices.homes[0])), "the command doesn't run there")
        time.sleep(0.5)  # it is in the midst of it
        yield started
    finally:
        started.kill()
        started.communicate()


def ended(process: subprocess.Popen[str], devices: Loopback) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert err.count("\n") == 1, err
    until(lambda: not running_there(devices.homes[0]), f"there still run {running_there(devices.homes[0])}")
    assert list((devices.homes[0] / ".cache" / "edgecnn" / "remote" / "jobs").iterdir()) == []
    return process.returncode, err


def test_ssh_dies(busy: subprocess.Popen[str], devices: Loopback) -> None:
    (ssh,) = children(busy.pid)
    os.kill(ssh, signal.SIGKILL)
    code, said = ended(busy, devices)
    assert code == 4
    assert said.startswith(f"edgecnn: the connection to {devices.names[0]} was lost (")


def test_the_device_s_end_of_the_line_dies(busy: subprocess.Popen[str], devices: Loopback) -> None:
    os.kill(session(devices.homes[0], devices.pid), signal.SIGKILL)
    code, said = ended(busy, devices)
    assert code == 4
    assert said.startswith(f"edgecnn: the connection to {devices.names[0]} was lost (")


def test_ctrl_c(busy: subprocess.Popen[str], devices: Loopback) -> None:
    busy.send_signal(signal.SIGINT)
    assert ended(busy, devices) == (130, "edgecnn: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_this_end_is_killed(busy: subprocess.Popen[str], devices: Loopback, number: signal.Signals) -> None:
    busy.send_signal(number)
    busy.communicate(timeout=60)
    until(lambda: not running_there(devices.homes[0]), "it still runs there")


def test_a_line_that_only_falls_silent(devices: Loopback, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cable that is pulled out says nothing to either end."""
    monkeypatch.setenv("EDGECNN_SSH", devices.ssh)
    job = Job(arguments=("probe", "--json"), stdin=None)
    script = "import time; time.sleep(100)"
    monkeypatch.setattr("edgecnn.remote.connection.program", _with_command(script))
    events = jobs.run([parse(devices.names[0])], job, patience=3.0)
    found: list[Ended] = []

    def listen() -> None:
        found.extend(event for _, event in events if isinstance(event, Ended))

    import threading

    listening = threading.Thread(target=listen)
    listening.start()
    until(lambda: any("sleep(100)" in line for line in running_there(devices.homes[0])), "the command doesn't run there")
    (ssh,) = [pid for pid in children(os.getpid()) if name(pid) == "ssh"]
    os.kill(ssh, signal.SIGSTOP)
    listening.join(30)
    assert f"the connection to {devices.names[0]} was lost (nothing came from it for 3 s)" in str(found[0].error)
    until(lambda: not running_there(devices.homes[0]), "it still runs there")


def _with_command(script: str) -> Callable[[], bytes]:
    from edgecnn.remote.connection import program

    text = program()
    return lambda: text.replace(b"remote.agent.main()", f"remote.agent.START = {script!r}\nremote.agent.main()".encode())


def test_what_a_command_left_running_is_ended_with_it(devices: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_SSH", devices.ssh)
    script = "import subprocess; subprocess.Popen(['sleep', '100']); subprocess.Popen(['sleep', '100'], start_new_session=True); print('done')"
    monkeypatch.setattr("edgecnn.remote.connection.program", _with_command(script))
    (*_, (_, end)) = jobs.run([parse(devices.names[0])], Job())
    assert isinstance(end, Ended)
    assert (end.result, end.error) == (0, None)
    until(lambda: not running_there(devices.homes[0]), "it still runs there")


def test_a_reader_who_takes_his_time_isn_t_taken_for_a_broken_line(devices: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what a command printed at its end get lost: less and its like stop reading until somebody turns the page."""
    monkeypatch.setenv("EDGECNN_SSH", devices.ssh)
    monkeypatch.setattr("edgecnn.remote.connection.program", _with_command("print('y' * 9_999_999)"))
    printed, result = 0, None
    for _, event in jobs.run([parse(devices.names[0])], Job(), patience=0.6):
        if isinstance(event, Said):
            time.sleep(0 if printed else 2.5)
            printed += len(event.data)
        elif isinstance(event, Ended):
            assert event.error is None
            result = event.result
    assert (printed, result) == (10_000_000, 0)

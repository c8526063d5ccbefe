"""A child may crash, hang or eat memory; this process lives on and says in words how it ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecnn.device.limits import Outcome, run_limited


def run(code: str, *, timeout_s: float = 60, memory_mb: int = 512, folder: Path | None = None) -> Outcome:
    return run_limited([sys.executable, "-c", code], timeout_s=timeout_s, memory_mb=memory_mb, folder=folder)


def test_a_child_that_ends_well_has_no_failure() -> None:
    outcome = run("import sys; print('out'); print('err', file=sys.stderr)")
    assert outcome.failure is None
    assert set(outcome.output.split()) == {"out", "err"}


def test_a_crash_is_named() -> None:
    assert run("import os; os.kill(os.getpid(), 11)").failure == "it was killed by SIGSEGV"


def test_an_error_is_told_with_its_last_line() -> None:
    assert run("raise SystemExit('the reason')").failure == "it ended with exit code 1 (the reason)"


def test_memory_is_limited() -> None:
    hungry = "block = bytearray(400 << 20); print(len(block))"
    assert run(hungry, memory_mb=600).failure is None
    assert "MemoryError" in (run(hungry, memory_mb=200).failure or "")


def test_a_late_child_is_killed_with_its_own_children(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); open('pid', 'w').write(str(p.pid)); p.wait()"
    outcome = run(code, timeout_s=2, folder=tmp_path)
    assert outcome.failure == "it took longer than 2 s"
    deadline = time.monotonic() + 30
    while _alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "the grandchild lives on"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_an_interrupt_leaves_no_child(tmp_path: Path) -> None:
    code = (
        "import sys, signal\nfrom pathlib import Path\nfrom edgecnn.device.limits import run_limited\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f'child = \'import os, time; open("pid.part", "w").write(str(os.getpid())); os.rename("pid.part", "pid"); time.sleep(60)\'\n'
        f"run_limited([sys.executable, '-c', child], timeout_s=60, memory_mb=512, folder=Path({str(tmp_path)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(2)
    _, errors = parent.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_a_child_whose_parent_was_killed_ends_by_itself(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgecnn.device.limits import run_limited\n"
        f'child = \'import os, time; open("pid.part", "w").write(str(os.getpid())); os.rename("pid.part", "pid"); time.sleep(60)\'\n'
        f"run_limited([sys.executable, '-c', child], timeout_s=2, memory_mb=512, folder=Path({str(tmp_path)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    while _alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_chatty_child_neither_blocks_nor_fills_memory() -> None:
    outcome = run("print('x' * 3_000_000); print('the end')")
    assert outcome.failure is None
    assert len(outcome.output) <= 4000
    assert outcome.output.endswith("the end")


def test_the_child_reads_nothing_from_here() -> None:
    assert run("import sys; print(repr(sys.stdin.read()))").output == "''"


def test_the_environment_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_TEST", "kept")
    assert run("import os; print(os.environ['EDGECNN_TEST'], os.environ['OMP_NUM_THREADS'])").output == "kept 1"


def test_a_file_s_size_is_limited_apart_from_memory(tmp_path: Path) -> None:
    code = "open('large', 'wb').write(bytes(3 << 20))"
    assert run(code, folder=tmp_path).failure is None
    assert run_limited([sys.executable, "-c", code], timeout_s=60, memory_mb=512, file_mb=1, folder=tmp_path).failure is not None


def test_what_a_child_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    code = "import subprocess; p = subprocess.Popen(['sleep', '60']); open('pid', 'w').write(str(p.pid))"
    assert run(code, folder=tmp_path).failure is None
    deadline = time.monotonic() + 30
    while _alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "the grandchild lives on"
        time.sleep(0.05)


def test_files_and_cpu_time_are_limited_and_no_core_is_dumped() -> None:
    code = "import resource as r; limits = (r.RLIMIT_NOFILE, r.RLIMIT_CPU, r.RLIMIT_CORE)\nprint(*(r.getrlimit(which)[1] for which in limits))"
    files, cpu, core = map(int, run(code).output.split())
    assert files <= 256
    assert 0 < cpu < 61 * 1000
    assert core == 0


def test_no_disk_is_needed_for_what_a_child_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert run("print('kept')").output == "kept"


def test_a_program_that_is_not_there_is_told() -> None:
    outcome = run_limited(["/no/such/program"], timeout_s=60, memory_mb=512)
    assert outcome.failure is not None
    assert "/no/such/program can't be started (No such file or directory)" in outcome.failure


def test_where_no_process_can_be_started_that_is_the_outcome(tmp_path: Path) -> None:
    assert run("print(1)", folder=tmp_path / "gone") == Outcome(failure="it can't be started (No such file or directory)", output="")

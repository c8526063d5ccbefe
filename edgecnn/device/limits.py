"""Run a program that may crash, hang or eat memory, and live on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BOUNDS = Path(__file__).with_name("_bounds.py")
_TAIL = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a child ended. failure: None when it ended well, else what happened ("it was killed by SIGSEGV"); output: the end of what it printed."""

    failure: str | None
    output: str


def run_limited(command: Sequence[str], *, timeout_s: float, memory_mb: int, file_mb: int | None = None, folder: Path | None = None) -> Outcome:
    """Run `command` in `folder` to its end: at most `timeout_s` seconds, `memory_mb` MiB of private memory, and `file_mb` MiB for any file that it
    writes (as much as of memory where not given).

    The child leaves no core dump, has at most 256 files open, computes on one thread, reads no standard input, and is killed with all its children
    when it is late or when this process is interrupted. Of what it prints only the end is kept, in memory: no disk is needed.
    Only Linux can limit another process's memory; elsewhere, and where the system forbids it, the time alone is limited.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    numbers = (timeout_s, memory_mb, memory_mb if file_mb is None else file_mb)
    # bound before the command starts: limits that are set from here could come late on a busy machine
    bound = [sys.executable, "-I", "-S", str(_BOUNDS), *map(str, numbers), *command] if sys.platform == "linux" else list(command)
    try:
        child = subprocess.Popen(
            bound, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:  # no memory for another process, or too many of them
        return Outcome(failure=f"it can't be started ({error.strerror})", output="")
    late = False
    tail = _Tail(child.stdout)
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        _kill(child)
        output = tail.finish()
    if late:
        return Outcome(failure=f"it took longer than {timeout_s:g} s", output=output)
    return Outcome(failure=reason(child.returncode, output), output=output)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child, where it hasn't ended, and what it started and left behind."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()


class _Tail:
    """The end of what a pipe carries, read by a thread of its own so that the writer never waits."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe, self._kept = pipe, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                self._kept = (self._kept + chunk)[-_TAIL:]

    def finish(self) -> str:
        """What was kept, once all writers are gone; one that fled its group is not waited for."""
        self._thread.join(1)
        if not self._thread.is_alive():
            self._pipe.close()
        return self._kept.decode("utf-8", "replace").strip()


def reason(returncode: int, output: str) -> str | None:
    """How a process ended, in words; None when it ended well."""
    if returncode == 0:
        return None
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        return f"it was killed by {name}"
    last = output.splitlines()[-1].strip()[:200] if output else ""
    return f"it ended with exit code {returncode}" + (f" ({last})" if last else "")

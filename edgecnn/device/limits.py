"""Run a program that may crash, hang or eat memory, and live on."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_TAIL = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a child ended. failure: None when it ended well, else what happened ("it was killed by SIGSEGV"); output: the end of what it printed."""

    failure: str | None
    output: str


def run_limited(command: Sequence[str], *, timeout_s: float, memory_mb: int, folder: Path | None = None) -> Outcome:
    """Run `command` in `folder` to its end: at most `timeout_s` seconds, and `memory_mb` MiB of private memory and for any file that it writes.

    The child leaves no core dump, computes on one thread, reads no standard input, and is killed with all its children when it is late or when
    this process is interrupted. Only Linux can limit another process's memory; elsewhere the time alone is limited.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            list(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        late = False
        try:
            _limit(child.pid, memory_mb)
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            if child.poll() is None:
                _kill(child)
        output = _tail(log)
    if late:
        return Outcome(failure=f"it took longer than {timeout_s:g} s", output=output)
    return Outcome(failure=_reason(child.returncode, output), output=output)


def _limit(pid: int, memory_mb: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    size = memory_mb << 20
    # RLIMIT_DATA counts what is really asked for; RLIMIT_AS would count the address space that thread pools only reserve
    for which, value in ((resource.RLIMIT_DATA, size), (resource.RLIMIT_FSIZE, size), (resource.RLIMIT_CORE, 0)):
        try:
            _, hard = resource.prlimit(pid, which)
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, which, (bound, bound))
        except ProcessLookupError:  # it ended already
            return
        except OSError as error:
            log.info("the child's limits can't be set here (%s); only its time is limited", error.strerror)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL))
    return log.read().decode("utf-8", "replace").strip()


def _reason(returncode: int, output: str) -> str | None:
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

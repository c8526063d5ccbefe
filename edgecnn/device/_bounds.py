"""Limits on what a process may take: `python _bounds.py TIMEOUT_S MEMORY_MB FILE_MB COMMAND...` binds itself to them and becomes the command.

A file of its own, which imports next to nothing, so that it costs a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys


def bind(*, timeout_s: float, memory_mb: int, file_mb: int) -> None:
    """Bind this process, and what it starts, to the limits of `run_limited`, as far as the system allows; its time is for whoever waits for it."""
    if sys.platform != "linux":
        return
    import resource

    bounds = {
        # RLIMIT_DATA counts what is really asked for; RLIMIT_AS would count the address space that thread pools only reserve
        resource.RLIMIT_DATA: memory_mb << 20,
        resource.RLIMIT_FSIZE: file_mb << 20,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
        # the time of all its threads counts
        resource.RLIMIT_CPU: (int(timeout_s) + 1) * (os.cpu_count() or 1),
    }
    for which, value in bounds.items():
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (bound, bound))
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    signal.alarm(int(float(sys.argv[1])) + 2)  # survives the exec, and ends a command whose parent died before it could
    bind(timeout_s=float(sys.argv[1]), memory_mb=int(sys.argv[2]), file_mb=int(sys.argv[3]))
    try:
        os.execvp(sys.argv[4], sys.argv[4:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]} can't be started ({error.strerror})")

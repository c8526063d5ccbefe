"""`run_limited` for many trials at a tenth of the cost: each child is forked from a process that has imported the runtime and opened nothing.

    python -m tests.attacks.fork_server

reads a request a line, {"path", "timeout_s", "memory_mb"}, and answers {"failure", "output"}, an Outcome.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgecnn.device._bounds import bind
from edgecnn.device.limits import Outcome, reason


class ForkServer:
    """A context manager; `run` takes the place of run_limited in edgecnn.device.trial."""

    def __enter__(self) -> ForkServer:
        command = [sys.executable, "-m", "tests.attacks.fork_server"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

    def run(self, command: Sequence[str], *, timeout_s: float, memory_mb: int, file_mb: int) -> Outcome:
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps({"path": command[-1], "timeout_s": timeout_s, "memory_mb": memory_mb}), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))


def serve() -> None:
    import onnxruntime  # noqa: F401 - so that the children have it
    from PIL import PngImagePlugin  # noqa: F401

    import edgecnn.device.engines.ort
    import edgecnn.device.trial
    import edgecnn.device.validate  # noqa: F401
    from edgecnn.device import _trial_child

    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            bind(timeout_s=request["timeout_s"], memory_mb=request["memory_mb"], file_mb=1)
            _trial_child.main(request["path"])
        os.close(writer)
        failure, output = _watch(child, reader, request["timeout_s"])
        print(json.dumps({"failure": failure, "output": output}), flush=True)


def _watch(child: int, reader: int, timeout_s: float) -> tuple[str | None, str]:
    kept, end, late = b"", time.monotonic() + timeout_s, False
    while not late:
        late = not select.select([reader], [], [], max(0, end - time.monotonic()))[0]
        chunk = b"" if late else os.read(reader, 1 << 16)
        kept = (kept + chunk)[-4000:]
        if not chunk:
            break
    if late:
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reader)
    output = kept.decode("utf-8", "replace").strip()
    return f"it took longer than {timeout_s:g} s" if late else reason(code, output), output


if __name__ == "__main__":
    serve()

"""On the device: takes a request, has the files brought over, runs the command in a folder of its own, and sends back what it says.

Standard input is the line to the host. When it ends, or nothing comes for too long, what was started here is ended and nothing of it stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgecnn.remote import cache, wire
from edgecnn.remote.wire import Broken, Lost, Reader, Writer

# what lies in the folder of the command must not be imported: it came from the host under any name
START = "import sys; sys.path[:] = [p for p in sys.path if p]; from edgecnn.cli import main; sys.exit(main())"
GRACE_S = 3.0
_LEFT_S = 5.0
"""A process that got away may keep a command's outputs open. So long after its end is waited for more of them."""
Say = Callable[[bytes, bytes], None]
_LOST = 255


def main() -> None:
    """Answer one request. The process ends in here."""
    # prints of anything else shall not get among the frames
    line = os.dup(1)
    os.dup2(2, 1)
    reader, writer = Reader(sys.stdin.buffer.read1), Writer(lambda data: wire.write_all(line, data))  # type: ignore[union-attr]
    wire.write_all(line, wire.MAGIC)
    writer.json(b"h", hello())
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a command shall be interruptible, wherever sshd was started
    _adopt()
    running = Running()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=running.end, args=[_LOST]).start())
    try:
        asked = wire.watch(reader, writer, wire.PATIENCE_S, lambda: running.end(_LOST))
        request = _request(reader)
        asked.set()
        wire.watch(reader, writer, float(request["patience"]), lambda: running.end(_LOST))
        with cache.job_folder(cache.folder()) as job:
            running.job = job
            answer(request, job, reader, writer, running)
    except Lost:
        running.end(_LOST)
    except (Broken, KeyError, TypeError, ValueError) as error:
        _fail(writer, f"the device got a request that it doesn't understand ({type(error).__name__}).")
    except cache.Refused as error:
        _fail(writer, str(error))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "its disk is full; free some space" if full else f"{error.filename or 'a file'} can't be written there ({error.strerror})"
        _fail(writer, f"{why}. What came over lies in {cache.folder()}, which may be deleted.")
    except Exception:
        traceback.print_exc()
        running.end(_LOST)
    running.end(0)


def hello() -> dict[str, Any]:
    """Who answers, and with which edgecnn, None where there is none."""
    try:
        from edgecnn import __version__

        found: str | None = __version__
    except ImportError:
        found = None
    return {"protocol": wire.PROTOCOL, "edgecnn": found, "python": platform.python_version(), "machine": platform.machine()}


def _fail(writer: Writer, message: str) -> None:
    with contextlib.suppress(Lost):
        writer.json(b"e", {"error": message})


def _request(reader: Reader) -> dict[str, Any]:
    text = b""
    while True:
        kind, content = reader.frame()
        if kind != b"q" or len(text) > wire.MOST_REQUEST:
            raise Broken
        if not content:
            break
        text += content
    request = wire.parsed(text)
    if not isinstance(request, dict):
        raise Broken
    return request


def answer(request: dict[str, Any], job: Path, reader: Reader, writer: Writer, running: Running) -> None:
    """Bring the files over and do what is asked."""
    files = cache.checked_files(request["files"])
    folders = [cache.checked_parts(parts) for parts in request["folders"]]
    place = cache.folder() / "files"
    standard_input = request["stdin"]
    wanted = [(sha256, size) for _, sha256, size in files]
    if standard_input is not None:
        ((_, digest, size),) = cache.checked_files([standard_input])
        wanted.append((digest, size))
    cache.receive(wanted, place, reader, writer)
    cache.lay_out(files, folders, place, job)
    threading.Thread(target=running.listen, args=[reader], daemon=True).start()
    if request["do"] == "install":
        from edgecnn.remote import installer

        writer.json(b"x", installer.install(request, job, running.run, lambda text: writer.frame(b"m", text.encode() + b"\n")))
        return
    arguments = [_argument(part) for part in request["arguments"]]
    given = place / digest if standard_input is not None else Path(os.devnull)
    with given.open("rb") as feed:
        code = running.run([sys.executable, "-c", START, *arguments], job, feed, writer.frame)
    writer.json(b"x", code)


def _argument(part: Any) -> str:
    """A plain word, or what stands before a path of this device and the path, which is relative to the user's home."""
    if isinstance(part, str):
        return part
    before, path = part
    return str(before) + os.path.join(Path.home(), os.path.expanduser(path))


class Running:
    """The command that runs, and how it ends."""

    def __init__(self) -> None:
        self.job: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def run(self, command: list[str], folder: Path, feed: Any, say: Say) -> int:
        """Its exit code, negative for a signal, once all that it said is sent: "o" what it printed, "m" its messages."""
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}
        with self._lock:
            child = self._child = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=feed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        outputs = ((b"o", child.stdout), (b"m", child.stderr))
        pumps = [threading.Thread(target=self._pump, args=[child, pipe, kind, say], daemon=True) for kind, pipe in outputs]
        for pump in pumps:
            pump.start()
        code = child.wait()
        self._kill_all(_family(child.pid))  # what it left behind would keep its outputs open, and run on
        for pump in pumps:
            pump.join()
        self._child = None
        return code

    def _pump(self, child: subprocess.Popen[bytes], pipe: Any, kind: bytes, say: Say) -> None:
        try:
            while True:
                if select.select([pipe], [], [], _LEFT_S)[0]:
                    chunk = os.read(pipe.fileno(), wire.CHUNK)
                    if not chunk:
                        return
                    say(kind, chunk)
                elif child.returncode is not None:
                    return
        except (Lost, OSError):
            self.end(_LOST)

    def listen(self, reader: Reader) -> None:
        """The host says nothing more than that it is there, until it goes."""
        with contextlib.suppress(Broken, Lost):
            reader.frame()
        self.end(_LOST)

    def end(self, code: int) -> None:
        """End the command and this process. The first caller does it; others wait for that."""
        self._lock.acquire()
        child = self._child
        if child is not None and child.poll() is None:
            family = _family(child.pid)
            with contextlib.suppress(OSError):
                child.send_signal(signal.SIGINT)  # it ends its own children, and leaves nothing half-done
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
            self._kill_all(family | _family(child.pid))
            child.kill()
            child.wait()
        if self.job is not None:
            import shutil

            shutil.rmtree(self.job, ignore_errors=True)
        os._exit(code)

    def _kill_all(self, family: set[int]) -> None:
        for pid in family:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _family(pid: int) -> set[int]:
    """What descends from `pid` or from this process, or is of the session that `pid` leads, less these two; none where there is no /proc to tell."""
    parents, sessions = {}, {}
    for found, parent, session in _processes():
        parents[found], sessions[found] = parent, session
    family = {found for found, session in sessions.items() if session == pid} | {pid, os.getpid()}
    grown = True
    while grown:
        more = {found for found, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family - {pid, os.getpid()}


def _adopt() -> None:
    """Processes whose parent ends become this one's children, where Linux does that (prctl's PR_SET_CHILD_SUBREAPER), so that none gets away."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _processes() -> Iterator[tuple[int, int, int]]:
    """(pid, parent, session) of each."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    after = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                    yield int(name), int(after[1]), int(after[3])

"""The line to a device: the system's own ssh, with the user's keys, configuration and jump hosts, and our program at its other end."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import DeviceMissing, EdgecnnError, UsageError
from edgecnn.remote import wire
from edgecnn.remote.hosts import Host
from edgecnn.remote.wire import Broken, Lost, Reader, Writer

SENT = ("wire", "cache", "installer", "agent")
_NOISE = 1 << 16
_MOST_TEXT = 300
GRACE_S = 5.0
"""For the device to end what runs, and ssh with it, before ssh is ended."""

# All that the device's shell ever reads. The interpreter's name comes in a line of its own behind it, then our program. No quote, backslash or "!"
# is in it, so that sh, bash, zsh, fish and csh read it alike.
_SCRIPT = (
    "IFS= read -r python; "
    'if [ -z "$python" ]; then python="${XDG_DATA_HOME:-$HOME/.local/share}/edgecnn/venv/bin/python"; [ -x "$python" ] || python=python3; fi; '
    'if command -v "$python" >/dev/null 2>&1; then '
    'exec "$python" -c "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"; fi; '
    "echo edgecnn-remote-without-python"
)
COMMAND = f"exec sh -c {shlex.quote(_SCRIPT)}"
_WITHOUT_PYTHON = b"edgecnn-remote-without-python\n"

# ours, whatever the configuration says: no forwarding, which a second line would collide with, of the agent or the screen least of all, because
# nothing there needs it and the device may be anybody's; and our program instead of another
_OPTIONS = ("-T", "-a", "-x", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "ConnectTimeout=20")


def ssh_command(host: Host, *, asking: bool) -> list[str]:
    """The command line of ssh. EDGECNN_SSH, words as in a shell, stands for `ssh`; asking: whether it may ask for a password at the terminal.

    Raises UsageError for words that can't be told apart.
    """
    try:
        program = shlex.split(os.environ.get("EDGECNN_SSH") or "ssh")
    except ValueError as error:
        raise UsageError(f"EDGECNN_SSH is no command line ({error}); e.g. `ssh -F my_config` was wanted.") from None
    batch = () if asking else ("-o", "BatchMode=yes")
    port = () if host.port is None else ("-p", str(host.port))
    return [*program, *_OPTIONS, *batch, *port, "--", host.target, COMMAND]


def program() -> bytes:
    """Our program for the device: the modules SENT, from source, and a word to those whose Python is too old for them."""
    here = Path(__file__).parent
    modules = {name: (here / f"{name}.py").read_text(encoding="utf-8") for name in SENT}
    old = f'sys.stdout.buffer.write({wire.MAGIC!r} + b"h" + len(said).to_bytes(4, "big") + said)'
    return f"""\
import platform, sys, types
sys.path[:] = [path for path in sys.path if path]
if sys.version_info < (3, 10):
    said = b'{{"protocol": 0, "edgecnn": null, "python": "%s"}}' % platform.python_version().encode()
    {old}
    sys.exit()
remote = sys.modules["edgecnn.remote"] = types.ModuleType("edgecnn.remote")
for name, text in {modules!r}.items():
    module = sys.modules["edgecnn.remote." + name] = types.ModuleType("edgecnn.remote." + name)
    setattr(remote, name, module)
    exec(compile(text, "<edgecnn.remote." + name + ">", "exec"), module.__dict__)
remote.agent.main()
""".encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """Who answers. edgecnn: the version that is there, None for none."""

    edgecnn: str | None
    python: str
    machine: str


class Line:
    """An open line to a device; `connect` makes one. Errors of it are DeviceMissing, in one sentence."""

    def __init__(self, host: Host, child: subprocess.Popen[bytes], patience: float) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        out, into = child.stdout.fileno(), child.stdin.fileno()
        self.host, self.patience = host, patience
        self._child, self._silent = child, False
        self.reader, self.writer = Reader(lambda size: os.read(out, size)), Writer(lambda data: wire.write_all(into, data))
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._watch: threading.Event | None = None

    def _listen(self) -> None:
        """Keep the end of what ssh says: it tells why there is no line."""
        assert self._child.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while text := self._child.stderr.readline(4096):
                said = text.decode("utf-8", "replace").strip()
                self._said = [*self._said[-9:], said] if said else self._said

    def greet(self, python: str = "", *, asking: bool = False) -> Hello:
        """Start our program on the device, by the interpreter `python` where one is named; asking: somebody may be typing a password. Raises
        DeviceMissing.
        """
        late = threading.Timer(2 * self.patience, self._give_up)
        late.daemon = True
        if not asking:
            late.start()
        try:
            text = program()
            self._write(python.encode() + b"\n" + str(len(text)).encode() + b"\n" + text)
            self.reader.until(wire.MAGIC, _NOISE)
            kind, content = self.reader.frame()
            self._watch = wire.watch(self.reader, self.writer, self.patience, self._give_up)
            found = wire.parsed(content)
            if kind != b"h" or not isinstance(found, dict):
                raise Broken
            if found.get("protocol") != wire.PROTOCOL:
                found_there = str(found.get("python"))[:40]
                raise DeviceMissing(
                    f"{self.host.name} has Python {found_there}, edgecnn needs 3.10 or newer; name another by `edgecnn setup --python`."
                )
            version = found.get("edgecnn")
            return Hello(
                edgecnn=version if isinstance(version, str) else None,
                python=str(found.get("python"))[:40],
                machine=str(found.get("machine"))[:40],
            )
        except Lost:
            raise self._unreachable(python) from None
        except Broken:
            raise self.nonsense() from None
        finally:
            late.cancel()

    def _write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        try:
            wire.write_all(self._child.stdin.fileno(), data)
        except (OSError, ValueError) as error:
            raise Lost from error

    def _give_up(self) -> None:
        self._silent = True
        self._child.kill()

    def _unreachable(self, python: str) -> EdgecnnError:
        if self.reader.left().endswith(_WITHOUT_PYTHON):
            wanted = f"{python!r} was asked for" if python else "Python 3.10 or newer is needed there"
            return DeviceMissing(f"{self.host.name} has no such Python: {wanted}; install it, or name another by `edgecnn setup --python`.")
        return DeviceMissing(f"{self.host.name} can't be used ({self._last()}); see that `{self.host.by_hand}` works.")

    def _last(self) -> str:
        """What ssh said last, or how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(5)
        self._listener.join(1)
        if self._silent:
            return "it doesn't answer"
        said = [text for text in self._said if not text.startswith("Warning: Permanently added")]
        return said[-1][:_MOST_TEXT] if said else f"ssh ended with {self._child.poll()}, and said nothing"

    def lost(self) -> EdgecnnError:
        """The error for a line that broke in the midst of it."""
        why = f"nothing came from it for {self.patience:g} s" if self._silent else self._last()
        return DeviceMissing(f"the connection to {self.host.name} was lost ({why}); nothing runs on there, and copied files stay: try it again.")

    def nonsense(self) -> EdgecnnError:
        return DeviceMissing(f"{self.host.name} doesn't answer as edgecnn does; see that `{self.host.by_hand}` reaches the device that you mean.")

    def close(self) -> None:
        """End the line, and so what runs at its other end; from any thread."""
        if self._watch is not None:
            self._watch.set()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._child.stdin.close()  # the device sees the end, and ends what runs
        for end in (self._child.terminate, self._child.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(GRACE_S)
                break
            end()
        self._child.wait()

    def release(self) -> None:
        """Close it, and let go of its pipes; from the thread that reads from it."""
        self.close()
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._child.stdout.close()
        self._listener.join(1)
        if not self._listener.is_alive():  # an ssh that stays for others (ControlPersist) may hold it open
            self._child.stderr.close()


def connect(host: Host, *, asking: bool, patience: float = wire.PATIENCE_S) -> Line:
    """Start ssh to a device. Raises DeviceMissing where there is no ssh, UsageError for an EDGECNN_SSH that is no command line."""
    command = ssh_command(host, asking=asking)
    try:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise DeviceMissing(f"{command[0]} can't be started ({error.strerror}); install OpenSSH's client, or name one in EDGECNN_SSH.") from None
    return Line(host, child, patience)


def may_ask() -> bool:
    """Whether somebody sits at a terminal and can be asked for a password."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def checked(hello: Hello, host: Host, version: str) -> None:
    """Raises DeviceMissing, naming `edgecnn setup`, unless the device has this version."""
    if hello.edgecnn == version:
        return
    found = "isn't installed" if hello.edgecnn is None else f"is {hello.edgecnn[:40]}"
    raise DeviceMissing(f"edgecnn {found} on {host.name}, and this is {version}; run: edgecnn setup {host.name}")

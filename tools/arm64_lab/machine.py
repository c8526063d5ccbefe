"""The emulated machine, in .cache/arm64: nothing is written elsewhere, and nothing needs to be root.

apt and pip fetch from where they are configured to. apt gets a state of its own, so that the system's packages stay as they are; what it
fetches is unpacked, not installed. The emulator comes with its libraries and their loader, so it doesn't matter what this system has.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomllib

from edgecnn.errors import MissingHere

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / ".cache" / "arm64"
CORES: Mapping[str, Mapping[str, str]] = tomllib.loads((HERE / "cores.toml").read_text(encoding="utf-8"))

GUEST_PACKAGES = ("python3", "python3-venv", "libstdc++6")
EMULATOR_PACKAGES = ("qemu-user",)
EMULATOR = "qemu-aarch64"
# a wheel says the oldest C library that it runs with; Debian 12 has 2.36
PLATFORMS = (*tuple(f"manylinux_2_{minor}_aarch64" for minor in (36, 35, 34, 31, 28, 27, 17)), "manylinux2014_aarch64")

APT = """\
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine in `folder` that was built."""

    folder: Path

    def python(self, core: str) -> Path:
        """A program that is Python on that core, and runs itself again by `sys.executable`."""
        return self.folder / "bin" / core / "python3"

    def home(self, core: str) -> Path:
        """The home folder of whoever works on that core."""
        place = self.folder / "home" / core
        place.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def packages(self) -> Path:
        """Where the machine's Python finds what is installed."""
        return _dist_packages(self.folder / "root")

    def run(
        self, core: str, *arguments: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Python on `core` with these arguments, paths absolute; cwd: where, by default in a folder from which nothing is imported; extra: more
        environment. Raises RuntimeError with what it said where it fails and `check` is set."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EDGECNN", "QEMU", "VIRTUAL_ENV", "XDG"))}
        environment["HOME"] = str(self.home(core))
        command = [str(self.python(core)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd or self.folder, env={**environment, **(extra or {})}, check=False)
        if check and done.returncode:
            raise RuntimeError(f"on {core}, python3 {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done


def build(say: Callable[[str], None], *, place: Path = PLACE) -> Machine:
    """The machine with this checkout's edgecnn; made when it isn't, or is out of date. Raises MissingHere where what it is made of can't be had."""
    machine = Machine(folder=place / "machine")
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place / "lock"):
        if _stamp(machine.folder) != _wanted():
            say(f"building the emulated machine in {os.path.relpath(place, ROOT)} (about 60 MB to fetch the first time, 20 s)")
            fresh = place / "machine.part"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _make(fresh, machine.folder)
            shutil.rmtree(machine.folder, ignore_errors=True)
            fresh.rename(machine.folder)
            (machine.folder / "stamp").write_text(_wanted())
        _install_edgecnn(machine)
    return machine


def _wanted() -> str:
    """The hash of what decides how the machine is made, where it lies included, because scripts name the place."""
    parts = (str(ROOT).encode(), *(path.read_bytes() for path in (HERE / "machine.py", HERE / "cores.toml", ROOT / "constraints.txt")))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _stamp(folder: Path) -> str | None:
    try:
        return (folder / "stamp").read_text()
    except OSError:
        return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(folder: Path, final: Path) -> None:
    """folder: where the machine is made; final: where it will lie."""
    _unpack("arm64", GUEST_PACKAGES, folder / "apt-arm64", folder / "root")
    own = _call("dpkg", "--print-architecture").strip()
    _unpack(own, EMULATOR_PACKAGES, folder / "apt-host", folder / "host")
    for program in (folder / "host" / "usr" / "bin").glob("qemu-*"):
        if program.name != EMULATOR:  # those of other CPUs are 100 MB
            program.unlink()
    for scratch in ("apt-arm64", "apt-host"):
        shutil.rmtree(folder / scratch)
    version = _python_version(folder / "root")
    _pip_install(folder / "root", version)
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":  # else its byte code is another
        _compile(folder / "root", folder / "root" / "usr" / "lib" / f"python{version}")
    for core, facts in CORES.items():
        _make_core(folder, final, core, facts)


def _unpack(architecture: str, packages: Sequence[str], folder: Path, target: Path) -> None:
    """Fetch packages with all that they depend on, by an apt that believes that nothing is installed, and unpack them."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(APT.format(architecture=architecture, folder=folder))
    apt = ("apt-get", "-qq", "-c", str(configuration))
    _call(*apt, "update", check=False)  # a source without this architecture fails, and others may still have what is wanted
    _call(*apt, "--yes", "--download-only", "install", *packages)
    found = sorted((folder / "cache" / "archives").glob("*.deb"))
    if not found:
        raise MissingHere(f"apt-get fetched no package for {architecture}; {', '.join(packages)} were wanted.")
    for package in found:
        _call("dpkg-deb", "--extract", str(package), str(target))


def _call(*command: str, check: bool = True) -> str:
    """What a program says on standard output. Raises MissingHere where it isn't there, or fails and `check` is set."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise MissingHere(f"there is no {command[0]} here, and the emulated machine is made of Debian's packages.") from None
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise MissingHere(f"`{shlex.join(command)}` failed: {said[-1].removeprefix('E: ')}")
    return done.stdout


def _python_version(root: Path) -> str:
    found = [path.name.removeprefix("python") for path in (root / "usr" / "bin").glob("python3.*") if path.name.removeprefix("python3.").isdecimal()]
    if len(found) != 1:
        raise MissingHere(f"apt's package python3 has {len(found)} Pythons, one was wanted.")
    return found[0]


def _dist_packages(root: Path) -> Path:
    return root / "usr" / "local" / "lib" / f"python{_python_version(root)}" / "dist-packages"


def requirements() -> list[str]:
    """The base install's, as pyproject.toml states them."""
    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return found


def pip_target(target: Path, version: str, wanted: Sequence[str], *, constraints: Path | None = ROOT / "constraints.txt") -> None:
    """Install aarch64 wheels for Python `version` into a folder. Raises MissingHere."""
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    pinned = ["-c", str(constraints)] if constraints else []
    choice = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, "--target", str(target)]
    _call(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *platforms, *choice, *pinned, *wanted)


def _pip_install(root: Path, version: str) -> None:
    pip_target(_dist_packages(root), version, requirements())


def _compile(root: Path, folder: Path) -> None:
    """Byte code beside the sources, as on a real machine; compiling under emulation at each start would take seconds."""
    subprocess.run(
        [sys.executable, "-m", "compileall", "-qq", "-s", str(root), "-p", "/", str(folder)], stdout=subprocess.DEVNULL, check=False
    )  # a few of lib2to3's tests are no Python


def _make_core(folder: Path, final: Path, core: str, facts: Mapping[str, str]) -> None:
    """The machine's file system as this core's programs see it, and the Python that runs there."""
    prefix = folder / "cores" / core
    (prefix / "proc").mkdir(parents=True)
    for entry in (folder / "root").iterdir():
        (prefix / entry.name).symlink_to(f"../../root/{entry.name}")
    block = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    )
    (prefix / "proc" / "cpuinfo").write_text("".join(block.format(number, **facts) for number in range(4)))
    cpu = prefix / "sys" / "devices" / "system" / "cpu"
    cpu.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpu / name).write_text("0-3\n")
    (cpu / "kernel_max").write_text("255\n")
    script = folder / "bin" / core / "python3"
    script.parent.mkdir(parents=True)
    script.write_text(_script(folder, final, core))
    script.chmod(0o755)


def _script(folder: Path, final: Path, core: str) -> str:
    """`-0 "$0"`: Python takes this script for its own path, so that what it starts by `sys.executable` is emulated, too."""
    host = folder / "host"
    loader = next((path for pattern in ("lib64/ld-linux-*", "lib/ld-linux-*") for path in sorted(host.glob(pattern))), None)
    emulator = host / "usr" / "bin" / EMULATOR
    if loader is None or not emulator.exists():
        raise MissingHere("apt's package qemu-user holds no emulator for aarch64 programs with the C library that it needs.")
    libraries = sorted(
        {str(final / path.parent.relative_to(folder)) for pattern in ("lib/*/*.so*", "usr/lib/*/*.so*") for path in host.glob(pattern)}
    )
    words = [str(final / loader.relative_to(folder)), "--library-path", ":".join(libraries), str(final / emulator.relative_to(folder))]
    words += ["-cpu", core, "-L", str(final / "cores" / core)]
    python = final / "root" / "usr" / "bin" / f"python{_python_version(folder / 'root')}"
    return f'#!/bin/sh\nexec {shlex.join(words)} -0 "$0" {shlex.quote(str(python))} "$@"\n'


def _install_edgecnn(machine: Machine) -> None:
    """This checkout's edgecnn, where pip would put it."""
    source, target, state = ROOT / "edgecnn", machine.packages / "edgecnn", machine.folder / "edgecnn.sha256"
    files = sorted(path for path in source.rglob("*") if path.suffix in (".py", ".toml", ".typed"))
    digest = hashlib.sha256(b"".join(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes() for path in files)).hexdigest()
    if state.exists() and state.read_text() == digest:
        return
    state.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(machine.folder / "root", target)
    state.write_text(digest)

"""What a device is, and what its onnxruntime really does: asked in a process of its own, for that may be what kills it.

Nothing here needs numpy or onnxruntime: where they are missing or broken, that is what is told.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgecnn import __version__
from edgecnn.artifact.codec import CodecError, decode, strict_json
from edgecnn.artifact.probe import Probe, Products, Provider, Runtime, wheel_fault
from edgecnn.device import host, sensors
from edgecnn.device.limits import Outcome, run_limited

TIMEOUT_S = 120.0
_UNLIMITED_MB = 1 << 20  # a runtime for a GPU reserves far more than it takes
_PACKAGES = ("numpy", "onnxruntime", "pillow", "click")
_CHILD = Path(__file__).with_name("_probe_child.py")
_DEADLY = {
    "SIGILL": "the CPU lacks an instruction that it was built with, or /proc/cpuinfo claims more than the CPU has; install a build for this CPU",
    "SIGSEGV": "it may not find the CPU described in /proc/cpuinfo and /sys/devices/system/cpu; see that both are there and true, or install "
    "another version",
    "SIGBUS": "its files may be damaged, or the memory full; install it anew",
    "SIGKILL": "the memory may have run out; free some",
}


def probe() -> Probe:
    """The facts of this machine at this moment. Raises nothing: what can't be found out is None, and onnxruntime's failure is told."""
    facts = host.describe()
    bits = 64 if sys.maxsize > 1 << 32 else 32
    libc = " ".join(platform.libc_ver()).strip()
    return Probe(
        edgecnn=__version__,
        system=facts.system,
        machine=facts.machine,
        bits=bits,
        board=sensors.board(),
        processor=facts.processor,
        isa=facts.isa,
        cores=facts.cores,
        cores_online=facts.cores_online,
        memory_bytes=facts.memory_bytes,
        memory_available_bytes=sensors.memory_available_bytes(),
        clock=sensors.clock(),
        temperatures=sensors.temperatures(),
        python=facts.python,
        libc=libc or None,
        packages={name: version for name in _PACKAGES if (version := _version(name)) is not None},
        onnxruntime=runtime(machine=facts.machine, bits=bits),
    )


def runtime(*, machine: str, bits: int) -> Runtime:
    """What onnxruntime says of itself in a child process, and one more for each provider beside the CPU's."""
    installed = host.installed_runtime()
    told, failure = _ask()
    if told.get("missing") == "onnxruntime":
        fault = wheel_fault(machine, bits) or "run: pip install onnxruntime"
        return Runtime(version=installed, failure=f"onnxruntime isn't installed; {fault}")
    cpu = "CPUExecutionProvider"
    listed = [name for name in told.get("listed", []) if isinstance(name, str)]
    providers = tuple(_cpu(told) if name == cpu else _provider(name) for name in listed)
    return Runtime(
        version=_text(told.get("version")) or installed,
        opset=_decoded(int, told.get("opset")),
        ir_version=_decoded(int, told.get("ir_version")),
        products=_decoded(Products, told.get("products")),
        providers=providers,
        failure=failure,
    )


def _ask(*arguments: str) -> tuple[dict[str, Any], str | None]:
    """What a child told, and why it told no more; None where it came to its end."""
    command = [sys.executable, str(_CHILD), *arguments]
    outcome = run_limited(command, timeout_s=TIMEOUT_S, memory_mb=_UNLIMITED_MB)
    told: dict[str, Any] = {}
    for line in outcome.output.splitlines():
        try:
            found = strict_json(line.encode())
        except (CodecError, UnicodeError):
            continue  # a library's own words
        told.update(found if isinstance(found, dict) else {})
    return told, None if told.get("done") is True else _reason(told, outcome)


def _reason(told: Mapping[str, Any], outcome: Outcome) -> str:
    """How the child failed and, where that is known, why."""
    while_doing = f" while {doing}" if (doing := _text(told.get("doing"))) else ""
    if (failure := _text(told.get("failure"))) is not None:
        return f"{failure.rstrip('.')}{while_doing}"
    if outcome.failure is None:
        return f"it ended without a word{while_doing}"
    why = next((reason for name, reason in _DEADLY.items() if outcome.failure.endswith(name)), None)
    return f"{outcome.failure}{while_doing}" + (f": {why}" if why else "")


def _cpu(told: Mapping[str, Any]) -> Provider:
    loads = told.get("opset") is not None
    return Provider(name="CPUExecutionProvider", loads=loads, why=None if loads else "it loads not even a graph of one node")


def _provider(name: str) -> Provider:
    told, failure = _ask(name)
    found = _decoded(Provider, told.get("provider"))
    return found or Provider(name=name, loads=False, why=failure or "it ended without a word")


def _decoded(kind: type[Any], value: Any) -> Any:
    """A value of that kind from what a child told; None for any other."""
    if value is None:
        return None
    try:
        return decode(kind, value)
    except CodecError:
        return None


def _text(value: Any) -> str | None:
    """Without control characters, for it may be a broken library that spoke."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""Devices that an export can be for: a profile NAME.toml of this folder, data only, or what `edgecnn probe --json` found on one.

A profile states facts (see Target) and where they come from; what follows from them for an export is derived, in edgecnn.build.target.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact.codec import CodecError, brief, check_texts, decode, suggestion
from edgecnn.artifact.probe import Probe, read_probe, wheel_fault
from edgecnn.errors import TargetRejected, UsageError

_HOME = Path(__file__).parent
_VNNI = ("avx512_vnni", "avx_vnni")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A kind of device, or one of which this is the probe.

    title: for people; machine: as `uname -m` says, or "any"; isa: the CPU's extensions, as /proc/cpuinfo names them, of which x86's VNNI and Arm's
    dot product decide how int8 is best computed; cores, memory_mb: of the smallest of its kind; opset, ir_version: the newest that its
    onnxruntime reads, None where that isn't known; source: where these facts come from; fault: why nothing runs there, None where it does.
    """

    name: str
    title: str
    machine: str
    isa: tuple[str, ...]
    processor: str | None = None
    cores: int
    memory_mb: int | None
    opset: int | None
    ir_version: int | None
    source: str
    fault: str | None = None
    saturates: bool

    @property
    def dot_product(self) -> bool:
        """Whether it is an Arm that adds four int8 products at once, in 32 bits."""
        return "asimddp" in self.isa


@dataclass(frozen=True, kw_only=True, slots=True)
class _Profile:
    """What a file of this folder holds; see Target."""

    title: str
    machine: str
    isa: tuple[str, ...]
    processor: str | None = None
    cores: int
    memory_mb: int
    opset: int
    ir_version: int
    source: str

    def __post_init__(self) -> None:
        if min(self.cores, self.memory_mb, self.opset, self.ir_version) < 1:
            raise ValueError("cores, memory_mb, opset and ir_version must be 1 or more")
        if not all((self.title.strip(), self.machine.strip(), self.source.strip())):
            raise ValueError("title, machine and source must say something")


def names() -> tuple[str, ...]:
    """The profiles, by their files' names."""
    return tuple(sorted(path.stem for path in _HOME.glob("*.toml")))


def find(target: str | Path) -> Target:
    """A profile by its name, or a probe by its path: what has a separator in it or ends in .json.

    Raises UsageError for an unknown name, InputMissing and TargetRejected for a file.
    """
    text = os.fspath(target)
    if isinstance(target, Path) or os.sep in text or "/" in text or text.endswith(".json"):
        return of_probe(read_probe(text))
    if text not in names():
        known = ", ".join(names())
        raise UsageError(f"there is no target {text!r}{suggestion(text, names())}; there are {known}, and what `edgecnn probe --json` wrote.")
    return read_profile(_HOME / f"{text}.toml")


def read_profile(path: Path) -> Target:
    """The profile in a TOML file; its name is the file's. Raises TargetRejected where it says something unknown, or not all that is wanted."""
    try:
        document = _table(path.read_text(encoding="utf-8"))
        found = decode(_Profile, document, where=path.stem, unknown="refuse")
        check_texts(document)
    except CodecError as error:
        raise TargetRejected(f"{path} is no profile: {brief(error.sentence)}") from None
    except (OSError, ValueError) as error:  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        raise TargetRejected(f"{path} is no profile ({brief(str(error))}).") from None
    facts = {name: getattr(found, name) for name in _Profile.__slots__}
    return Target(**facts, name=path.stem, fault=wheel_fault(found.machine), saturates=_may_saturate(found.machine, found.isa))


def _table(text: str) -> dict[str, Any]:
    """The keys of a TOML file that has nothing but comments and `key = value` lines, whose values are texts, whole numbers and lists of texts on
    one line: JSON reads these alike, and a device with Python 3.10 has no reader of TOML. Raises ValueError for anything else."""
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition(" = ")
        if not equals or not key.isidentifier() or key in found:
            raise ValueError(f"line {number} is no `key = value`, or says a key twice")
        found[key] = json.loads(value)
    return found


def of_probe(probe: Probe) -> Target:
    """What a probe says of its device."""
    runtime = probe.onnxruntime
    products = runtime.products
    unreadable = runtime.opset is None or runtime.ir_version is None
    fault = f"onnxruntime doesn't run there: {runtime.failure or 'it loads no graph'}" if unreadable else None
    return Target(
        name=probe.name,
        title=f"the probed {probe.name}",
        machine=probe.machine,
        isa=probe.isa,
        processor=probe.processor,
        cores=probe.cores,
        memory_mb=None if probe.memory_bytes is None else probe.memory_bytes >> 20,
        opset=runtime.opset,
        ir_version=runtime.ir_version,
        source=f"edgecnn probe, with onnxruntime {runtime.version}",
        fault=(wheel_fault(probe.machine, probe.bits) or fault) if fault else None,
        saturates=_may_saturate(probe.machine, probe.isa) if products is None else products.saturates,
    )


def _may_saturate(machine: str, isa: tuple[str, ...]) -> bool:
    """x86 without VNNI adds products of uint8 and int8 in 16 bits; "any" machine may be one."""
    return machine in ("x86_64", "AMD64", "any") and not set(_VNNI) & set(isa)

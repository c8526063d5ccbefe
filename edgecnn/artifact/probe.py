"""What `edgecnn probe` found on a device, as it travels to the host that exports for it: plain facts in strict JSON, verdicts derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import edgecnn
from edgecnn.artifact.codec import CodecError, brief, check_texts, decode, strict_json
from edgecnn.artifact.files import read_whole
from edgecnn.errors import InputMissing, TargetRejected

SCHEMA = 1
MOST_BYTES = 1_000_000

_ARM_32 = ("armv6l", "armv7l", "armv8l", "armhf", "armel", "arm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Of the fastest core: MHz now, MHz at most, and what sets it ("ondemand")."""

    mhz: float | None = None
    most_mhz: float | None = None
    governor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensor:
    """A temperature, and what it is of, as the kernel names it ("cpu-thermal")."""

    name: str
    celsius: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Products:
    """One int8 convolution, every product of which is 255 x 127: the sum that it should give, what onnxruntime gave as it comes (fast), and
    in its precise x64 mode."""

    wanted: float
    fast: float
    precise: float

    @property
    def saturates(self) -> bool:
        """Whether products of uint8 and int8 saturate, unless the precise mode is asked for."""
        return self.fast != self.wanted

    @property
    def mended(self) -> bool:
        """Whether the precise mode gives the right sum."""
        return self.precise == self.wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """An execution provider that onnxruntime lists. loads: whether a session really ran on it; why: why not."""

    name: str
    loads: bool
    why: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """onnxruntime on the device. version: as it is installed; opset, ir_version: the newest ones of which it loads a graph; failure: how and why
    it couldn't be asked, or not everything; what was told before is there all the same."""

    version: str | None = None
    opset: int | None = None
    ir_version: int | None = None
    products: Products | None = None
    providers: tuple[Provider, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A device. machine: as `uname -m` says; bits: of its Python; board: of the device tree; isa: the names of /proc/cpuinfo that matter to
    inference; cores: that a process may use; packages: versions of edgecnn's dependencies, where they are installed.
    """

    schema: int = SCHEMA
    edgecnn: str
    system: str
    machine: str
    bits: int
    board: str | None = None
    processor: str | None = None
    isa: tuple[str, ...] = ()
    cores: int
    cores_online: int
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    clock: Clock | None = None
    temperatures: tuple[Sensor, ...] = ()
    python: str
    libc: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    onnxruntime: Runtime

    def __post_init__(self) -> None:
        if self.bits not in (32, 64) or self.cores < 1:
            raise ValueError(f"bits {self.bits} and cores {self.cores} are no device's")

    @property
    def name(self) -> str:
        """The shortest that tells it: its board, else its processor, else its machine."""
        return self.board or self.processor or self.machine


def read_probe(path: Path | str) -> Probe:
    """The facts in a file that `edgecnn probe --json` wrote. Unknown fields are ignored, so that a newer edgecnn may tell more.

    Raises InputMissing, and TargetRejected for what is no such file, or of a newer schema.
    """
    path = Path(path)
    try:
        document = strict_json(read_whole(path, MOST_BYTES))
        _check_schema(document, path)
        found = decode(Probe, document, where="probe")
        check_texts(document)
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; `edgecnn probe --json > probe.json` on the device writes one.") from None
    except OSError as error:
        raise TargetRejected(f"{path} can't be read ({error.strerror}); give what `edgecnn probe --json` wrote on the device.") from None
    except CodecError as error:
        raise TargetRejected(f"{path} is no probe of a device ({brief(str(error))}); give what `edgecnn probe --json` wrote there.") from None
    return found


def _check_schema(document: object, path: Path) -> None:
    """What a newer schema means can't be known, so it is looked at before anything else."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise TargetRejected(f"{path} is a probe of schema {schema}, this edgecnn {edgecnn.__version__} reads {SCHEMA}; upgrade edgecnn here.")
    if type(schema) is not int or schema != SCHEMA:
        raise CodecError("probe", "it states no schema")


def wheel_fault(machine: str, bits: int = 64) -> str | None:
    """Why no onnxruntime can be installed on such a machine, where PyPI has none; None elsewhere. machine: as `uname -m` says."""
    if machine.lower() in _ARM_32 or (bits == 32 and machine.lower() == "aarch64"):
        return f"onnxruntime has no wheel for 32-bit Arm ({machine}); install a 64-bit system (aarch64) where the processor takes one"
    if bits == 32:
        return f"onnxruntime has no wheel for a 32-bit system ({machine}); install a 64-bit one"
    return None

"""Facts about this machine: the cores this process may use, what its CPU can do, memory, temperature."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_ROOT = Path("/")
_MOST_CORES = 8192  # CONFIG_NR_CPUS of Linux goes no higher on any architecture

# the extensions that decide how fast, or how exactly, a CNN runs; x86 names and Arm names as /proc/cpuinfo spells them
_ISA_X86 = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
_ISA_ARM = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
_X86 = ("x86_64", "amd64", "i386", "i686")

# Arm's own cores by their part's number: arch/arm64/include/asm/cputype.h of Linux
_ARM_CORES = {
    **{"0xc07": "Cortex-A7", "0xc09": "Cortex-A9", "0xc0f": "Cortex-A15", "0xd01": "Cortex-A32", "0xd03": "Cortex-A53"},
    **{"0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73"},
    **{"0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1"},
    **{"0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd49": "Neoverse-N2"},
    **{"0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """This machine, as far as it can be read; what can't be is None.

    system, machine: as `uname` says; processor: the CPU's own name; isa, cores, memory_bytes, temperature_c: see the functions of these names;
    cores_online: all cores of the machine.
    """

    system: str
    machine: str
    processor: str | None
    isa: tuple[str, ...]
    cores: int
    cores_online: int
    memory_bytes: int | None
    temperature_c: float | None
    python: str


def describe() -> HostFacts:
    """The facts at this moment. Raises nothing: what can't be read is None."""
    return HostFacts(
        system=platform.system(),
        machine=platform.machine(),
        processor=processor(),
        isa=isa(),
        cores=available_cores(),
        cores_online=os.cpu_count() or 1,
        memory_bytes=memory_bytes(),
        temperature_c=temperature_c(),
        python=platform.python_version(),
    )


def available_cores(*, root: Path = _ROOT) -> int:
    """How many cores this process may keep busy, at least 1: those of its affinity and of its cgroups' cpusets, or the tightest CPU quota of its
    cgroups, rounded up, where that is less. cgroups are those of v1 and v2, the group's own and the ones above it."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS, Windows
        allowed = set(range(os.cpu_count() or 1))
    cores = min([len(allowed), *(len(allowed & cpuset) for cpuset in _cpusets(root) if allowed & cpuset)])
    quota = _cpu_quota(root)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def isa(*, root: Path = _ROOT) -> tuple[str, ...]:
    """The CPU's extensions that matter to inference, e.g. ("avx2", "avx512_vnni"); empty where /proc/cpuinfo tells none."""
    facts = cpuinfo(root)
    flags = frozenset(facts.get("flags", facts.get("Features", "")).split())
    return tuple(name for name in (*_ISA_X86, *_ISA_ARM) if name in flags)


def processor(*, root: Path = _ROOT) -> str | None:
    """The CPU's name; of an Arm core, which tells its part's number only, the first core's, e.g. "Cortex-A72"."""
    facts = cpuinfo(root)
    arm = _ARM_CORES.get(facts.get("CPU part", "").lower()) if facts.get("CPU implementer", "").lower() == "0x41" else None
    return facts.get("model name") or arm


def is_x86() -> bool:
    """Whether this is an x86 CPU."""
    return os.name == "nt" or os.uname().machine.lower() in _X86


def has_vnni(*, root: Path = _ROOT) -> bool:
    """Whether an x86 CPU adds int8 products in 32 bits (VNNI). Without it U8S8 products saturate at 16 bits, and answers change."""
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(isa(root=root))


def may_saturate() -> bool:
    """Whether int8 products may saturate on this CPU, where nothing is done about it: see `has_vnni`."""
    return is_x86() and not has_vnni()


def installed_runtime() -> str | None:
    """The version of onnxruntime that is installed, under whichever of its names; it is not imported for that."""
    from importlib import metadata

    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-training"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def memory_bytes(*, root: Path = _ROOT) -> int | None:
    """The machine's memory, or the cgroup's limit where that is lower; None where unknown."""
    found = [_meminfo(root), *_limits(root, "memory", "memory.limit_in_bytes"), *_limits(root, "", "memory.max")]
    # v1 writes the largest number of pages that it can count where there is no limit
    known = [value for value in found if value is not None and value < 1 << 60]
    return min(known, default=None)


def temperature_c(*, root: Path = _ROOT) -> float | None:
    """The hottest thermal zone in degrees Celsius; None where no sensor can be read."""
    readings = [number_of(text_of(zone / "temp")) for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))]
    return max((value / 1000 for value in readings if value is not None), default=None)


def text_of(path: Path) -> str:
    """What a file of the kernel holds, "" where it can't be read."""
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):  # the latter for a NUL in the name
        return ""


def number_of(text: str) -> int | None:
    """The whole number that `text` is; None for any other."""
    try:
        return int(text)
    except ValueError:
        return None


@lru_cache(maxsize=2)
def cpuinfo(root: Path = _ROOT) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; reading all of a large machine's would take milliseconds."""
    try:
        with open(root / "proc/cpuinfo", errors="replace") as file:
            block = file.read(16_384).split("\n\n", 1)[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}


def _meminfo(root: Path) -> int | None:
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            kib = number_of(line.split()[1])
            return None if kib is None else kib * 1024
    return None


def _cpu_quota(root: Path) -> float | None:
    """The tightest CPU quota, in cores, of this process's cgroup and those above it."""
    pairs = [(text_of(folder / "cpu.max").split() or [""])[:2] for folder in _folders(root, "")]
    pairs += [[text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us")] for folder in _folders(root, "cpu")]
    numbers = [tuple(number_of(word) or 0 for word in pair) for pair in pairs if len(pair) == 2]
    # "max" in v2 and -1 in v1 mean no quota
    return min((quota / period for quota, period in numbers if quota > 0 and period > 0), default=None)


def _cpusets(root: Path) -> Iterator[set[int]]:
    """The cores of this process's cgroups. The kernel keeps the affinity within them; what stands in for it in some containers doesn't."""
    files = [folder / "cpuset.cpus.effective" for folder in _folders(root, "")]
    files += [folder / name for folder in _folders(root, "cpuset") for name in ("cpuset.effective_cpus", "cpuset.cpus")]
    return filter(None, (cpu_list(text_of(file)) for file in files))


def cpu_list(text: str) -> set[int]:
    """Numbers of cores as the kernel writes them, e.g. "0-3,8"; empty for anything else."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low, high = number_of(first), number_of(last if dash else first)
        if low is None or high is None or not 0 <= low <= high < _MOST_CORES:
            return set()
        found.update(range(low, high + 1))
    return found


def _limits(root: Path, controller: str, file: str) -> Iterator[int | None]:
    return (number_of(text_of(folder / file)) for folder in _folders(root, controller))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup folder for a v1 controller ("" is v2) and every one above it that is mounted here."""
    group = _group(root, controller)
    if group is None:
        return
    for mount_root, mount_point in _mounts(root, controller):
        # in a container the group's path may lie outside what is mounted, or above it ("/.."): then the mount itself is the group
        below = f"{group}/".startswith(f"{mount_root}/") and ".." not in group.split("/")
        folder = mount_point / (group[len(mount_root) :].strip("/") if below else "")
        yield from (folder, *folder.parents[: len(folder.parts) - len(mount_point.parts)])


def _group(root: Path, controller: str) -> str | None:
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (controller in controllers.split(",")) if controller else not controllers:
            return path
    return None


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """(root within the hierarchy, mount point) of each mount of the controller's hierarchy, from /proc/self/mountinfo (see proc(5))."""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        fits = kind[0] == "cgroup" and controller in kind[2].split(",") if controller else kind[0] == "cgroup2"
        if fits:
            # spaces and the like stand there as \040
            where = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
            yield fields[3].rstrip("/"), root / where.lstrip("/")

"""What the machine did while it measured: who else used its CPUs, whether the clock was lowered or the chip throttled.

Everything is read from /proc and /sys, and what isn't there is None: not known, which is no reason against a measurement.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edgecnn.device.host import number_of, text_of

ROOT = Path("/")

MOST_OTHERS = 0.10
"""Largest share of its CPUs' time that others may have had during a valid measurement."""

LEAST_CLOCK = 0.90
"""Least clock of a valid measurement, of the CPU's own."""

LEAST_SECONDS = 1.0
"""/proc/stat counts in steps of 10 ms: of less time the share of others can't be told."""

_SAMPLE_SECONDS = 0.5
_PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of get_throttled; the same 16 higher say that it happened since the start. https://www.raspberrypi.com/documentation/computers/os.html ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """seconds: how long was watched; cpus: on which this process may run; others: share of these CPUs' time that other processes and, stolen, other
    machines had; clock_mhz: median of what the fastest of the CPUs ran at, at the ends of bursts; rated_mhz: the clock that it can hold; capped_mhz:
    what its policy allows; throttled: throttling events that the CPU counted; flags: what the board's firmware reports. None: not known.
    """

    seconds: float
    cpus: int
    others: float | None = None
    clock_mhz: float | None = None
    rated_mhz: float | None = None
    capped_mhz: float | None = None
    throttled: int | None = None
    flags: tuple[str, ...] | None = None

    def problems(self, *, idle: bool = False) -> tuple[str, ...]:
        """Why figures that were measured so can't be trusted. idle: the CPU slept in between, and then lowers its clock by itself."""
        found = []
        if self.rated_mhz and self.capped_mhz and self.capped_mhz < LEAST_CLOCK * self.rated_mhz:
            found.append(f"the clock was limited to {self.capped_mhz:.0f} of {self.rated_mhz:.0f} MHz, raise scaling_max_freq or cool the CPU")
        elif self.rated_mhz and self.clock_mhz and self.clock_mhz < LEAST_CLOCK * self.rated_mhz and not idle:
            found.append(f"the clock was lowered to {self.clock_mhz:.0f} of {self.rated_mhz:.0f} MHz, see to cooling, power and the governor")
        if self.throttled:
            found.append(f"the CPU throttled itself {self.throttled} times, see to its cooling")
        if self.flags:
            found.append(f"the firmware reports {', '.join(self.flags)}, see to cooling and power")
        if self.others is not None and self.others > MOST_OTHERS:
            found.append(f"others had {self.others:.0%} of the CPUs' time, at most {MOST_OTHERS:.0%} leaves figures alone; stop them")
        return tuple(found)


class Watch:
    """Looks at the machine from `start` to `stop`; `sample` is for the moments when the CPU is busy, and looks at most twice a second.

    root: where /proc and /sys lie; clock: nanoseconds; own: nanoseconds of CPU time that this process used.
    """

    def __init__(
        self, *, root: Path | None = None, clock: Callable[[], int] = time.perf_counter_ns, own: Callable[[], int] = time.process_time_ns
    ) -> None:
        self._root = ROOT if root is None else root
        self._clock, self._own = clock, own
        self._cpus = _allowed()
        self._mhz: list[float] = []
        self._flags = 0
        self._next = 0
        self.start()

    def start(self) -> None:
        """Forget what was seen before."""
        self._mhz, self._flags = [], 0
        self._throttles, self._firmware = _throttles(self._root), _firmware(self._root)
        self._busy, self._used, self._begun = _busy_seconds(self._root, self._cpus), self._own(), self._clock()
        self._next = self._begun

    def sample(self) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + int(_SAMPLE_SECONDS * 1e9)
        self._look()

    def _look(self) -> None:
        found = [_mhz(self._root, cpu, "scaling_cur_freq") for cpu in self._cpus]
        known = [mhz for mhz in found if mhz]
        if known:
            self._mhz.append(max(known))
        self._flags |= _firmware(self._root) or 0

    def stop(self) -> Conditions:
        self._look()
        seconds = (self._clock() - self._begun) / 1e9
        before, after = self._throttles, _throttles(self._root)
        return Conditions(
            seconds=seconds,
            cpus=len(self._cpus),
            others=self._others(seconds),
            clock_mhz=median(self._mhz) if self._mhz else None,
            rated_mhz=_rated(self._root, self._cpus),
            capped_mhz=max(filter(None, (_mhz(self._root, cpu, "scaling_max_freq") for cpu in self._cpus)), default=None),
            throttled=None if before is None or after is None else max(0, after - before),
            flags=self._seen_flags(),
        )

    def _others(self, seconds: float) -> float | None:
        busy = _busy_seconds(self._root, self._cpus)
        if seconds < LEAST_SECONDS or busy is None or self._busy is None or busy <= self._busy:
            return None
        own = (self._own() - self._used) / 1e9
        return min(1.0, max(0.0, busy - self._busy - own) / (seconds * len(self._cpus)))

    def _seen_flags(self) -> tuple[str, ...] | None:
        if self._firmware is None:
            return None
        after = _firmware(self._root) or 0
        # what happened between two looks left its mark in the higher half
        seen = self._flags | (after & ~self._firmware) >> 16
        return tuple(words for bit, words in _PI_NOW.items() if seen >> bit & 1)


def described(found: Conditions | None) -> str:
    """The machine's state in one line."""
    if found is None:
        return "other load, clock and throttling not known"
    others = "other load not known" if found.others is None else f"other load {found.others:.1%}"
    clock = "clock not known" if found.clock_mhz is None else f"clock {found.clock_mhz:.0f} MHz"
    if found.throttled is None and found.flags is None:
        return f"{others}, {clock}, throttling not known"
    return f"{others}, {clock}, {'throttled' if found.throttled or found.flags else 'no throttling'}"


def _allowed() -> tuple[int, ...]:
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        return tuple(range(os.cpu_count() or 1))


def _busy_seconds(root: Path, cpus: Sequence[int]) -> float | None:
    """Seconds that these CPUs were busy since the machine started, stolen ones included; see proc_stat(5)."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    found = [line.split() for line in text_of(root / "proc/stat").splitlines() if line.partition(" ")[0] in wanted]
    if len(found) != len(wanted):
        return None
    # user, nice, system, irq, softirq, steal; not idle and iowait, and a guest's is in user's
    ticks = [number_of(line[at]) if at < len(line) else 0 for line in found for at in (1, 2, 3, 6, 7, 8)]
    return None if any(tick is None for tick in ticks) else sum(tick or 0 for tick in ticks) / _ticks_per_second()


def _ticks_per_second() -> int:
    try:
        return os.sysconf("SC_CLK_TCK")
    except (AttributeError, ValueError, OSError):
        return 100


def _mhz(root: Path, cpu: int, name: str) -> float | None:
    kilohertz = number_of(text_of(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}"))
    return kilohertz / 1000 if kilohertz else None


def _rated(root: Path, cpus: Sequence[int]) -> float | None:
    """The clock that the fastest of these CPUs holds without boost; where the driver doesn't tell, the highest that there is."""
    found = []
    for cpu in cpus:
        nominal = number_of(text_of(root / f"sys/devices/system/cpu/cpu{cpu}/acpi_cppc/nominal_freq"))
        found.append(_mhz(root, cpu, "base_frequency") or nominal or _mhz(root, cpu, "cpuinfo_max_freq"))
    return max((float(mhz) for mhz in found if mhz), default=None)


def _throttles(root: Path) -> int | None:
    """Throttling events of all cores and packages so far."""
    counts = [number_of(text_of(file)) for file in _counters(root)]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _counters(root: Path) -> Iterator[Path]:
    folder = root / "sys/devices/system/cpu"
    for name in ("core_throttle_count", "package_throttle_count"):
        yield from folder.glob(f"cpu[0-9]*/thermal_throttle/{name}")


def _firmware(root: Path) -> int | None:
    """A Raspberry Pi's flags; None elsewhere."""
    try:
        return int(text_of(root / _PI).strip(), 16)
    except ValueError:
        return None

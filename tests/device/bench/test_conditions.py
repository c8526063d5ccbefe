"""What the machine did meanwhile, read from a /proc and a /sys of our own, and once from the real ones under a real load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgecnn.device.bench import conditions
from edgecnn.device.bench.conditions import Conditions, Watch, described
from tests.device.test_host import tree

FREQ = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
THROTTLES = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"


@dataclass
class Machine:
    """Two CPUs on a clock of our own. Times are in seconds."""

    root: Path
    now: float = 0.0
    own: float = 0.0
    files: dict[str, str] = field(default_factory=dict)

    def write(self, **_: str) -> None:
        tree(self.root, self.files)

    def busy(self, first: float, second: float, stolen: float = 0.0) -> None:
        """user, nice, system, idle, iowait, irq, softirq, steal, guest: in hundredths."""
        ticks = os.sysconf("SC_CLK_TCK")
        lines = [f"cpu{at} {round(of * ticks)} 0 0 9999 9999 0 0 {round(stolen * ticks)} 0 0" for at, of in enumerate((first, second))]
        self.files["proc/stat"] = "\n".join(["cpu 1 2 3 4", *lines, "intr 1"]) + "\n"
        self.write()

    def watch(self) -> Watch:
        return Watch(root=self.root, clock=lambda: int(self.now * 1e9), own=lambda: int(self.own * 1e9))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(conditions, "_allowed", lambda: (0, 1))
    return Machine(tmp_path / "root")


def test_what_this_process_used_is_no_other_load(machine: Machine) -> None:
    machine.busy(100, 50)
    watch = machine.watch()
    machine.busy(110, 50.5)
    machine.now, machine.own = 10, 10
    found = watch.stop()
    assert found.others == pytest.approx(0.025)
    assert found.problems() == ()


@pytest.mark.parametrize(("others", "stolen"), [(4.0, 0.0), (0.0, 2.0)])
def test_what_others_used_or_stole_is(machine: Machine, others: float, stolen: float) -> None:
    machine.busy(100, 50)
    watch = machine.watch()
    machine.busy(110, 50 + others, stolen)
    machine.now, machine.own = 10, 10
    found = watch.stop()
    assert found.others == pytest.approx(0.2)
    assert found.problems() == ("others had 20% of the CPUs' time, at most 10% leaves figures alone; stop them",)


def test_of_a_short_time_and_of_unknown_cpus_nothing_is_said(machine: Machine) -> None:
    machine.busy(100, 50)
    watch = machine.watch()
    machine.busy(101, 51)
    machine.now = 0.5
    assert watch.stop().others is None
    machine.files["proc/stat"] = "cpu0 1 1 1 1\n"
    machine.write()
    watch = machine.watch()
    machine.now = 20
    assert watch.stop().others is None


def test_a_machine_that_tells_nothing_is_no_worse_for_it(machine: Machine) -> None:
    watch = machine.watch()
    machine.now, machine.own = 20, 20
    watch.sample()
    found = watch.stop()
    assert found == Conditions(seconds=20, cpus=2)
    assert found.problems() == ()
    assert described(found) == "other load not known, clock not known, throttling not known"
    assert described(None) == "other load, clock and throttling not known"


def _clock(machine: Machine, now: int, **more: int) -> None:
    for cpu in (0, 1):
        machine.files |= {FREQ.format(cpu, "scaling_cur_freq"): f"{now}\n", FREQ.format(cpu, "cpuinfo_max_freq"): "1500000\n"}
        machine.files |= {FREQ.format(cpu, name): f"{value}\n" for name, value in more.items()}
    machine.write()


def test_a_clock_that_was_lowered_is_a_problem_unless_the_cpu_slept(machine: Machine) -> None:
    _clock(machine, 1500000)
    watch = machine.watch()
    for second, now in enumerate((1500000, 1000000, 1000000, 600000)):
        _clock(machine, now)
        machine.now = second
        watch.sample()
        watch.sample()  # at most twice a second
    found = watch.stop()
    assert found.clock_mhz == 1000
    assert found.problems() == ("the clock was lowered to 1000 of 1500 MHz, see to cooling, power and the governor",)
    assert found.problems(idle=True) == ()


def test_a_policy_that_caps_the_clock_is_a_problem(machine: Machine) -> None:
    _clock(machine, 1000000, scaling_max_freq=1000000)
    found = machine.watch().stop()
    assert found.problems(idle=True) == ("the clock was limited to 1000 of 1500 MHz, raise scaling_max_freq or cool the CPU",)


@pytest.mark.parametrize(
    ("file", "text"), [(FREQ.format(0, "base_frequency"), "1000000"), ("sys/devices/system/cpu/cpu0/acpi_cppc/nominal_freq", "1000")]
)
def test_less_than_the_boost_is_none(machine: Machine, file: str, text: str) -> None:
    machine.files[file] = text
    _clock(machine, 1000000)
    machine.files.pop(FREQ.format(1, "cpuinfo_max_freq"))
    (machine.root / FREQ.format(1, "cpuinfo_max_freq")).unlink()
    assert machine.watch().stop().problems() == ()


def test_a_throttling_event_is_a_problem_and_an_old_one_is_none(machine: Machine) -> None:
    machine.files |= {THROTTLES.format(cpu, kind): "7\n" for cpu in (0, 1) for kind in ("core", "package")}
    machine.write()
    watch = machine.watch()
    assert watch.stop().problems() == ()
    machine.files[THROTTLES.format(1, "core")] = "9\n"
    machine.write()
    assert watch.stop().problems() == ("the CPU throttled itself 2 times, see to its cooling",)
    assert "throttled" in described(watch.stop())


@pytest.mark.parametrize(
    ("before", "during", "after", "words"),
    [
        ("0", "0", "0", ()),
        ("50000", "50000", "50000", ()),
        ("0", "4", "40000", ("throttled",)),
        ("0", "0", "10000", ("under-voltage",)),
        ("0x0", "0xa", "0xa0000", ("clock capped", "soft temperature limit")),
    ],
)
def test_a_raspberry_pi_s_flags_count_where_they_came_up_meanwhile(
    machine: Machine, before: str, during: str, after: str, words: tuple[str, ...]
) -> None:
    for text in (before, during, after):
        machine.files[PI] = f"{text}\n"
        machine.write()
        if text == before and not machine.now:
            watch = machine.watch()
        else:
            watch.sample()
        machine.now += 1
    found = watch.stop()
    assert found.flags == words
    assert bool(found.problems()) == bool(words)


def test_a_real_load_on_all_cpus_is_seen() -> None:
    burn = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    watch = Watch()
    load = [subprocess.Popen([sys.executable, "-c", burn]) for _ in os.sched_getaffinity(0)]
    try:
        time.sleep(0.5)
        watch.start()
        time.sleep(2.0)
        found = watch.stop()
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert found.others is not None
    assert found.others > 0.5
    assert any("of the CPUs' time" in problem for problem in found.problems())

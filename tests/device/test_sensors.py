from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.probe import Clock, Sensor
from edgecnn.device import sensors
from tests.device.test_host import tree

ZONE, FREQ = "sys/class/thermal/thermal_zone{}/{}", "sys/devices/system/cpu/cpu{}/cpufreq/{}"


def test_a_board_is_named_by_its_device_tree_without_the_closing_nul(tmp_path: Path) -> None:
    assert sensors.board(root=tree(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"})) == "Raspberry Pi 4 Model B Rev 1.4"


def test_the_clock_is_that_of_the_fastest_core(tmp_path: Path) -> None:
    little, big = (600000, 1400000), (1800000, 2400000)
    files = {}
    for core, (now, most) in enumerate((little, big, little)):
        files |= {FREQ.format(core, "scaling_cur_freq"): f"{now}\n", FREQ.format(core, "cpuinfo_max_freq"): f"{most}\n"}
        files[FREQ.format(core, "scaling_governor")] = "schedutil\n"
    assert sensors.clock(root=tree(tmp_path, files)) == Clock(mhz=1800.0, most_mhz=2400.0, governor="schedutil")


def test_without_frequency_scaling_cpuinfo_tells_the_clock(tmp_path: Path) -> None:
    assert sensors.clock(root=tree(tmp_path, {"proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2596.146\n"})) == Clock(mhz=2596.146)


def test_every_zone_is_told_with_what_it_is_of(tmp_path: Path) -> None:
    files = {ZONE.format(0, "temp"): "45277\n", ZONE.format(0, "type"): "cpu-thermal\n", ZONE.format(1, "temp"): "51000\n"}
    wanted = (Sensor(name="cpu-thermal", celsius=45.277), Sensor(name="thermal_zone1", celsius=51.0))
    assert sensors.temperatures(root=tree(tmp_path, files)) == wanted


@pytest.mark.parametrize("reading", ["-273150", "999999999", "N/A", ""])
def test_a_sensor_that_is_switched_off_or_broken_is_left_out(tmp_path: Path, reading: str) -> None:
    assert sensors.temperatures(root=tree(tmp_path, {ZONE.format(0, "temp"): reading})) == ()


def test_where_no_zone_is_the_drivers_sensors_are_told(tmp_path: Path) -> None:
    hwmon = "sys/class/hwmon/hwmon0/"
    root = tree(
        tmp_path, {hwmon + "name": "k10temp\n", hwmon + "temp1_input": "60500\n", hwmon + "temp2_input": "61000\n", hwmon + "temp2_label": "Tctl\n"}
    )
    assert sensors.temperatures(root=root) == (Sensor(name="k10temp", celsius=60.5), Sensor(name="Tctl", celsius=61.0))


def test_available_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert sensors.memory_available_bytes(root=tree(tmp_path, {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    5 kB\n"})) == 5 * 1024


def test_a_machine_that_tells_nothing_has_none_of_it(tmp_path: Path) -> None:
    found = [sensors.board(root=tmp_path), sensors.clock(root=tmp_path), sensors.memory_available_bytes(root=tmp_path)]
    assert found == [None, None, None]
    assert sensors.temperatures(root=tmp_path) == ()


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_nonsense_in_the_kernel_s_files_breaks_nothing(tmp_path_factory: pytest.TempPathFactory, number: str, name: str, line: str) -> None:
    root = tmp_path_factory.mktemp("root")
    files = {ZONE.format(0, "temp"): number, ZONE.format(0, "type"): name, "proc/device-tree/model": name, FREQ.format(0, "scaling_cur_freq"): number}
    files |= {FREQ.format(0, "scaling_governor"): name, "proc/meminfo": f"MemAvailable: x\n{line}", "proc/cpuinfo": f"cpu MHz : {number}\n{line}"}
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(text.encode(errors="replace"))
    for sensor in sensors.temperatures(root=root):
        assert -60 <= sensor.celsius < 200
        assert sensor.name.isprintable()
    sensors.clock(root=root)
    sensors.memory_available_bytes(root=root)
    assert (sensors.board(root=root) or "").isprintable()

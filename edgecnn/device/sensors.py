"""What a machine's kernel tells beside `host`: its board, its clock, its temperatures, the memory that is free."""

from __future__ import annotations

from pathlib import Path

from edgecnn.artifact.probe import Clock, Sensor
from edgecnn.device.host import cpuinfo, number_of, text_of

_ROOT = Path("/")
_PLAUSIBLE = range(-60, 200)
"""Degrees Celsius; a sensor that is switched off says 0 K, or worse."""


def board(*, root: Path = _ROOT) -> str | None:
    """The board's name in its device tree, "Raspberry Pi 4 Model B Rev 1.4"; None where there is none, as on PCs."""
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        name = " ".join("".join(c if c.isprintable() else " " for c in text_of(root / place)).split())
        if name:
            return name
    return None


def clock(*, root: Path = _ROOT) -> Clock | None:
    """The clock of the core that may run fastest; /proc/cpuinfo's where the kernel sets none; None where nothing is told."""
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    found = [(_megahertz(folder / "cpuinfo_max_freq") or 0.0, _megahertz(folder / "scaling_cur_freq"), folder) for folder in folders]
    if found:
        most, now, folder = max(found, key=lambda entry: entry[:1])
        if most or now:
            return Clock(mhz=now, most_mhz=most or None, governor=text_of(folder / "scaling_governor").strip() or None)
    try:
        return Clock(mhz=float(cpuinfo(root)["cpu MHz"]))
    except (KeyError, ValueError):
        return None


def _megahertz(file: Path) -> float | None:
    kilohertz = number_of(text_of(file))
    return kilohertz / 1000 if kilohertz else None


def temperatures(*, root: Path = _ROOT) -> tuple[Sensor, ...]:
    """Every thermal zone that can be read; where there is none, what hwmon's drivers measure."""
    found = [_sensor(zone / "temp", zone / "type") for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))]
    if not any(found):
        files = sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input"))
        found = [_sensor(file, file.with_name(file.name.replace("_input", "_label")), file.with_name("name")) for file in files]
    return tuple(sensor for sensor in found if sensor is not None)


def _sensor(file: Path, *names: Path) -> Sensor | None:
    reading = number_of(text_of(file))
    if reading is None or reading // 1000 not in _PLAUSIBLE:
        return None
    name = next((text for path in names if (text := text_of(path).strip())), file.parent.name)
    return Sensor(name=name if name.isprintable() else file.parent.name, celsius=reading / 1000)


def memory_available_bytes(*, root: Path = _ROOT) -> int | None:
    """What the kernel could give to a new process without swapping; None where it doesn't say."""
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            kib = number_of(line.split()[1])
            return None if kib is None else kib * 1024
    return None

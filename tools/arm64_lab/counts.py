"""Instructions an inference on an emulated core, and whether they are still what counts.json says."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact.files import write_atomic
from edgecnn.errors import MissingHere
from tools.arm64_lab.machine import HERE, Machine

KEPT = HERE / "counts.json"
SCRIPT = HERE / "on_device" / "count.py"

EXACT = 0.005
"""Largest spread between runs, relative to their mean, of a count that means something."""

CHANGE = 0.02
"""From here on a difference from the kept figure is a failure."""

_MARK = re.compile(r"^instructions (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Instructions of each counted run."""

    runs: tuple[int, ...]

    @property
    def mean(self) -> float:
        return sum(self.runs) / len(self.runs)

    @property
    def spread(self) -> float:
        return (max(self.runs) - min(self.runs)) / self.mean


def build_counter(machine: Machine) -> Path:
    """The emulator's plugin, compiled. Raises MissingHere where there is no C compiler."""
    source, target = HERE / "counter.c", machine.folder / "counter.so"
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    try:
        done = subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", source, "-o", target], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise MissingHere("there is no C compiler (cc) here, and the counter of instructions is a small C program.") from None
    if done.returncode:
        raise MissingHere(f"the counter of instructions doesn't compile here: {done.stderr.strip().splitlines()[0]}")
    return target


def count(machine: Machine, core: str, script: Path, *arguments: str | Path, extra: Mapping[str, str] | None = None) -> Count:
    """What `script`, which marks its runs by on_device/mark.py, executes in each. Raises MissingHere where the emulator takes no plugins."""
    counter = build_counter(machine)
    environment = {"QEMU_PLUGIN": str(counter), "PYTHONHASHSEED": "0", **(extra or {})}
    done = machine.run(core, script, *arguments, extra=environment)
    found = parse(done.stderr)
    if not found:
        raise MissingHere("the emulator loads no plugins, so instructions can't be counted; QEMU 7.2 does.")
    return found


def parse(said: str) -> Count | None:
    """The counts in what a process said on standard error; None where it set no marks."""
    marks = {int(number): int(total) for number, total in _MARK.findall(said)}
    totals = [marks[number] for number in sorted(marks)]
    runs = tuple(after - before for before, after in itertools.pairwise(totals))
    return Count(runs=runs) if runs else None


def faults(found: Mapping[str, Mapping[str, Count]], kept: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each count that isn't exact, that changed by 2 % or more, or that has no kept figure, and for each figure without a count.

    found: core -> net -> count; kept: what counts.json holds.
    """
    said = []
    figures: Mapping[str, Mapping[str, int]] = kept["instructions"]
    for core in sorted({*found, *figures}):
        mine, old = found.get(core, {}), figures.get(core, {})
        for net in sorted({*mine, *old}):
            if net not in mine:
                said.append(f"{net} on {core}: {old[net]:,} instructions an inference are kept, and nothing was counted.")
            elif not mine[net].spread <= EXACT:
                said.append(
                    f"{net} on {core}: runs differ by {mine[net].spread:.2%} of {mine[net].mean:,.0f} instructions, at most {EXACT:.1%} is exact."
                )
            elif net not in old:
                said.append(
                    f"{net} on {core}: {mine[net].mean:,.0f} instructions an inference, and no figure is kept; `tools/arm64 count --write` keeps it."
                )
            elif not abs(mine[net].mean / old[net] - 1) < CHANGE:
                change = mine[net].mean / old[net] - 1
                said.append(
                    f"{net} on {core}: {mine[net].mean:,.0f} instructions an inference, {change:+.1%} from the {old[net]:,} that are kept "
                    f"(counted with {_versions(kept)}); find out why, or keep the new figure by `tools/arm64 count --write`."
                )
    return tuple(said)


def _versions(kept: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in kept["versions"].items())


def read_kept() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept


def write_kept(found: Mapping[str, Mapping[str, Count]], versions: Mapping[str, str]) -> None:
    figures = {core: {net: round(count.mean) for net, count in sorted(nets.items())} for core, nets in sorted(found.items())}
    content = {
        "about": "instructions an inference, one thread; written by `tools/arm64 count --write`",
        "versions": versions,
        "instructions": figures,
    }
    write_atomic(KEPT, (json.dumps(content, indent=2) + "\n").encode())

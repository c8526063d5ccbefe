"""Children that run networks, and races between them: bursts that take turns, so that what else the machine does hits all alike."""

from __future__ import annotations

import json
import os
import random
import select
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CHILD = Path(__file__).with_name("child.py")
BURST_SECONDS = 0.02
"""Short, so that on a shared machine some bursts are not interrupted."""

LEAST_BURSTS = 10
QUANTILE = 0.1


class Failed(Exception):
    """Why a contender has no cell."""


class Runner(Protocol):
    """Something that runs bursts."""

    def burst(self, runs: int) -> Mapping[str, int]: ...


def command(python: Path | str, name: str, what: str, folder: Path, precision: str, *more: str) -> list[str]:
    return [str(python), str(CHILD), name, what, str(folder), precision, *more]


def surroundings(python: Path | str, threads: int | None = None) -> dict[str, str]:
    """What a child sees: pools held to the number of threads, its own programs first, and a pip that installs nothing, since one calls it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    count = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**kept, **count, "PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}", "PIP_DRY_RUN": "1", "OPENBLAS_NUM_THREADS": "1"}


def convert(python: Path | str, name: str, folder: Path, precision: str, *, timeout: float = 420.0) -> None:
    """Raises Failed."""
    try:
        done = subprocess.run(
            command(python, name, "convert", folder, precision),
            env=surroundings(python),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"converting took longer than {timeout:g} s") from None
    (folder / name).mkdir(exist_ok=True)
    (folder / name / f"{precision}.log").write_text(done.stderr)
    lines = done.stdout.splitlines()
    if not lines:
        raise Failed(f"converting ended with {done.returncode} and no word")
    _checked(json.loads(lines[-1]))


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    if "error" in said:
        raise Failed(said["error"])
    return said


class Child:
    """A contender with a network loaded, in a process of its own. Raises Failed where it doesn't load or doesn't answer in time."""

    def __init__(self, words: Sequence[str], *, environment: Mapping[str, str], log: Path, timeout: float = 120.0) -> None:
        self._timeout = timeout
        with log.open("w") as file:
            self._process = subprocess.Popen(
                list(words), env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, bufsize=1
            )
        try:
            said = self._heard()
        except BaseException:
            self.close()
            raise
        self.ready, self.note = float(said["ready"]), str(said["note"])

    def _heard(self) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], self._timeout)[0]:
            raise Failed(f"no answer within {self._timeout:g} s")
        line = out.readline()
        if not line:
            code = self._process.wait(10)
            raise Failed(f"it ended with {'signal ' + str(-code) if code < 0 else code} and no word")
        return _checked(json.loads(line))

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed("it is gone") from None
        return self._heard()

    def burst(self, runs: int) -> Mapping[str, int]:
        return self._ask({"burst": runs})

    def answers(self, file: Path) -> Any:
        """Logits of all inputs, float32 (n, labels)."""
        import numpy as np

        self._ask({"answers": str(file)})
        return np.load(file)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Time:
    """Of an inference: wall and CPU seconds, each by the burst that a tenth of them are faster than, since what else the machine does only ever adds;
    cores: CPU time over wall time, the median of bursts; bursts: (wall, CPU) seconds an inference of each."""

    wall: float
    cpu: float
    cores: float
    bursts: tuple[tuple[float, float], ...]


def race(runners: Mapping[str, Runner], *, seconds: float) -> tuple[dict[str, Time], dict[str, str]]:
    """Each runner for about so many seconds, in bursts that take turns, in another order each round, so that nobody always follows one
    whose threads still spin; and why some dropped out."""
    sizes: dict[str, int] = {}
    out: dict[str, str] = {}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}

    def burst(name: str, runs: int) -> tuple[float, float] | None:
        try:
            said = runners[name].burst(runs)
        except Failed as error:
            out[name] = str(error)
            return None
        return said["wall_ns"] / 1e9 / said["runs"], said["cpu_ns"] / 1e9 / said["runs"]

    for name in runners:
        burst(name, 2)
        first = burst(name, 3) if name not in out else None
        if first is not None:
            sizes[name] = max(1, round(BURST_SECONDS / max(first[0], 1e-7)))
    rounds = max(LEAST_BURSTS, round(seconds / BURST_SECONDS))
    shuffled = random.Random(0)
    for _ in range(rounds):
        for name in shuffled.sample(list(sizes), len(sizes)):
            taken = burst(name, sizes[name]) if name not in out else None
            if taken is not None:
                found[name].append(taken)
    times = {name: _time(bursts) for name, bursts in found.items() if bursts and name not in out}
    return times, out


def _time(bursts: Sequence[tuple[float, float]]) -> Time:
    place = int(QUANTILE * len(bursts))
    wall, cpu = (sorted(found)[place] for found in zip(*bursts, strict=True))
    return Time(wall=wall, cpu=cpu, cores=statistics.median(spent / max(taken, 1e-9) for taken, spent in bursts), bursts=tuple(bursts))

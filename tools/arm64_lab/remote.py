"""A board over ssh, without a board: a real sshd on 127.0.0.1, whose login's Python is the emulated machine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.arm64_lab.loopback import Login, Loopback, loopback
from tools.arm64_lab.machine import ROOT, Machine

MODEL = ROOT / "models" / "resnet8-cifar10"


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def faults(machine: Machine, core: str) -> Iterator[str]:
    """What went wrong with each command, after a line for each that went well."""
    artifact, images = next(MODEL.glob("*.edgecnn")), sorted((MODEL / "samples").rglob("*.jpg"))[:4]
    with tempfile.TemporaryDirectory(prefix="edgecnn-arm64-") as folder:
        login = Login(path=machine.python(core).parent, environment={})
        with loopback(Path(folder), [login, login]) as up:
            for title, fault in _tries(up, artifact, images):
                print(f"{title}  {'FAIL' if fault else 'as it should be'}", flush=True)
                if fault:
                    yield f"{title} on {core}: {fault}"


def _tries(up: Loopback, artifact: Path, images: Sequence[Path]) -> Iterator[tuple[str, str | None]]:
    first, both = ("--on", up.names[0]), [word for name in up.names for word in ("--on", name)]

    done = _edgecnn(up, "probe", "--json", *first)
    yield "probe", _wrong(done, lambda: [record["machine"] for record in done.records()] == ["aarch64"])

    here, there = (_edgecnn(up, "run", "--json", *on, artifact, *images) for on in ((), first))
    labels = [record["label"] for record in here.records()]
    yield "run", _wrong(there, lambda: len(labels) == len(images) and [record["label"] for record in there.records()] == labels)

    done = _edgecnn(up, "validate", "--json", *first, artifact)
    yield "validate", _wrong(done, lambda: done.records()[0]["golden"]["passed"])

    done = _edgecnn(up, "store", "install", "--json", *first, artifact)
    name = done.records()[0]["name"] if done.code == 0 else "?"
    again = _edgecnn(up, "run", "--json", *first, name, *images) if done.code == 0 else done
    yield "store", _wrong(again, lambda: [record["label"] for record in again.records()] == labels)

    # emulated time says nothing, so it may well be INVALID, which is 1; and none of it is shown
    done = _edgecnn(up, "bench", "--json", "--threads", "1", "--min-seconds", "1", *both, artifact)
    measured = done.records() if done.code in (0, 1) else []
    good = sorted((record["device"], record["host"]["machine"], record["runs"] >= 100) for record in measured)
    yield "bench", _wrong(done, lambda: good == sorted((name, "aarch64", True) for name in up.names), codes=(0, 1))


def _wrong(done: Done, condition: Any, *, codes: tuple[int, ...] = (0,)) -> str | None:
    if done.code not in codes:
        return f"it ended with {done.code}: {done.err.strip()[-1000:]}"
    try:
        return None if condition() else f"it said otherwise than was wanted: {done.out[:500]}"
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return f"it said what can't be read ({error!r}): {done.out[:500]}"


def _edgecnn(up: Loopback, *words: str | Path) -> Done:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGECNN_")}
    command = [sys.executable, "-m", "edgecnn", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**environment, "EDGECNN_SSH": up.ssh}, check=False)
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)

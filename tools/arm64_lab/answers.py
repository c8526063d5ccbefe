"""What the commands and the networks answer on an emulated core, beside what they answer here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.bundle import open_bundle
from tools.arm64_lab.machine import HERE, Machine
from tools.arm64_lab.nets import Net

SCRIPT = HERE / "on_device" / "answers.py"
FLOAT32_ATOL = 1e-4
"""Between CPUs that add float32 products in another order."""

SCORE_ATOL = 1e-6
"""Between two computers' exp in float32, where the logits are the same bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Of a net to its images. inputs: sha256 of what preprocessing gave; logits: float32 (images, labels)."""

    inputs: str
    logits: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A net's answers on a core beside those of this machine. limit: of the largest difference; 0 is exact; faults: a sentence for each."""

    net: str
    core: str
    images: int
    largest: float
    limit: float
    agreeing: int
    faults: tuple[str, ...]


def limit_of(net: Net) -> float:
    """What the manifest promises between machines; of a float32 graph 1e-4."""
    if net.precision == "float32":
        return FLOAT32_ATOL
    with open_bundle(net.artifact) as bundle:
        return bundle.manifest.limits.outputs_atol


def parse(line: str) -> Answers:
    found = json.loads(line)
    return Answers(inputs=found["inputs"], logits=np.asarray(found["logits"], dtype=np.float32))


@cache
def here(net: Net) -> Answers:
    """This machine's answers, by the same script in a process of its own, as on the device."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(net.artifact), *map(str, net.images)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{net.title} gives no answers here:\n{done.stderr}")
    return parse(done.stdout)


def there(machine: Machine, core: str, nets: Sequence[Net]) -> tuple[Answers, ...]:
    """The answers of several nets, in one process on the core."""
    words = [word for net in nets for word in ("--", str(net.artifact), *map(str, net.images))]
    lines = machine.run(core, SCRIPT, *words[1:]).stdout.splitlines()
    if len(lines) != len(nets):
        raise RuntimeError(f"on {core}, {len(lines)} of {len(nets)} nets gave answers")
    return tuple(map(parse, lines))


def compare(net: Net, core: str, expected: Answers, actual: Answers, limit: float) -> Comparison:
    """All inputs the same bits, all logits within the limit, and the samples decided alike; nothing, or a NaN, is a fault."""
    faults = []
    a, b = expected.logits, actual.logits
    if a.shape != b.shape or a.ndim != 2 or not a.size or len(a) != len(net.images):
        faults.append(
            f"{net.title}: the answers have the shapes {list(a.shape)} here and {list(b.shape)} on {core}; {len(net.images)} rows were wanted."
        )
        return Comparison(net=net.title, core=core, images=len(b), largest=float("nan"), limit=limit, agreeing=0, faults=tuple(faults))
    if expected.inputs != actual.inputs:
        faults.append(f"{net.title}: preprocessing gives other inputs on {core} than here.")
    largest = float(np.abs(a.astype(np.float64) - b).max())
    if not largest <= limit:
        faults.append(f"{net.title}: answers on {core} differ from those here by up to {largest:.3g}; at most {limit:.3g} was promised.")
    alike = a.argmax(axis=1) == b.argmax(axis=1)
    changed = [path.name for path, same in zip(net.samples, alike, strict=False) if not same]
    if changed or not net.samples:
        faults.append(f"{net.title}: {core} decides otherwise than this machine on {', '.join(changed) or 'no sample, for there is none'}.")
    return Comparison(net=net.title, core=core, images=len(b), largest=largest, limit=limit, agreeing=int(alike.sum()), faults=tuple(faults))


# the commands


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def commands(net: Net) -> Mapping[str, tuple[str, ...]]:
    artifact = str(net.artifact)
    return {
        "run": ("run", artifact, *map(str, net.samples), "--json"),
        "validate": ("validate", artifact, "--json"),
        "inspect": ("inspect", artifact, "--json"),
    }


@cache
def said_here(net: Net, command: str) -> Said:
    done = subprocess.run([sys.executable, "-m", "edgecnn", *commands(net)[command]], capture_output=True, text=True, check=False)
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)


def said_there(machine: Machine, core: str, net: Net, command: str) -> Said:
    done = machine.run(core, "-m", "edgecnn", *commands(net)[command], check=False)
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)


def faults(net: Net, command: str, core: str, expected: Said, actual: Said, limit: float) -> tuple[str, ...]:
    """A sentence for each thing that a command does otherwise on the core than here, or that is wrong in both places."""
    title = f"{net.title}: `edgecnn {command}` on {core}"
    if actual.code or expected.code:
        last = (actual.err or expected.err).strip().splitlines() or ["nothing"]
        return (f"{title} ended with {actual.code}, here with {expected.code}, and said: {last[-1]}",)
    judge = {"run": _run_faults, "validate": _validate_faults, "inspect": _inspect_faults}[command]
    return tuple(f"{title} {fault}" for fault in judge(net, expected.out, actual.out, limit))


def _run_faults(net: Net, expected: str, actual: str, limit: float) -> list[str]:
    a, b = ([json.loads(line) for line in text.splitlines()] for text in (expected, actual))
    if not len(a) == len(b) == len(net.samples) > 0:
        return [f"answered {len(b)} of {len(net.samples)} images, here {len(a)}."]
    found = []
    most = max(SCORE_ATOL, limit)  # a softmax changes by no more than its logits do
    for sample, mine, other in zip(net.samples, a, b, strict=True):
        if "error" in mine or "error" in other:
            found.append(f"can't read {sample.name}: {other.get('error', mine.get('error'))}")
        elif mine["label"] != other["label"] or mine["input"] != other["input"]:
            found.append(f"sees {other['label']!r} in {sample.name}, here {mine['label']!r}.")
        elif not abs(mine["score"] - other["score"]) <= most:
            found.append(f"gives {sample.name} the score {other['score']}, here {mine['score']}.")
    return found


def _validate_faults(net: Net, expected: str, actual: str, limit: float) -> list[str]:
    golden: dict[str, Any] = json.loads(actual)["golden"]
    steps = golden["steps"]
    if golden["passed"] and len(steps) == 3 and all(step["passed"] and step["samples"] > 0 for step in steps):
        return []
    return [f"passed {sum(step['passed'] for step in steps)} of 3 steps."]


def _inspect_faults(net: Net, expected: str, actual: str, limit: float) -> list[str]:
    return [] if actual == expected and json.loads(actual) else ["tells other facts than here."]

"""Two files measured in turns: which is faster, how sure that is, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

from edgecnn.device import host
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.statistics import median_interval
from edgecnn.errors import EdgecnnError, UsageError
from edgecnn.sign import open_trusted

SMALL_MS = 0.05
"""Under this rounding to integers and back, and starting each operator, cost as much as the products."""

_INT8 = ("int8", "dynamic")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """ratio: of an image's time in b to that in a, the median over `rounds` rounds, in each of which both had a burst; low, high: its 95 % interval,
    infinite where the rounds are too few. Under 1 b is the faster."""

    a: BenchReport
    b: BenchReport
    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def faster(self) -> BenchReport | None:
        """Which of the two is known to be faster; None where that can't be told."""
        return self.b if self.high < 1 else self.a if self.low > 1 else None


def compare(a: BenchReport, b: BenchReport) -> Comparison:
    """Two reports of one measurement, round by round, so that what slows the machine slows both. Raises UsageError where one has no samples."""
    pairs = [(x / a.batch, y / b.batch) for x, y in zip(_medians(a), _medians(b), strict=False)]
    ratios = [y / x for x, y in pairs if x]
    if not ratios:
        raise UsageError("there are no rounds in which both files ran, so they can't be compared; measure longer.")
    low, high = median_interval(ratios)
    return Comparison(a=a, b=b, ratio=median(ratios), low=low, high=high, rounds=len(ratios))


def _medians(report: BenchReport) -> Sequence[float]:
    ends = list(accumulate(report.bursts))
    return [median(report.samples_ns[end - count : end]) for end, count in zip(ends, report.bursts, strict=True) if count]


def sentences(found: Comparison, names: tuple[str, str], *, isa: tuple[str, ...], x86: bool, signed: bool = False) -> tuple[str, ...]:
    """What the ratio says, what follows from it, and why where it is int8 that doesn't help. isa: of `host`; x86: see `host.is_x86`;
    signed: see `signed_activations`, of the file in int8."""
    a, b = names
    interval = f"95 % interval {found.low:.3f} to {found.high:.3f}" if math.isfinite(found.high) else "too few for an interval"
    said = [f"{b} takes {found.ratio:.3f} of the time of {a} ({interval}, {found.rounds} rounds in turns)"]
    faster = found.faster
    quantized = [report.quantization in _INT8 for report in (found.a, found.b)]
    if quantized[0] == quantized[1]:
        said.append(
            "no difference can be told, measure longer"
            if faster is None
            else f"{b if faster is found.b else a} is faster here, and nothing else was asked"
        )
        return tuple(said)
    int8 = found.a if quantized[0] else found.b
    if faster is int8:
        factor = found.ratio if int8 is found.a else 1 / found.ratio
        said.append(f"int8 is worth it here: {factor:.2f} times as fast")
        return tuple(said)
    why = reasons(int8, isa=isa, x86=x86, signed=signed)
    verdict = "whether int8 is worth it here can't be told" if faster is None else "int8 isn't worth it here, keep float32"
    said.append(f"{verdict}{': ' + '; '.join(why) if why else ''}")
    return tuple(said)


def reasons(int8: BenchReport, *, isa: tuple[str, ...], x86: bool, signed: bool = False) -> tuple[str, ...]:
    """Why int8 may not be faster on this CPU."""
    found = []
    if x86 and not {"avx512_vnni", "avx_vnni"}.intersection(isa):
        found.append("this CPU has no VNNI, so a product of integers takes three instructions, and may saturate")
    if x86 and signed:
        found.append("its activations are signed (activation_type=int8), and the fast x86 kernels multiply unsigned by signed; leave it at uint8")
    if not x86 and isa and "asimddp" not in isa:
        found.append("this CPU has no dot product (asimddp), so integers need as many instructions as float32")
    each = int8.percentiles()["p50"]
    if each is not None and each[0] / int8.batch < SMALL_MS:
        took = f"{each[0] / int8.batch * 1e3:.0f} us"
        found.append(f"the net is too small, an inference takes {took}, of which rounding to integers and back is as much as products")
    if int8.quantization == "dynamic":
        found.append("dynamic measures ranges in every inference, --quantize int8 doesn't")
    return tuple(found)


def signed_activations(path: Path) -> bool:
    """Whether an artifact records that its activations are int8 rather than uint8; False where it can't be told, as of a bare graph."""
    if path.suffix.lower() == ".onnx":
        return False
    try:
        with open_trusted(path, None) as bundle:
            return any(stage.configuration.get("activation_type") == "int8" for stage in bundle.report().stages)
    except EdgecnnError:
        return False


def here(found: Comparison, names: tuple[str, str]) -> tuple[str, ...]:
    """`sentences` on this machine."""
    int8 = found.a if found.a.quantization in _INT8 else found.b
    signed = int8.quantization in _INT8 and signed_activations(Path(int8.name))
    return sentences(found, names, isa=host.isa(), x86=host.is_x86(), signed=signed)

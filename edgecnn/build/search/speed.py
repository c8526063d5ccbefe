"""How fast graphs are against each other: bursts in rotation, compared round by round, so that what slows the machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec
from edgecnn.build.search.records import ALIKE, Latency
from edgecnn.device.measure import BURST_RUNS, Subject, measure_all
from edgecnn.device.session import open_session
from edgecnn.device.statistics import median_interval

ROUNDS = 15
FEWER_ROUNDS = 9
SLOW_ROUND_SECONDS = 2.0
"""Where a round takes longer than this, FEWER_ROUNDS must do: the interval is then the second of nine to the eighth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """rounds: of each graph by name, the median nanoseconds of an inference in each round."""

    rounds: Mapping[str, tuple[float, ...]]

    def latency(self, name: str, against: str) -> Latency:
        """Of one graph, with its ratio to another's in the same rounds."""
        own, other = self.rounds[name], self.rounds[against]
        ratios = [a / b for a, b in zip(own, other, strict=True)]
        low, high = median_interval(ratios) if name != against else (1.0, 1.0)
        return Latency(ms=median(own) / 1e6, ratio=median(ratios), low=low, high=high, rounds=len(own))

    def slower(self, name: str, than: str) -> bool:
        """Whether one graph is slower than another, as far as can be told, and by more than ALIKE."""
        return self.latency(name, than).low > ALIKE


def race(
    models: Mapping[str, bytes], spec: ModelSpec, x: NDArray[np.float32], *, threads: int = 1, progress: Callable[[int, int], None] | None = None
) -> Race:
    """Time ONNX graphs by name on the input `x`, (batch, channels, height, width), on this many threads.

    Each round has a burst of each graph (see device.measure) and starts with the next one. progress is called with (rounds done, of how many).
    Raises KeyboardInterrupt on Ctrl-C, and what `open_session` raises.
    """
    subjects = [_subject(name, model, spec, x, threads) for name, model in models.items()]
    rounds: dict[str, list[float]] = {name: [] for name in models}
    done, total, begun = 0, ROUNDS, time.monotonic()
    while done < total:
        turn = done % len(subjects)
        bursts: list[float] = []
        reports = measure_all(subjects[turn:] + subjects[:turn], warmup=1, min_seconds=0, min_runs=BURST_RUNS, progress=bursts.append)
        if len(bursts) < len(subjects):  # Ctrl-C only ends the measurement, and after the last burst's tenth run it isn't told of
            raise KeyboardInterrupt
        for report in reports:
            rounds[report.name].append(median(report.samples_ns))
        done += 1
        if done == 1 and time.monotonic() - begun > SLOW_ROUND_SECONDS:
            total = FEWER_ROUNDS
        if progress is not None:
            progress(done, total)
    return Race(rounds={name: tuple(values) for name, values in rounds.items()})


def _subject(name: str, model: bytes, spec: ModelSpec, x: NDArray[np.float32], threads: int) -> Subject:
    engine = open_session(model, spec, threads=threads).engine
    return Subject(name=name, run=lambda: engine.run_one(x), batch=len(x), provider=engine.provider, threads=threads)

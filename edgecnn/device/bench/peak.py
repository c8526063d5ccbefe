"""What this CPU can do at most, by onnxruntime's own kernels: products a second, and bytes of main memory a second. The two roofs of a roofline.

S. Williams, A. Waterman and D. Patterson (2009), "Roofline: an insightful visual performance model for multicore architectures", CACM 52(4):65-76.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from edgecnn.device.engines import open_graph
from edgecnn.device.host import memory_bytes
from edgecnn.device.tiny_graphs import INNER, ROWS, matrix_product

Kind = Literal["float32", "int8"]

_SECONDS = 0.4
_COPY_BYTES = 64 << 20
"""More than the last cache of nearly every CPU holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """float32_gmacs, int8_gmacs: 10^9 multiply-accumulates a second of a large matrix product; gb_per_s: 10^9 bytes a second, read and written, of a
    large copy; all on `threads` threads. None: not measured."""

    threads: int
    float32_gmacs: float | None = None
    int8_gmacs: float | None = None
    gb_per_s: float

    def gmacs(self, kind: Kind) -> float | None:
        return self.float32_gmacs if kind == "float32" else self.int8_gmacs


def measure_peak(kinds: Iterable[Kind], *, threads: int, precise: bool | None = None, clock: Callable[[], float] = time.perf_counter) -> Peak:
    """The best that was seen in some tenths of a second of each. precise: as the graph that is compared was opened."""
    found = {kind: _products(kind, threads, precise, clock) for kind in set(kinds)}
    return Peak(threads=threads, float32_gmacs=found.get("float32"), int8_gmacs=found.get("int8"), gb_per_s=_copies(threads, clock))


def _products(kind: Kind, threads: int, precise: bool | None, clock: Callable[[], float]) -> float:
    engine = open_graph(matrix_product(kind), threads=threads, precise=precise)
    x = np.full((ROWS, INNER), 3, dtype=np.float32 if kind == "float32" else np.uint8)
    macs = ROWS * INNER * INNER
    return macs / _fastest(lambda: engine.run_one(x), clock) / 1e9


def _copies(threads: int, clock: Callable[[], float]) -> float:
    size = min(_COPY_BYTES, (memory_bytes() or _COPY_BYTES * 16) // 16)
    source, target = np.ones(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    edges = np.linspace(0, size, threads + 1, dtype=np.int64)
    slices = [slice(int(low), int(high)) for low, high in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> object:
            return list(pool.map(lambda part: np.copyto(target[part], source[part]), slices))

        return 2 * size / _fastest(copy, clock) / 1e9


def _fastest(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the fastest of at least five runs after the first."""
    run()
    best, count, until = float("inf"), 0, clock() + _SECONDS
    while count < 5 or clock() < until:
        start = clock()
        run()
        best, count = min(best, clock() - start), count + 1
    return max(best, 1e-9)

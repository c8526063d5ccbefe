"""A collection's images, decoded and preprocessed, a bounded batch at a time: for calibration, validation and the like."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import Preprocess
from edgecnn.data.collection import Collection, Item
from edgecnn.device.image import to_uint8
from edgecnn.errors import ImageRejected, InputMissing

_AHEAD = 8
"""Images that each thread may be ahead of the reader."""


class Batch(NamedTuple):
    """names, targets (indices into the collection's labels) and pixels, uint8 (n, height, width, channels), of n consecutive images."""

    names: tuple[str, ...]
    targets: tuple[tuple[int, ...], ...]
    pixels: NDArray[np.uint8]


def iterate_inputs(
    collection: Collection,
    pre: Preprocess,
    *,
    batch: int,
    unreadable: Literal["raise", "skip"] = "raise",
    on_skip: Callable[[str, ImageRejected | InputMissing], None] | None = None,
    threads: int = 1,
) -> Iterator[Batch]:
    """The collection in its order, in batches of `batch` images, the last one smaller where they don't divide.

    An image that can't be read raises ImageRejected or InputMissing naming the item, or with unreadable="skip" is left out and told to
    `on_skip`. threads: how many decode at once; order and result don't depend on it, and memory holds a few images a thread beyond the batch.
    """
    if batch < 1 or threads < 1:
        raise ValueError(f"batch {batch} and threads {threads} must be at least 1")
    names: list[str] = []
    targets: list[tuple[int, ...]] = []
    pixels: list[NDArray[np.uint8]] = []
    for item, result in _decoded(collection, pre, threads):
        if not isinstance(result, np.ndarray):
            if unreadable == "raise":
                raise result
            if on_skip is not None:
                on_skip(item.name, result)
            continue
        names.append(item.name)
        targets.append(item.target)
        pixels.append(result)
        if len(names) == batch:
            yield Batch(tuple(names), tuple(targets), np.stack(pixels))
            names, targets, pixels = [], [], []
    if names:
        yield Batch(tuple(names), tuple(targets), np.stack(pixels))


_Result = NDArray[np.uint8] | ImageRejected | InputMissing


def _decoded(collection: Collection, pre: Preprocess, threads: int) -> Iterator[tuple[Item, _Result]]:
    if threads == 1:
        yield from ((item, _decode(item, pre)) for item in collection)
        return
    waiting: deque[tuple[Item, Future[_Result]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for item in collection:
            waiting.append((item, pool.submit(_decode, item, pre)))
            if len(waiting) > threads * _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(item: Item, pre: Preprocess) -> _Result:
    try:
        return to_uint8(item.source, pre, name=item.name)
    except (ImageRejected, InputMissing) as error:
        return error

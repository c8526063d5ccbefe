"""Statistics that were measured before, kept in the user's cache folder: a second export of the same graph with the same images runs none.

A file is named by all that its content depends on. One that is broken counts as missing, and the oldest go when there are too many.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from onnx import ModelProto

from edgecnn import __version__
from edgecnn.artifact.files import cache_folder, write_atomic
from edgecnn.build.quantize import Calibration
from edgecnn.build.quantize._ranges import BINS, Statistics, measure
from edgecnn.device.host import describe
from edgecnn.errors import OutputNotWritable

KEPT = 64
"""Files: some 3 MB each for a network of a hundred tensors with histograms."""

_LAYOUT = 1


def measured(proto: ModelProto, tensors: Sequence[str], calibration: Calibration, *, histograms: bool) -> Statistics:
    """`measure`, from the cache where these images were measured on this graph before.

    Only a calibration that says what it gives, in an attribute `identity`, is looked up and kept. A cache that can't be written is done without.
    """
    identity = getattr(calibration, "identity", None)
    if identity is None:
        return measure(proto, tensors, calibration, histograms=histograms)
    place = cache_folder() / "ranges" / f"{_key(proto, tensors, identity, histograms)}.npz"
    found = _read(place, tensors, histograms)
    if found is None:
        found = measure(proto, tensors, calibration, histograms=histograms)
        with contextlib.suppress(OSError, OutputNotWritable):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, _content(found))
            _prune(place.parent)
    return found


def _key(proto: ModelProto, tensors: Sequence[str], identity: str, histograms: bool) -> str:
    machine = describe()  # the last bit of a sum depends on the instructions and the threads
    versions = [__version__, *(metadata.version(name) for name in ("numpy", "onnxruntime", "pillow"))]
    place = (machine.machine, machine.processor, machine.isa, machine.cores)
    parts = [str(_LAYOUT), str(BINS), identity, str(histograms), *map(str, place), *versions, *tensors]
    whole = hashlib.sha256("\0".join(parts).encode())
    whole.update(proto.SerializeToString(deterministic=True))
    return whole.hexdigest()


def _content(found: Statistics) -> bytes:
    arrays = {"low": found.low, "high": found.high, "images": np.array([found.flat, found.alike])}
    if found.counts is not None and found.zeros is not None:
        arrays |= {"counts": found.counts, "zeros": found.zeros}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the arrays for its flag
    return buffer.getvalue()


def _read(place: Path, tensors: Sequence[str], histograms: bool) -> Statistics | None:
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        count = len(tensors)
        wanted = {"low": (count,), "high": (count,), "images": (2,)} | ({"counts": (count, BINS), "zeros": (count,)} if histograms else {})
        if {name: array.shape for name, array in arrays.items()} != wanted or not np.isfinite([arrays["low"], arrays["high"]]).all():
            return None
        flat, alike = (bool(value) for value in arrays.pop("images"))
    except Exception:  # a broken archive makes zipfile, zlib and numpy raise anything
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # what is used stays
    return Statistics(names=tuple(tensors), flat=flat, alike=alike, **arrays)


def _prune(folder: Path) -> None:
    files = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT:]:
        path.unlink(missing_ok=True)

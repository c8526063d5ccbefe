"""How a training went, epoch by epoch, from what it left: metrics.jsonl, or the header of a checkpoint. Without torch."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgecnn.artifact.codec import CodecError, brief, decode, strict_json
from edgecnn.artifact.records import EpochMetrics
from edgecnn.artifact.spec import ModelSpec
from edgecnn.errors import InputMissing, RecordRejected

MAX_BYTES = 64 << 20
"""Of metrics, or of a checkpoint's header."""

_WANTED = "metrics.jsonl or the checkpoint of a training run"


def read_history(path: Path, spec: ModelSpec) -> tuple[EpochMetrics, ...]:
    """metrics.jsonl (an epoch a line), or a checkpoint of `edgecnn train` (.safetensors), whose name and labels must be the model's.

    Raises InputMissing, and RecordRejected for what is neither, of another model, without an epoch, or has epochs out of order.
    """
    try:
        if not path.is_file() and path.exists():
            raise RecordRejected(f"{path} is no regular file; give the {_WANTED}.")
        with path.open("rb") as file:
            start = file.read(9)
            checkpoint = start[8:] == b"{" and not start.startswith(b"{")
            data = start[8:] + file.read(_header_bytes(start) - 1) if checkpoint else start + file.read(MAX_BYTES)
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; give the {_WANTED}.") from None
    except OSError as error:
        raise RecordRejected(f"{path} can't be read ({error.strerror}); give the {_WANTED}.") from None
    try:
        found = tuple(_epochs(_from_checkpoint(data, spec) if checkpoint else _from_lines(data)))
    except CodecError as error:
        raise RecordRejected(f"{path} is no record of a training: {brief(str(error))}.") from None
    if not found:
        raise RecordRejected(f"{path} records no epoch; give the {_WANTED} that ended one.")
    return found


def _header_bytes(start: bytes) -> int:
    """Of safetensors: a little-endian number in 8 bytes, then so many of JSON."""
    (size,) = struct.unpack("<Q", start[:8])
    return min(max(int(size), 1), MAX_BYTES)


def _from_lines(data: bytes) -> Iterator[Any]:
    if len(data) >= MAX_BYTES:
        raise CodecError("document", f"it has more than {MAX_BYTES} bytes")
    return (strict_json(line) for line in data.splitlines() if line.strip())


def _from_checkpoint(header: bytes, spec: ModelSpec) -> Iterable[Any]:
    whole = strict_json(header)
    texts = whole.get("__metadata__") if isinstance(whole, dict) else None
    if not isinstance(texts, dict) or not isinstance(texts.get("edgecnn"), str):
        raise CodecError("header", "it is safetensors without what `edgecnn train` writes")
    said = strict_json(texts["edgecnn"].encode())
    made = said.get("spec") if isinstance(said, dict) else None
    if not isinstance(made, dict) or made.get("name") != spec.name or made.get("labels") != list(spec.labels):
        name = made.get("name") if isinstance(made, dict) else None
        raise CodecError("header", f"it is of the model {str(name)[:80]!r}, {spec.name!r} with its labels was wanted")
    history = said.get("history", [])
    if not isinstance(history, list):
        raise CodecError("history", "it is no list")
    return history


def _epochs(found: Iterable[Any]) -> Iterator[EpochMetrics]:
    last = 0
    for number, document in enumerate(found, 1):
        metrics = decode(EpochMetrics, document, where=f"epoch {number}")
        if metrics.epoch <= last:
            raise CodecError(f"epoch {number}", f"it says {metrics.epoch}, more than {last} was wanted")
        last = metrics.epoch
        yield metrics

"""What `edgecnn store list` says of the models in a store: the same facts as JSON and as aligned text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgecnn.artifact.codec import encode
from edgecnn.cli._options import columns
from edgecnn.store import Installed, Listed


def facts(model: Listed) -> dict[str, Any]:
    """Schema 1. previous: what was active before, the last one first; history: the last events, oldest first; null where the record is damaged."""
    state = model.state
    return {
        "schema": 1,
        "name": model.name,
        "active": state.active if state is not None else None,
        "previous": list(state.previous) if state is not None else None,
        "versions": [_version_facts(version) for version in model.versions],
        "history": encode(state.history) if state is not None else None,
        "damaged": model.damaged,
    }


def _version_facts(version: Installed) -> dict[str, Any]:
    return {
        "version": version.version,
        "active": version.active,
        "sequence": version.spec.sequence if version.spec is not None else None,
        "quantization": version.quantization,
        "bytes": version.size,
        "validated": version.validated,
        "rolled_back": version.set_aside,
        "damaged": version.damaged,
    }


def lines(models: Sequence[Listed]) -> Iterator[str]:
    if not models:
        return
    rows = [("model", "version", "sequence", "bytes", "")]
    rows += [(model.name, *_cells(model, version)) for model in models for version in model.versions]
    yield from columns(rows, right=(2, 3))


def _cells(model: Listed, version: Installed) -> tuple[str, str, str, str]:
    state = model.state
    words = []
    if version.active:
        words.append("active")
    elif state is not None and state.previous[:1] == (version.version,):
        words.append("active before")
    if version.set_aside is not None:
        words.append(f"rolled back: {version.set_aside}")
    if version.damaged is not None:
        return version.version, "-", "-", ", ".join([*words, "damaged"])
    if not version.validated:
        words.append("packed by force")
    assert version.spec is not None
    return version.version, str(version.spec.sequence), f"{version.size:,}", ", ".join(words)

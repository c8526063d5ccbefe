"""A network that is ready to be timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """prepare: float32 (1, channels, height, width) -> what the runtime takes, not timed; run: one inference, which is timed, with all that it
    takes to hand the input over and get at the answer; finish: what `run` gave -> logits (1, labels)."""

    run: Callable[[Any], Any]
    prepare: Callable[[Any], Any] = lambda x: x
    finish: Callable[[Any], Any] = lambda y: y
    note: str = ""

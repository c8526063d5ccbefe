"""What the tests of hostile files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_GROWTH = 50_000_000


@pytest.fixture
def memory_bounded() -> Iterator[None]:
    """This process's memory, as the system sees it, never stands more than 50 MB over where it stood before the test, not even for a moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    before = _status("VmRSS")
    yield
    assert _status("VmHWM") - before < MOST_GROWTH


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024

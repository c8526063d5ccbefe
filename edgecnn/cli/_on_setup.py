"""What `edgecnn setup` says of each device."""

from __future__ import annotations

from typing import Any

from edgecnn.cli._on_show import Show
from edgecnn.cli._options import put, shown
from edgecnn.errors import DeviceMissing


class Setup(Show):
    def result(self, number: int, result: Any) -> int:
        name = self.hosts[number].name
        words = [result.get(key) for key in ("version", "venv")] if isinstance(result, dict) else []
        if len(words) != 2 or not all(isinstance(word, str) and len(word) <= 4096 for word in words):
            raise DeviceMissing(f"{name} doesn't answer as edgecnn does; nobody knows what was installed.")
        put(shown(f"{name}: {words[0]} in {words[1]}"))
        return 0

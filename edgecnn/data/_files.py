"""Images that lie as files under one folder, with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.data.collection import Item


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """names: paths relative to `root`, with slashes; targets: one for each name."""

    root: Path
    names: tuple[str, ...]
    targets: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Item]:
        return (Item(name=name, source=self.root / name, target=target) for name, target in zip(self.names, self.targets, strict=True))

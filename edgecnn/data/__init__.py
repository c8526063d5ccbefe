"""Collections of images: one format a file, found by looking at the folder. numpy and Pillow only; nothing is decoded here.

A format is a module with `matches(path) -> bool` and `read(path) -> Collection`. Training, calibration, validation and the device
read images through these alone.
"""

from __future__ import annotations

from edgecnn.data.collection import Collection, Item, Subset, open_collection, split

__all__ = ["Collection", "Item", "Subset", "open_collection", "split"]

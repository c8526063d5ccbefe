"""The models of a device: versions of them, one of which is active, replaced so that nothing can leave the device without a working one.

    edgecnn.store.install("five-2.0.0.edgecnn")
    edgecnn.store.load("five").predict("cat.jpg")
    edgecnn.store.rollback("five")

What installing needs isn't loaded for a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn.store.installing import install
    from edgecnn.store.places import default_store
    from edgecnn.store.starting import Start, load, locate, start
    from edgecnn.store.switch import Installed, Listed, Switched, activate, installed, remove, rollback

__all__ = [
    "Installed",
    "Listed",
    "Start",
    "Switched",
    "activate",
    "default_store",
    "install",
    "installed",
    "load",
    "locate",
    "remove",
    "rollback",
    "start",
]

_HOMES = {
    "installing": ("install",),
    "places": ("default_store",),
    "starting": ("Start", "load", "locate", "start"),
    "switch": ("Installed", "Listed", "Switched", "activate", "installed", "remove", "rollback"),
}


def __getattr__(name: str) -> Any:
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

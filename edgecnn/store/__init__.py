"""The models of a device: versions of them, one of which is active, replaced so that nothing can leave the device without a working one.

edgecnn.store.install("five-2.0.0.edgecnn")
edgecnn.store.load("five").predict("cat.jpg")
edgecnn.store.rollback("five")
"""

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

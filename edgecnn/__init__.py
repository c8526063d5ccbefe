"""edgecnn: from a PyTorch CNN to a device, with proof at every step. Importing this loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecnn.errors import EdgecnnError

if TYPE_CHECKING:
    from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
    from edgecnn.build.pipeline import export
    from edgecnn.device.classify import Prediction
    from edgecnn.device.model import Model, load

__version__ = "0.1.0"

__all__ = ["EdgecnnError", "Model", "ModelSpec", "Prediction", "Preprocess", "__version__", "export", "load", "make_spec"]

_HOMES = {
    "Model": "edgecnn.device.model",
    "load": "edgecnn.device.model",
    "Prediction": "edgecnn.device.classify",
    "export": "edgecnn.build.pipeline",
    "ModelSpec": "edgecnn.artifact.spec",
    "Preprocess": "edgecnn.artifact.spec",
    "make_spec": "edgecnn.artifact.spec",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecnn' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The networks that are tried: each artifact of models/, and the same network in float32."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import ModelSpec
from edgecnn.errors import DownloadFailed
from tools.arm64_lab.machine import PLACE, ROOT

MODELS = ROOT / "models"
MORE_IMAGES = 100
"""Of a model's calibration or validation images, beside its samples, where the network is small."""

SMALL_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """An artifact. samples: images whose decision is known to be right; images: these and more."""

    name: str
    precision: str
    artifact: Path
    samples: tuple[Path, ...]
    images: tuple[Path, ...]

    @property
    def title(self) -> str:
        return f"{self.name} {self.precision}"


def find(say: Callable[[str], None], *, place: Path = PLACE) -> tuple[tuple[Net, ...], tuple[str, ...]]:
    """All nets, and a sentence for each that can't be had: the float32 twin whose weights can't be downloaded."""
    nets, missing = [], []
    for folder in sorted(path.parent for path in MODELS.glob("*/recipe.toml")):
        (artifact,) = folder.glob("*.edgecnn")
        samples = tuple(sorted(path for path in (folder / "samples").glob("*/*") if path.is_file()))
        more = _more(folder) if artifact.stat().st_size < SMALL_BYTES else ()
        with open_bundle(artifact) as bundle:
            precision = bundle.manifest.quantization
        nets.append(Net(name=folder.name, precision=precision, artifact=artifact, samples=samples, images=(*samples, *more)))
        try:
            twin = _float32(folder, place / "float32", say)
        except DownloadFailed as error:
            missing.append(f"{folder.name} float32 was left out: {error}")
        else:
            nets.append(Net(name=folder.name, precision="float32", artifact=twin, samples=samples, images=samples))
    return tuple(nets), tuple(missing)


def _more(folder: Path) -> Sequence[Path]:
    """Evenly spread over the classes."""
    kind = next((folder / kind for kind in ("validation", "calibration") if (folder / kind).is_dir()), None)
    found = sorted(path for path in kind.rglob("*") if path.is_file()) if kind else []
    return [found[place * len(found) // MORE_IMAGES] for place in range(MORE_IMAGES)] if len(found) > MORE_IMAGES else found


def _float32(folder: Path, place: Path, say: Callable[[str], None]) -> Path:
    """The network of a folder, exported without quantization, once for each state of what that depends on."""
    from edgecnn.build.pipeline import export

    checkpoint = folder / "model.safetensors"
    made = [path for path in (checkpoint, folder / "network.py") if path.exists()] + [ROOT / "constraints.txt", folder / "recipe.toml"]
    code = [path for package in ("artifact", "build", "train", "device") for path in sorted((ROOT / "edgecnn" / package).rglob("*.py"))]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in (*made, *code))).hexdigest()[:16]
    target = place / f"{folder.name}-{digest}.edgecnn"
    if target.exists():
        return target
    say(f"exporting {folder.name} in float32")
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f"{os.getpid()}-{folder.name}.edgecnn"
    if checkpoint.exists():
        export(checkpoint, output=fresh)
    else:
        export(*_published(folder), output=fresh)
    for old in place.glob(f"{folder.name}-*.edgecnn"):
        old.unlink()
    return fresh.rename(target)


def _published(folder: Path) -> tuple[Any, ModelSpec]:
    """The network of published weights, as tools/make_models builds it. Raises DownloadFailed."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from model_making import published
    finally:
        sys.path.pop(0)
    recipe = published.load_published(folder / "recipe.toml")
    return published.build_network(folder, recipe), recipe.spec()

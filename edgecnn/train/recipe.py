"""A recipe: everything that decides a training run, as a TOML file. Unknown keys are refused, and the right one is guessed."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgecnn.artifact.codec import CodecError, canonical_json, decode, encode
from edgecnn.artifact.files import MAX_TEXT_BYTES, read_whole
from edgecnn.artifact.licenses import license_fault
from edgecnn.artifact.records import Scalar
from edgecnn.artifact.spec import Preprocess, Task
from edgecnn.errors import InputMissing, RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NetOption = Scalar | tuple[int, ...]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    """Which net of train/nets, and its options."""

    name: str
    options: Mapping[str, NetOption] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file to download and the sha256 that its bytes must have."""

    url: str
    sha256: str

    def __post_init__(self) -> None:
        _require(self.url.startswith(("https://", "http://")), f"{self.url} is no http(s) address")
        _require(len(self.sha256) == 64, "sha256 must be 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """Where images are: `path`, relative to the recipe; where it doesn't exist, `files` are fetched.

    One file is opened as it is, several (an idx file of images and one of labels, say) as the folder that they are put into.
    """

    path: str | None = None
    files: tuple[RemoteFile, ...] = ()

    def __post_init__(self) -> None:
        _require(bool(self.path or self.files), "give a path, or files to fetch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """train; validation, or `held_out` images drawn from train; test is only for the model's card. licence: SPDX, of the images."""

    train: DataSource
    validation: DataSource | None = None
    held_out: int | None = None
    test: DataSource | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        _require((self.validation is None) != (self.held_out is None), "give either validation or held_out")
        _require(self.held_out is None or self.held_out > 0, "held_out must be positive")
        _check_license(self.license)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """crop_padding: pixels added on each side before a random crop back to size; flip: mirror half of the images."""

    crop_padding: int = 0
    padding_mode: Literal["reflect", "zeros"] = "reflect"
    flip: bool = False

    def __post_init__(self) -> None:
        _require(self.crop_padding >= 0, "crop_padding must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """SGD. `learning_rate` is the peak; weight decay acts on kernels and matrices, not on biases and batch norms."""

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "learning_rate must be positive")
        _require(0 <= self.momentum < 1, "momentum must lie in [0, 1)")
        _require(self.weight_decay >= 0, "weight_decay must not be negative")
        _require(not self.nesterov or self.momentum > 0, "nesterov needs momentum")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Linear warm-up over `warmup_epochs`, then a cosine down to zero at the last step. batch_size counts all processes together."""

    epochs: int
    batch_size: int = 128
    warmup_epochs: float = 0.0
    validate_every: int = 1

    def __post_init__(self) -> None:
        _require(self.epochs > 0, "epochs must be positive")
        _require(self.batch_size > 0, "batch_size must be positive")
        _require(0 <= self.warmup_epochs < self.epochs, "warmup_epochs must be less than epochs")
        _require(self.validate_every > 0, "validate_every must be positive")

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """The share of the peak learning rate at `step`, counted from 0 over the whole run."""
        warm, total = round(self.warmup_epochs * steps_per_epoch), self.epochs * steps_per_epoch
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """label_smoothing; weight_averaging: decay of an exponential moving average of the weights, which is then what ships (0: none);
    precision: of the multiplications; channels_last: memory layout; seed: of weights, order and augmentation."""

    label_smoothing: float = 0.0
    weight_averaging: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.label_smoothing < 1, "label_smoothing must lie in [0, 1)")
        _require(0 <= self.weight_averaging < 1, "weight_averaging must lie in [0, 1)")
        _require(self.seed >= 0, "seed must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One training run. `labels` gives their order; without it the data's own order holds. `thresholds`: multi-label, one for each label."""

    name: str
    version: str = "1.0.0"
    sequence: int = 0
    task: Task = "single-label"
    labels: tuple[str, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    license: str | None = None
    net: NetConfig
    preprocess: Preprocess
    data: Data
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer
    schedule: Schedule
    numerics: Numerics = field(default_factory=Numerics)

    def __post_init__(self) -> None:
        _check_license(self.license)

    @property
    def sha256(self) -> str:
        """Of the recipe's meaning: spelling, order of keys and the places where the images lie don't count."""
        table = encode(self)
        for name in ("train", "validation", "test"):
            for key in ("path", "files"):
                table["data"].get(name, {}).pop(key, None)
        return hashlib.sha256(canonical_json(table)).hexdigest()


def _check_license(text: str | None) -> None:
    fault = license_fault(text) if text is not None else None
    _require(fault is None, f"license {fault}")


def load_recipe(path: Path | str, *, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe. overrides: dotted keys to TOML values as text, e.g. {"schedule.epochs": "2"}.

    Raises InputMissing, or RecipeError naming the key and what was wanted.
    """
    path = Path(path)
    try:
        table = tomllib.loads(read_whole(path, MAX_TEXT_BYTES).decode())
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; give the path of a recipe (TOML).") from None
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give the path of a recipe (TOML).") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML: {error}.") from None
    for key, text in (overrides or {}).items():
        _override(table, key, text)
    try:
        return decode(Recipe, table, where="recipe", unknown="refuse")
    except CodecError as error:
        raise RecipeError(f"{path}: {error.sentence.removeprefix('recipe.')}") from None


def _override(table: dict[str, Any], key: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{key} can't be set: {parent} is no table.")
    table[last] = value

"""What an artifact says of itself: manifest.json and report.json, in strict, canonical JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import edgecnn
from edgecnn.artifact.codec import CodecError, brief, canonical_json, check_texts, decode, strict_json
from edgecnn.artifact.licenses import license_fault
from edgecnn.artifact.records import Layer, ParityLimits, ParityReport, Stage
from edgecnn.artifact.spec import ModelSpec
from edgecnn.artifact.ziplayout import MANIFEST, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, MODEL, REPORT, name_fault
from edgecnn.errors import ManifestRejected

FORMAT_VERSION = 1
MIN_RUNTIME_VERSION = "0.1.0"
MAX_REPORT_BYTES = 2_000_000
MAX_INPUT_ELEMENTS = 1 << 26
MAX_FLOAT32 = 3.0e38

Quantization = Literal["none", "dynamic", "int8", "fp16"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RELEASE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file inside the artifact. sha256 in lower-case hexadecimal."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_FILE_BYTES:
            raise ValueError(f"{self.name[:80]!r} has a size of {self.size}, between 0 and {MAX_FILE_BYTES} were wanted")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"the sha256 of {self.name[:80]!r} must be 64 lower-case hexadecimal digits")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceLimits:
    """What a device's answers to the golden inputs may differ by.

    outputs_atol: from this graph's own answers on the host (0.0 is exact, for int8; 1e-4 for float32);
    reference: from the answers of the network that the graph was made from.
    """

    outputs_atol: float
    reference: ParityLimits

    def __post_init__(self) -> None:
        if not (math.isfinite(self.outputs_atol) and self.outputs_atol >= 0):
            raise ValueError("outputs_atol must be 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """manifest.json. members: all files but the manifest itself, in the order in which they lie; parity: the packed graph against the
    network that it was made from; forced: packed without a passed parity; licenses: SPDX expressions for "model" and "data".
    """

    format_version: int = FORMAT_VERSION
    min_runtime_version: str = MIN_RUNTIME_VERSION
    edgecnn_version: str
    spec: ModelSpec
    quantization: Quantization
    opset: int
    ir_version: int
    members: tuple[Member, ...]
    limits: DeviceLimits
    parity: ParityReport | None = None
    forced: bool = False
    tools: Mapping[str, str] = field(default_factory=dict)
    licenses: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version is {self.format_version}, this edgecnn reads {FORMAT_VERSION}")
        if not _RELEASE.fullmatch(self.min_runtime_version):
            raise ValueError(f"min_runtime_version {self.min_runtime_version[:40]!r} must be like 0.1.0")
        if not 1 <= self.opset <= 1000 or not 1 <= self.ir_version <= 1000:
            raise ValueError(f"opset {self.opset} and ir_version {self.ir_version} must lie between 1 and 1000")
        fault = name_fault((MANIFEST, *(member.name for member in self.members)))
        if fault:
            raise ValueError(f"members {fault}")
        faults = [fault for text in self.licenses.values() if (fault := license_fault(text))]
        if faults:
            raise ValueError(f"licenses: {faults[0]}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        pre, shape = self.spec.preprocess, self.spec.input.shape
        elements = math.prod(size for size in shape if isinstance(size, int))
        if elements > MAX_INPUT_ELEMENTS:
            raise ValueError(f"an input of shape {list(shape)} holds more than {MAX_INPUT_ELEMENTS} numbers")
        for mean, std in zip(pre.image_mean, pre.image_std, strict=True):
            if not (255 * pre.rescale_factor + abs(mean)) / std < MAX_FLOAT32:
                raise ValueError("rescale_factor, image_mean and image_std make numbers that float32 can't hold")

    @property
    def validated(self) -> bool:
        """Whether the packed graph's answers were compared with its source network's, and passed."""
        return not self.forced and passed_for(self.parity, self.member(MODEL).sha256)

    def member(self, name: str) -> Member:
        """The member called `name`. Raises ManifestRejected where there is none."""
        found = next((member for member in self.members if member.name == name), None)
        if found is None:
            raise ManifestRejected(f"The artifact has no member {name!r}; it has {', '.join(member.name for member in self.members)}.")
        return found

    def to_json(self) -> bytes:
        return canonical_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """The manifest in `data`. Unknown fields are ignored, so that a newer writer may add some.

        Raises ManifestRejected for JSON that isn't canonical, values that break the rules, or a format that is newer than this.
        """
        return _read(cls, data, MANIFEST, MAX_MANIFEST_BYTES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """report.json: the steps that made the graph, its layers, and the names of the images that the golden inputs were made from."""

    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    golden: tuple[str, ...] = ()

    @property
    def target(self) -> str | None:
        """The device that it was exported for, where one was named."""
        return next((str(name) for stage in self.stages if (name := stage.configuration.get("target"))), None)

    @property
    def equalized(self) -> bool:
        """Whether channels were multiplied by factors that cancel out from one layer to the next."""
        return any(stage.configuration.get("equalize") is True for stage in self.stages)

    def to_json(self) -> bytes:
        return canonical_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Report:
        """The report in `data`; unknown fields are ignored. Raises ManifestRejected."""
        return _read(cls, data, REPORT, MAX_REPORT_BYTES)


def passed_for(parity: ParityReport | None, model_sha256: str) -> bool:
    """Whether `parity` is a passed comparison of the graph with this digest."""
    return parity is not None and parity.passed and parity.graph_sha256 == model_sha256


def _read(kind: type[T], data: bytes, name: str, limit: int) -> T:
    if len(data) > limit:
        raise ManifestRejected(f"{name} has {len(data)} bytes, at most {limit} are read.")
    try:
        document = strict_json(data)
        _check_versions(document)
        found = decode(kind, document, where=name.partition(".")[0])
        check_texts(document)
        canonical = _is_canonical(document, data)
    except CodecError as error:
        raise ManifestRejected(f"{name} breaks the rules: {brief(str(error))}.") from None
    except RecursionError:
        raise ManifestRejected(f"{name} breaks the rules: it is nested too deeply.") from None
    if not canonical:
        raise ManifestRejected(f"{name} isn't written as edgecnn writes it (sorted keys, two spaces); it was edited, so get the original.")
    return found


def _check_versions(document: Any) -> None:
    """What a newer format means can't be known, so its versions are looked at before anything else."""
    if not isinstance(document, dict):
        return
    version = document.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise ManifestRejected(f"The artifact is of format {version}, this edgecnn {edgecnn.__version__} reads {FORMAT_VERSION}; upgrade edgecnn.")
    wanted = document.get("min_runtime_version")
    if isinstance(wanted, str) and _RELEASE.fullmatch(wanted) and _release(wanted) > _release(edgecnn.__version__):
        raise ManifestRejected(f"The artifact wants edgecnn {wanted} or newer, this is {edgecnn.__version__}; upgrade edgecnn.")


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version starts with, padded to four."""
    found = _RELEASE.match(version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    return tuple(numbers + [0] * (4 - len(numbers)))


def _is_canonical(document: Any, data: bytes) -> bool:
    """Whether `data` is `canonical_json(document)`, compared piece by piece: the whole could be many times as large."""
    position = 0
    for piece in json.JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False).iterencode(document):
        encoded = piece.encode()
        if not data.startswith(encoded, position):
            return False
        position += len(encoded)
    return data[position:] == b"\n"

"""From what a person says of a network (labels, preprocessing, sizes, as text or values) to its ModelSpec."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecnn.artifact.codec import CodecError, decode, strict_json, suggestion
from edgecnn.artifact.files import MAX_TEXT_BYTES, read_whole
from edgecnn.artifact.spec import Preprocess
from edgecnn.errors import InputMissing, UsageError

Labels = str | Path | Sequence[str]
PreprocessLike = str | Path | Preprocess | Mapping[str, Any]
Size = str | Sequence[int]

PRESETS = ("imagenet", "unit")
_SHORT = {"crop": "crop_size", "mean": "image_mean", "resize": "resize_mode", "rescale": "rescale_factor", "std": "image_std"}
_NUMBERS = ("image_mean", "image_std")


def parse_labels(labels: Labels) -> tuple[str, ...]:
    """Labels from a file with one a line (blank lines at its end don't count), a text with commas, or a sequence.

    Raises InputMissing or UsageError.
    """
    if not isinstance(labels, (str, Path)):
        return tuple(labels)
    path = Path(labels)
    if isinstance(labels, str) and "," in labels and not path.is_file():
        return tuple(part.strip() for part in labels.split(","))
    try:
        lines = read_whole(path, MAX_TEXT_BYTES).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text; labels are a UTF-8 file with one a line, or names separated by commas.") from None
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); labels are a file with one a line, or names separated by commas.") from None
    return tuple(line.strip() for line in lines)


def parse_size(size: Size) -> tuple[int, ...]:
    """(height, width) or (channels, height, width), from numbers or "224x224" or "1x28x28". Raises UsageError."""
    parts = re.split(r"[x,*]", size.replace(" ", "")) if isinstance(size, str) else list(size)
    try:
        found = tuple(int(part) for part in parts)
    except (ValueError, TypeError):
        found = ()
    if len(found) not in (2, 3) or not all(0 < side <= 8192 for side in found):
        raise UsageError(f"The input size {size!r} is no size; HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH was wanted, such as 224x224 or 1x28x28.")
    return found


def preset(name: str, *, channels: int, size: tuple[int, int]) -> Preprocess:
    """The preprocessing called `name`, for a network that takes size = (height, width).

    unit: stretched, 0 to 255 becomes 0 to 1. imagenet: torchvision's evaluation transform, the shorter side to size * 256/224, the central
    crop, bilinear, then ImageNet's mean and standard deviation; three channels.
    """
    if name == "unit":
        return Preprocess(size=size, channels="L" if channels == 1 else "RGB", image_mean=(0.0,) * channels, image_std=(1.0,) * channels)
    if channels != 3:
        raise UsageError(f"The preset imagenet is for three channels, the network takes {channels}; write out the preprocessing.")
    larger = (round(size[0] * 256 / 224), round(size[1] * 256 / 224))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Preprocess(size=larger, crop_size=size, resize_mode="shortest-edge", image_mean=mean, image_std=std)


def parse_preprocess(given: PreprocessLike, *, channels: int | None, size: tuple[int, int] | None) -> Preprocess:
    """Preprocess from itself, a mapping, a .toml or .json file, or a text: "imagenet", "size=32x32,mean=0.5,0.5,0.5,std=0.25,0.25,0.25".

    A text may begin with a preset and change some of its keys; size and channels, where they aren't said, are the network's (None: not known).
    Raises UsageError naming the key, with a guess for an unknown one, or InputMissing.
    """
    if isinstance(given, Preprocess):
        return given
    if isinstance(given, Mapping):
        return _decode(given, channels, size)
    if isinstance(given, Path) or given.endswith((".toml", ".json")):
        return _decode(_read_table(Path(given)), channels, size)
    first, *_ = given.split(",")
    if "=" in first:
        return _decode(_inline(given), channels, size)
    if first.strip() not in PRESETS:
        close = suggestion(first.strip(), PRESETS)
        raise UsageError(f"{first!r} is no preprocessing{close}; {' or '.join(PRESETS)}, a .toml or .json file, or key=value,... was wanted.")
    changes = _inline(given[len(first) + 1 :])
    if size is None:
        size = changes.get("crop_size") or changes.get("size")
    if size is None:
        raise UsageError(f"The preset {first} needs the network's input size; give it, such as 224x224.")
    base = preset(first.strip(), channels=channels or 3, size=size)
    table = {name: getattr(base, name) for name in base.__slots__ if getattr(base, name) is not None}
    return _decode({**table, **changes}, channels, size)


def _decode(table: Mapping[str, Any], channels: int | None, size: tuple[int, int] | None) -> Preprocess:
    table = dict(table)
    if size is not None and "size" not in table:
        table["size"] = table.get("crop_size", size)
    if channels == 1 and "channels" not in table:
        table["channels"] = "L"
    if table.get("channels") == "L":
        table = {"image_mean": (0.0,), "image_std": (1.0,), **table}
    try:
        return decode(Preprocess, table, where="preprocess", unknown="refuse")
    except CodecError as error:
        raise UsageError(error.sentence) from None


def _inline(text: str) -> dict[str, Any]:
    """Keys and values of "a=1,b=2,3": what has no "=" goes on with the value before it."""
    pieces: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, (part.strip() for part in text.split(","))):
        if "=" in part:
            key, _, part = part.partition("=")
            key = _SHORT.get(key.strip(), key.strip())
            if key in pieces:
                raise UsageError(f"preprocess.{key}: the key stands there twice.")
            pieces[key] = []
        elif not key:
            raise UsageError(f"{part!r} in the preprocessing has no key; write key=value,key=value.")
        pieces[key].append(part.strip())
    return {key: _value(key, parts) for key, parts in pieces.items()}


def _value(key: str, parts: list[str]) -> Any:
    text = ",".join(parts)
    if key in ("size", "crop_size"):
        sides = parse_size(f"{text}x{text}" if text.isdecimal() else text)
        return sides if len(sides) == 2 else text
    if key == "antialias":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return tuple(float(part) for part in parts) if key in _NUMBERS else float(text) if key == "rescale_factor" else text
    except ValueError:
        return text


def _read_table(path: Path) -> Mapping[str, Any]:
    try:
        data = read_whole(path, MAX_TEXT_BYTES)
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give a .toml or .json file with the keys of the preprocessing.") from None
    try:
        if path.suffix == ".json":
            table = strict_json(data)
        else:
            toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
            table = toml.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no {path.suffix[1:].upper()}: {error}.") from None
    table = table.get("preprocess", table) if isinstance(table, Mapping) else table  # a recipe's [preprocess] will do
    if not isinstance(table, Mapping):
        raise UsageError(f"{path} holds no table; the keys of the preprocessing were wanted.")
    return table

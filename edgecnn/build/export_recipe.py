"""What decides an export's bytes, beside the network itself, as a TOML file: what `--quantize auto` found, to be made again without a search."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgecnn.artifact.codec import CodecError, decode, encode
from edgecnn.artifact.files import MAX_TEXT_BYTES, read_whole, write_atomic
from edgecnn.artifact.records import Scalar
from edgecnn.build.images import digest
from edgecnn.build.toml import to_toml
from edgecnn.data.collection import Collection, Subset
from edgecnn.errors import DataRejected, InputMissing, RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

InputType = Literal["float32", "uint8"]
"""What a graph takes: normalized images, or their bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Images by their content: how many, and `build.images.digest` of them."""

    images: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """See `build.pipeline.export`."""

    atol: float
    rtol: float
    min_agreement: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The goal of the search: see `build.search.records.Goal`."""

    max_drop: float
    objective: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRecipe:
    """quantize, config: the quantizer and its options; training: what it was fine-tuned on; opset, batch: of the graph (none: its own); note:
    what was searched, target: what it was for, both for the stages' records; float32_sha256: of the graph that was quantized; tools: versions,
    and the CPU."""

    schema: Literal[1] = 1
    quantize: str
    input_type: InputType = "float32"
    opset: int | None = None
    batch: int | str | None = None
    note: str | None = None
    target: str | None = None
    float32_sha256: str
    config: Mapping[str, Scalar | tuple[str, ...]] = field(default_factory=dict)
    limits: Limits
    goal: Wanted
    calibration: ImageSet | None = None
    validation: ImageSet | None = None
    training: ImageSet | None = None
    tools: Mapping[str, str] = field(default_factory=dict)


def image_set(collection: Collection) -> ImageSet:
    return ImageSet(images=len(collection), sha256=digest(collection))


def write_export_recipe(path: Path | str, recipe: ExportRecipe) -> None:
    """Raises OutputNotWritable."""
    head = "# Made by `edgecnn export --quantize auto`. To make the same artifact again: edgecnn export SOURCE -o FILE --recipe THIS,\n"
    head += "# with the same source, description (--labels, --name, ...), --calibration and --validation, and without --quantize.\n"
    write_atomic(path, (head + to_toml(encode(recipe))).encode())


def read_export_recipe(path: Path | str) -> ExportRecipe:
    """Raises InputMissing, or RecipeError naming the key and what was wanted."""
    path = Path(path)
    try:
        data = read_whole(path, MAX_TEXT_BYTES)
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist; give a recipe that `edgecnn export --quantize auto --recipe` wrote.") from None
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give a recipe that edgecnn export wrote.") from None
    try:
        table = tomllib.loads(data.decode())
        if table.get("schema", 1) != 1:
            raise RecipeError(
                f"{path} has the schema {table['schema']}, this edgecnn reads 1; replay it with the edgecnn that wrote it, or a newer one."
            )
        return decode(ExportRecipe, table, where="recipe", unknown="refuse")
    except CodecError as error:
        raise RecipeError(f"{path}: {error.sentence.removeprefix('recipe.')}") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML: {error}.") from None


def check_image_sets(recipe: ExportRecipe, *, calibration: Collection | None, training: Collection | None) -> None:
    """Raises DataRejected unless the images are those that the recipe's ranges were measured on, and its graph was fine-tuned on."""
    _check_same("calibration", recipe.calibration, calibration, "other ranges would come out; give those, in their order, with --calibration")
    _check_same("training", recipe.training, training, "other weights would come out; give those, in their order, with --qat")


def _check_same(name: str, wanted: ImageSet | None, given: Collection | None, advice: str) -> None:
    if wanted is None or given is None:
        return
    found = image_set(given)
    if found != wanted:
        count = f"{found.images} of the {len(given.whole)}" if isinstance(given, Subset) else str(found.images)
        raise DataRejected(
            f"the {count} {name} images are not the recipe's {wanted.images} (their sha256 begins with {found.sha256[:8]}, "
            f"not {wanted.sha256[:8]}), so {advice}."
        )


def differences(recipe: ExportRecipe, *, validation: Collection | None, float32_sha256: str, tools: Mapping[str, str]) -> tuple[str, ...]:
    """Why the artifact may come out otherwise than it did, a sentence each without its full stop."""
    found = []
    if float32_sha256 != recipe.float32_sha256:
        found.append("the float32 graph is not the one that the recipe was found for, so whether it keeps the accuracy is not known")
    if recipe.validation is not None and (validation is None or image_set(validation) != recipe.validation):
        found.append(f"the validation images are not the recipe's {recipe.validation.images}, so the artifact's golden images and figures differ")
    changed = [
        f"{name} {recipe.tools[name]} then and {tools[name]} now" for name in sorted(tools) if recipe.tools.get(name, tools[name]) != tools[name]
    ]
    if changed:
        found.append(f"the recipe was written elsewhere, so its bytes may differ: {', '.join(changed)}")
    return tuple(found)

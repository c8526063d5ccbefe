"""Images for training: decoded and resized once through device/image.py, kept as uint8 in a file, and augmented a batch at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.codec import encode
from edgecnn.artifact.files import atomic_writer
from edgecnn.artifact.spec import Preprocess
from edgecnn.data.collection import Collection
from edgecnn.device.image import normalize, to_uint8
from edgecnn.errors import DataRejected, OutputNotWritable
from edgecnn.train.recipe import Augment


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """path: an .npy of uint8 (n, height, width, channels); sha256: of the images that it was made from and of how.

    targets: int64 (n,) label indices, or float32 (n, labels) of 0 and 1 for multi-label data.
    """

    path: Path
    sha256: str
    targets: NDArray[np.int64] | NDArray[np.float32]

    def pixels(self) -> NDArray[np.uint8]:
        """Mapped from the file, so that memory doesn't grow with n."""
        mapped: NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
        return mapped

    def __len__(self) -> int:
        return len(self.targets)


def encode_targets(targets: list[tuple[int, ...]], labels: int, *, multi_label: bool) -> NDArray[np.int64] | NDArray[np.float32]:
    """Indices for single-label data, rows of 0 and 1 for multi-label data."""
    if not multi_label:
        return np.array([target[0] for target in targets], dtype=np.int64)
    rows = np.zeros((len(targets), labels), dtype=np.float32)
    for row, target in zip(rows, targets, strict=True):
        row[list(target)] = 1
    return rows


def prepare(collection: Collection, pre: Preprocess, *, cache: Path, name: str, multi_label: bool, on_image: Callable[[int], None]) -> Images:
    """Decode `collection` into `cache`/`name`-KEY.npy, once: a second call maps the file that is there.

    Raises DataRejected for unlabelled images, ImageRejected for an unreadable one, OutputNotWritable when the disk is full.
    """
    targets = []
    digest = hashlib.sha256(json.dumps(encode(pre), sort_keys=True).encode())
    for item in collection:
        if len(item.target) != 1 and not multi_label:
            raise DataRejected(f"{item.name} has {len(item.target)} labels; a single-label recipe needs one for each image.")
        targets.append(item.target)
        digest.update(f"{item.sha256()} {item.name}\n".encode())
    shape = (len(targets), *pre.input_size, pre.depth)
    path = cache / f"{name}-{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        _decode_all(collection, pre, path, shape, on_image)
    return Images(path=path, sha256=digest.hexdigest(), targets=encode_targets(targets, len(collection.labels), multi_label=multi_label))


def _decode_all(collection: Collection, pre: Preprocess, path: Path, shape: tuple[int, ...], on_image: Callable[[int], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(f"{path.parent} can't be made ({error.strerror}); choose another folder with -o.") from error
    # written rather than mapped: a full disk is an error then, and not the end of the process by a signal
    with atomic_writer(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for position, item in enumerate(collection):
            file.write(to_uint8(item.source, pre, name=item.name).tobytes())
            on_image(position + 1)


def augment(pixels: NDArray[np.uint8], how: Augment, random: np.random.Generator) -> NDArray[np.uint8]:
    """Random crops out of the padded images and mirror images: uint8 (n, height, width, channels) in and out."""
    n, height, width = (int(size) for size in pixels.shape[:3])
    if how.crop_padding:
        p = how.crop_padding
        around = ((0, 0), (p, p), (p, p), (0, 0))
        padded = np.pad(pixels, around, mode="reflect") if how.padding_mode == "reflect" else np.pad(pixels, around)
        tops, lefts = random.integers(0, 2 * p + 1, size=(2, n))
        pixels = np.stack([image[y : y + height, x : x + width] for image, y, x in zip(padded, tops, lefts, strict=True)])
    if how.flip:
        mirrored = random.random(n) < 0.5
        pixels = np.where(mirrored.reshape(-1, 1, 1, 1), pixels[:, :, ::-1], pixels)
    return pixels


def training_batches(
    images: Images, pre: Preprocess, how: Augment, *, batch_size: int, seed: int, epoch: int, rank: int = 0, processes: int = 1
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64] | NDArray[np.float32]]]:
    """One epoch's (inputs (n, channels, height, width), targets): whole batches only; order and augmentation follow from seed and epoch alone.

    Several processes share one global batch: all draw the same random numbers, each takes its contiguous part.
    """
    pixels = images.pixels()
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(images))
    part = batch_size // processes
    mine = slice(rank * part, (rank + 1) * part)
    for step in range(len(images) // batch_size):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        random = np.random.Generator(np.random.PCG64([seed, epoch, step]))
        augmented = augment(pixels[chosen], how, random)
        yield normalize(np.ascontiguousarray(augmented[mine]), pre), images.targets[chosen[mine]]

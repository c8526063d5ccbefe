"""Golden images: what an artifact carries to check itself by wherever it arrives.

They prove the device, not the model: that preprocessing and graph give there what they gave here. So they are chosen among images that the
packed graph and its source network decide alike, and say nothing of accuracy.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecnn.artifact.spec import Channels, Preprocess
from edgecnn.data.collection import Collection, Subset, evenly
from edgecnn.device.image import Source, normalize, open_image, to_uint8

MOST = 8
CANDIDATES = 16
MAX_PNG_BYTES = 1_000_000
MAX_INPUT_BYTES = 2_000_000
_MAX_CANDIDATE_BYTES = 64_000_000
_LONGEST_SIDE = 8192  # Preprocess allows no more


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """Images as lossless PNG files, and the network's inputs that exactly these files give: float32 (n, channels, height, width)."""

    originals: tuple[bytes, ...]
    inputs: NDArray[np.float32]

    def inputs_for(self, pre: Preprocess) -> NDArray[Any]:
        """The inputs as another preprocessing makes them: uint8 where the graph normalizes."""
        return _inputs(self.originals, pre)


def _inputs(originals: Sequence[bytes], pre: Preprocess) -> NDArray[Any]:
    return np.stack([normalize(to_uint8(data, pre), pre) for data in originals])


def how_many(pre: Preprocess) -> int:
    """Golden images that an artifact carries at most: 8, fewer where their inputs would take more than 2 MB, at least 1."""
    return max(1, min(MOST, MAX_INPUT_BYTES // _input_bytes(pre)))


def _input_bytes(pre: Preprocess) -> int:
    return 4 * pre.depth * math.prod(pre.input_size)


def from_collection(collection: Collection, pre: Preprocess) -> Candidates:
    """Up to 16 images spread evenly over the collection, each shrunk where its PNG would break the budget of 1 MB for all golden ones.

    Raises ImageRejected naming an image that can't be read.
    """
    count = min(len(collection), max(1, min(CANDIDATES, _MAX_CANDIDATE_BYTES // _input_bytes(pre))))
    positions = frozenset(evenly(len(collection), count))
    return _candidates([(item.source, item.name) for item in Subset(whole=collection, positions=positions)], pre)


def synthetic(pre: Preprocess) -> Candidates:
    """8 patterns for want of images, always the same ones: coarse colour fields with ever more fine noise. They are no photographs."""
    rng = np.random.Generator(np.random.PCG64(20240229))
    height, width = pre.size
    pictures = []
    for step in range(MOST):
        fields = Image.fromarray(rng.integers(0, 256, (2 + step, 2 + step, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        noise = rng.integers(-8 * step, 8 * step + 1, (height, width, 3))
        pictures.append((np.clip(np.asarray(fields) + noise, 0, 255).astype(np.uint8), f"pattern {step}"))
    return _candidates(pictures, pre)


def _candidates(images: Sequence[tuple[Source, str]], pre: Preprocess) -> Candidates:
    budget = MAX_PNG_BYTES // how_many(pre)
    originals = tuple(_png(source, pre, budget, name) for source, name in images)
    return Candidates(originals=originals, inputs=_inputs(originals, pre))


def _png(source: Source, pre: Preprocess, budget: int, name: str) -> bytes:
    """The decoded picture, upright and without transparency, in at most `budget` bytes."""
    image = open_image(source, name=name)
    channels: Channels = "L" if pre.channels == "L" else "RGB"
    # half a byte for a pixel is what the plainest pictures take: no use in trying larger ones
    scale = min(1.0, math.sqrt(2 * budget / (image.height * image.width)), _LONGEST_SIDE / max(image.size))
    while True:
        size = (max(1, round(image.height * scale)), max(1, round(image.width * scale)))
        whole = Preprocess(size=size, channels=channels, image_mean=(0.0,) * pre.depth, image_std=(1.0,) * pre.depth)
        pixels = to_uint8(image, whole, name=name)
        buffer = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if channels == "L" else pixels).save(buffer, "PNG", compress_level=9)
        if buffer.tell() <= budget:
            return buffer.getvalue()
        scale *= 0.8


def choose(alike: NDArray[np.bool_], most: int) -> tuple[int, ...]:
    """The positions of up to `most` candidates, spread evenly over those that are decided alike (or over all, where none is)."""
    fit = np.flatnonzero(alike) if alike.any() else np.arange(len(alike))
    return tuple(int(fit[place]) for place in evenly(len(fit), most))


def members(originals: tuple[bytes, ...], *, inputs: NDArray[Any], reference: NDArray[np.float32], outputs: NDArray[np.float32]) -> dict[str, bytes]:
    """The artifact's golden members by name, the originals first.

    inputs: float32 or uint8 (n, channels, height, width), made from the originals; reference, outputs: float32 (n, labels), the answers of the
    source network and of the packed graph on this host.
    """
    files = {f"golden/{i:02d}.png": data for i, data in enumerate(originals)}
    arrays = {"inputs": inputs, "reference": reference, "outputs": outputs}
    return {**files, **{f"golden/{name}.npy": _npy(array) for name, array in arrays.items()}}


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    kind = "|u1" if array.dtype == np.uint8 else "<f4"
    np.lib.format.write_array(buffer, np.ascontiguousarray(array, dtype=kind), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()

"""The golden members of an artifact: images, inputs and answers by which it is checked wherever it arrives."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import ArtifactRejected

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Golden:
    """What an artifact carries to check itself by.

    originals: (member name, encoded bytes) of the images golden/NN.png, which are those of the first inputs, in order;
    inputs: (n, channels, height, width), float32 or uint8 as the spec says; outputs, reference: float32 (n, labels), this graph's answers
    on the host and those of the network that it was made from.
    """

    originals: tuple[tuple[str, bytes], ...]
    inputs: NDArray[Any]
    outputs: NDArray[np.float32]
    reference: NDArray[np.float32]


def read_golden(bundle: Bundle) -> Golden:
    """The golden members of a bundle. Raises ArtifactRejected where one is absent, none is in it, or shapes don't fit each other."""
    spec = bundle.manifest.spec
    inputs = _read_array(bundle, "golden/inputs.npy", (spec.preprocess.depth, *spec.preprocess.input_size), spec.preprocess.dtype)
    outputs = _read_array(bundle, "golden/outputs.npy", (len(spec.labels),))
    reference = _read_array(bundle, "golden/reference.npy", (len(spec.labels),))
    names = tuple(name for name in bundle.names if name.startswith("golden/") and name.endswith(".png"))
    if not names or not len(inputs):
        raise ArtifactRejected(f"{bundle.path} holds no golden images or inputs, so nothing can be proved with it; export it again.")
    if not len(names) <= len(inputs) == len(outputs) == len(reference):
        raise ArtifactRejected(
            f"{bundle.path} holds {len(names)} golden images, {len(inputs)} inputs, {len(outputs)} outputs and {len(reference)} reference answers, "
            f"which don't belong together; export it again."
        )
    return Golden(originals=tuple((name, bundle.read(name)) for name in names), inputs=inputs, outputs=outputs, reference=reference)


# what numpy.save writes for little-endian float32, or for bytes, in C order; anything else in its place is refused unread
_CODES = {"float32": "<f4", "uint8": "|u1"}
_NPY_HEADER = re.compile(rb"\x93NUMPY\x01\x00(..)\{'descr': '(<f4|\|u1)', 'fortran_order': False, 'shape': \((\d+(?:, \d+)+)\), \} *\n", re.DOTALL)


def _read_array(bundle: Bundle, name: str, row: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
    """A member of `dtype` (n, *row), all finite."""
    data = bundle.read(name)
    header = _NPY_HEADER.match(data)
    shape = tuple(int(size) for size in header[3].split(b", ")) if header and len(header[3]) < 200 else ()
    wanted = f"a {dtype} array of shape (n, {', '.join(map(str, row))}) was wanted; export it again."
    if header is None or header[2].decode() != _CODES[dtype] or len(shape) != len(row) + 1:
        raise ArtifactRejected(f"{name} in {bundle.path} is something else: {wanted}")
    if shape[1:] != row:
        raise ArtifactRejected(f"{name} in {bundle.path} has the shape {shape}: {wanted}")
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if int.from_bytes(header[1], "little") != header.end() - 10 or len(data) - header.end() != size:
        raise ArtifactRejected(f"{name} in {bundle.path} is {len(data)} bytes long, which doesn't fit its shape {shape}: {wanted}")
    array: NDArray[Any] = np.frombuffer(data, dtype=_CODES[dtype], offset=header.end()).reshape(shape).astype(dtype)
    if not np.isfinite(array).all():
        raise ArtifactRejected(f"{name} in {bundle.path} holds NaN or infinity; export it again.")
    return array

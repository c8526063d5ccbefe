"""What `edgecnn run` was given, one input at a time: images, folders of them, arrays, standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from edgecnn.device.stream import MAX_ENCODED_BYTES as MAX_ENCODED_BYTES
from edgecnn.errors import EdgecnnError, ImageRejected, InputMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray

# numpy is imported where there is an array: helpers are started before that


class Input(NamedTuple):
    """One input, not yet read. source: an image's path, or what gives an image's source when called, and raises what keeps it from being used;
    ready: it gives the network's float32 input (1, channels, height, width); title: what messages call it, by default its name; here: no other
    process can read it."""

    name: str
    source: str | Callable[[], Any]
    ready: bool = False
    title: str | None = None
    here: bool = False

    def read(self) -> Any:
        return self.source if isinstance(self.source, str) else self.source()


def find_inputs(arguments: Sequence[str]) -> Iterator[Input]:
    """Each input, in order; what can't be used is among them, and its `read` says why. Nothing is kept in memory."""
    for argument in arguments:
        yield from _find(argument)


def _find(argument: str) -> Iterator[Input]:
    if argument == "-":
        yield Input("-", _read_stdin, title="standard input", here=True)
    elif os.path.isdir(argument):
        yield from _in_folder(argument)
    elif argument.lower().endswith(".npy"):
        yield from _in_array(argument)
    else:
        yield Input(argument or ".", argument or ".")


def _fail(error: EdgecnnError) -> NoReturn:
    raise error


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_ENCODED_BYTES + 1) if sys.stdin is not None else b""
    if not data:
        raise ImageRejected("standard input is empty; an encoded image was wanted there.")
    if len(data) > MAX_ENCODED_BYTES:
        raise ImageRejected("standard input holds more than 600 MB, which no image of 64 megapixels does; send one image.")
    return data


def _in_folder(folder: str) -> Iterator[Input]:
    from edgecnn.data._classes import IMAGE_SUFFIXES, is_image

    failures: list[OSError] = []
    found = False
    for parent, folders, files in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(filter(is_image, files)):
            found = True
            path = os.path.join(parent, name)
            yield Input(path, path)
    for failure in failures:
        found = True
        yield Input(str(failure.filename), partial(_fail, ImageRejected(f"{failure.filename} can't be looked into ({failure.strerror}).")))
    if not found:
        yield Input(folder, partial(_fail, ImageRejected(f"{folder} holds no images; looked for were {', '.join(IMAGE_SUFFIXES)}.")))


def _in_array(path: str) -> Iterator[Input]:
    try:
        array = _open_array(path)
    except EdgecnnError as error:
        yield Input(path, partial(_fail, error))
        return
    if array.dtype == "float32":
        for i in range(len(array)):
            yield Input(f"{path}[{i}]", _Part(path, slice(i, i + 1), array), ready=True)
    elif array.ndim == 4:
        for i in range(len(array)):
            yield Input(f"{path}[{i}]", _Part(path, i, array))
    else:
        yield Input(path, _Part(path, ..., array))


class _Part:
    """A part of an array in a file, copied out when it is called; another process that it is given to opens the file itself."""

    def __init__(self, path: str, part: Any, array: NDArray[Any] | None = None) -> None:
        self._path, self._part, self._array = path, part, array

    def __call__(self) -> NDArray[Any]:
        import numpy as np

        return np.array((_kept_open(self._path) if self._array is None else self._array)[self._part])

    def __reduce__(self) -> tuple[type[_Part], tuple[str, Any]]:
        return _Part, (self._path, self._part)


@lru_cache(maxsize=1)
def _kept_open(path: str) -> NDArray[Any]:
    return _open_array(path)


def _open_array(path: str) -> NDArray[Any]:
    """The array, mapped rather than read. Raises InputMissing or ImageRejected."""
    import numpy as np

    wanted = "uint8 pixels (height, width), (height, width, 3) or (n, height, width, channels), or float32 (n, channels, height, width)"
    try:
        if not os.path.isfile(path) and os.path.lexists(path):  # a pipe would be waited for
            raise ImageRejected(f"{path} is no regular file, a .npy file was wanted.")
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise InputMissing(f"{path} doesn't exist.") from None
    except ImageRejected:
        raise
    except Exception as error:  # numpy parses the header as Python, and one that was tampered with makes it raise anything
        reason = " ".join(str(error).split())[:200]
        raise ImageRejected(f"{path} is no .npy file that can be read ({reason}); {wanted} were wanted.") from None
    good = (array.dtype == np.uint8 and array.ndim in (2, 3, 4)) or (array.dtype == np.float32 and array.ndim == 4)
    if not good or not array.size:
        raise ImageRejected(f"{path} is {array.dtype} of shape {list(array.shape)}; {wanted} were wanted.")
    return array

"""Where a signature lies: beside what it signs."""

from __future__ import annotations

from pathlib import Path

from edgecnn.artifact.files import read_whole
from edgecnn.errors import SignatureRejected

MAX_SIGNATURE_BYTES = 1 << 16
"""That of one file has some 1,500."""


def signature_path(path: Path | str) -> Path:
    """The place of the signature of the file `path`, or of the version that was unpacked into this folder: the whole name followed by .sig."""
    return Path(f"{path}.sig")


def read_signature(path: Path | str) -> bytes:
    """The signature that lies beside `path`, unchecked. Raises SignatureRejected where there is none that can be read."""
    place = signature_path(path)
    try:
        return read_whole(place, MAX_SIGNATURE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise SignatureRejected(f"{path} has no signature, and one is required: there is no {place.name} beside it.") from None
    except OSError as error:
        raise SignatureRejected(f"{place} can't be read ({error.strerror}); the signature of {path} was wanted there.") from None

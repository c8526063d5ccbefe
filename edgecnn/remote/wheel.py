"""A wheel of what is installed here, made from its files: it needs no network, no build, and works from a checkout alike."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import edgecnn
from edgecnn.errors import MissingHere

_WHEEL = "Wheel-Version: 1.0\nGenerator: edgecnn\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def own_wheel(folder: Path) -> Path:
    """This edgecnn as a wheel in `folder`; the same bytes for the same files. Raises MissingHere where it wasn't installed by pip."""
    try:
        found = metadata.distribution("edgecnn")
    except metadata.PackageNotFoundError:
        raise MissingHere("this edgecnn wasn't installed by pip, so nobody can tell what it needs; run: pip install .") from None
    package = Path(edgecnn.__file__).parent
    texts = {name: text for name in ("METADATA", "entry_points.txt") if (text := found.read_text(name) or _egg(found, name)) is not None}
    if "METADATA" not in texts:
        raise MissingHere("the metadata of this edgecnn is gone, so nobody can tell what it needs; install it again.")
    # of a checkout that was installed before its version changed, they tell the old one
    texts["METADATA"] = _with_version(texts["METADATA"], edgecnn.__version__)
    return pack(folder, "edgecnn", edgecnn.__version__, dict(_files(package)), texts)


def _egg(found: metadata.Distribution, name: str) -> str | None:
    return found.read_text("PKG-INFO") if name == "METADATA" else None


def _with_version(text: str, version: str) -> str:
    head, gap, body = text.partition("\n\n")
    lines = [f"Version: {version}" if line.startswith("Version:") else line for line in head.splitlines()]
    return "\n".join(lines) + gap + body


def _files(package: Path) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(package):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if not name.endswith((".pyc", ".pyo")):
                path = Path(folder, name)
                yield f"{package.name}/{path.relative_to(package).as_posix()}", path.read_bytes()


def pack(folder: Path, name: str, version: str, files: dict[str, bytes], texts: dict[str, str]) -> Path:
    """NAME-VERSION-py3-none-any.whl in `folder`. files: by their paths in it; texts: of its .dist-info folder."""
    place = f"{name}-{version}.dist-info"
    contents = {**files, **{f"{place}/{title}": text.encode() for title, text in texts.items()}, f"{place}/WHEEL": _WHEEL.encode()}
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in contents.items()]
    contents[f"{place}/RECORD"] = "\n".join([*rows, f"{place}/RECORD,,", ""]).encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

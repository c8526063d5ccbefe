"""On the device: files that came over, kept by their sha256, so that they come once; what came of one before the line broke is kept, too."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from edgecnn.remote.wire import Broken, Reader, Writer

try:
    import fcntl
except ImportError:  # no POSIX; two copies of one file at a time are then on their own
    fcntl = None  # type: ignore[assignment]

KEEP_S = 30 * 86400.0
ROUNDS = 3
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LISTED = 10_000


class Refused(Exception):
    """Why the device can't do it, in a sentence."""


def folder() -> Path:
    """$EDGECNN_CACHE, or edgecnn in the user's cache folder, and remote/ in it."""
    given = os.environ.get("EDGECNN_CACHE")
    return (Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecnn") / "remote"


def receive(wanted: Sequence[tuple[str, int]], place: Path, reader: Reader, writer: Writer) -> None:
    """See that `place` holds each file of `wanted`, (sha256, bytes), by asking the host for what is missing. Raises Refused."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(place)
    wanted = list(dict.fromkeys(wanted))
    missing = [number for number, (sha256, size) in enumerate(wanted) if not _is_there(place / sha256, sha256, size)]
    for attempt in range(ROUNDS):
        # after a failure nothing of before is trusted, and nobody else writes to the same file
        offsets = [_offset(_partial(place, wanted[number][0]), wanted[number][1]) if attempt == 0 else 0 for number in missing]
        for start in range(0, len(missing), _LISTED):
            writer.json(b"n", list(zip(missing, offsets, strict=True))[start : start + _LISTED])
        writer.json(b"n", [])
        if not missing:
            return
        missing = [
            number
            for number, offset in zip(missing, offsets, strict=True)
            if not _receive_one(place, *wanted[number], offset, reader, private=attempt > 0)
        ]
    raise Refused("a file arrived with other bytes than were announced: it changed while it was copied; try it again.")


def _receive_one(place: Path, sha256: str, size: int, offset: int, reader: Reader, *, private: bool) -> bool:
    """Whether the file is there now, whole. All that the host sends of it is read, in any case."""
    with _part(place, sha256, offset, private=private) as file:
        digest = hashlib.sha256()
        if file is not None:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        left = size - offset
        while left:
            kind, content = reader.frame()
            if kind != b"d" or not 0 < len(content) <= left:
                raise Broken
            left -= len(content)
            if file is not None:
                file.write(content)
                digest.update(content)
        if file is None:
            return False
        file.flush()
        if digest.hexdigest() != sha256:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            return False
        os.replace(file.name, place / sha256)
        return True


@contextlib.contextmanager
def _part(place: Path, sha256: str, offset: int, *, private: bool) -> Iterator[IO[bytes] | None]:
    """The file that a copy grows in, which stays where it is cut off; None where another process is at it."""
    if private:
        handle, own = tempfile.mkstemp(dir=place, prefix=f"{sha256}.", suffix=".own")
        os.close(handle)
        try:
            with open(own, "r+b") as file:
                yield file
        finally:
            with contextlib.suppress(OSError):
                os.unlink(own)
        return
    with open(_partial(place, sha256), "r+b", opener=lambda path, flags: os.open(path, flags | os.O_CREAT, 0o600)) as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        size = os.fstat(file.fileno()).st_size
        if offset == 0:
            file.truncate(0)
        yield file if offset in (0, size) else None


def _partial(place: Path, sha256: str) -> Path:
    return place / f"{sha256}.part"


def _offset(partial: Path, size: int) -> int:
    """How much of a file of so many bytes came before."""
    try:
        found = partial.stat().st_size
    except OSError:
        return 0
    return found if found <= size else 0


def _is_there(path: Path, sha256: str, size: int) -> bool:
    """Whether a file is whole, by its content: power may have failed since it was written."""
    try:
        if path.stat().st_size != size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        os.utime(path)
    except OSError:
        return False
    return digest.hexdigest() == sha256


def sweep(place: Path) -> None:
    """Delete what wasn't used for a month."""
    now = time.time()
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if _SHA256.match(entry.name) and now - entry.stat().st_mtime > KEEP_S:
                    os.unlink(entry.path)


def checked_files(listed: Any) -> list[tuple[tuple[str, ...], str, int]]:
    """(parts of the path, sha256, bytes) of each file of a request. Raises Broken for a path that would lead out of its folder."""
    found = []
    for entry in listed if isinstance(listed, list) else _broken():
        parts, sha256, size = entry if isinstance(entry, list) and len(entry) == 3 else _broken()
        if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256) and isinstance(size, int) and size >= 0):
            raise Broken
        found.append((checked_parts(parts), sha256, size))
    return found


def checked_parts(parts: Any) -> tuple[str, ...]:
    if not isinstance(parts, list) or not parts:
        raise Broken
    for part in parts:
        if not isinstance(part, str) or part in ("", ".", "..") or "/" in part or "\0" in part or os.sep in part:
            raise Broken
    return tuple(parts)


def _broken() -> Any:
    raise Broken


@contextlib.contextmanager
def job_folder(place: Path) -> Iterator[Path]:
    """A folder for one command, gone when the block ends; those of processes that were killed go, too."""
    jobs = place / "jobs"
    jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in jobs.iterdir():
        owner = left.name.partition("-")[0]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=jobs))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def lay_out(files: Sequence[tuple[tuple[str, ...], str, int]], folders: Sequence[tuple[str, ...]], place: Path, job: Path) -> None:
    """Each file of the cache under its own name in `job`, without another copy where the file system can."""
    for parts in folders:
        job.joinpath(*parts).mkdir(parents=True, exist_ok=True)
    for parts, sha256, _ in files:
        target = job.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(place / sha256, target)
        except FileExistsError:
            raise Broken from None
        except OSError:
            shutil.copyfile(place / sha256, target)

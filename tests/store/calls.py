"""The system calls that change what is below a folder: seen as they are made, so that a test can record them, fail them, or die between them.

`tests/store/test_recorded.py` holds this against strace: nothing that changes a store goes past it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True, kw_only=True)
class Call:
    """name: open (for writing), write, fsync, mkdir, rename, unlink, rmdir or chmod; paths: relative to the folder; fd, data: where it has them."""

    name: str
    paths: tuple[str, ...]
    fd: int = -1
    data: bytes = b""


Around = Callable[[Call, Callable[[], Any]], Any]
"""around(call, make): makes the call, or doesn't."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@contextlib.contextmanager
def watched(folder: Path, around: Around) -> Iterator[None]:
    """Inside, every call that changes what is below `folder`, or flushes it to disk, goes through `around`."""
    watch = _Watch(folder, around)
    with contextlib.ExitStack() as stack:
        for module, name, wrapper in watch.wrappers():
            stack.enter_context(patch.object(module, name, wrapper))
        yield


@contextlib.contextmanager
def recorded(folder: Path, *, die_after: int | None = None, by: type[BaseException] = SystemExit) -> Iterator[list[Call]]:
    """The calls, as they are made. die_after: of the calls from this number on none is made, and each raises `by`, those for cleaning up too."""
    calls: list[Call] = []

    def around(call: Call, make: Callable[[], Any]) -> Any:
        if die_after is not None and len(calls) >= die_after:
            raise by
        result = make()
        calls.append(Call(name=call.name, paths=call.paths, fd=result if call.name == "open" else call.fd, data=call.data))
        return result

    with watched(folder, around):
        yield calls


class _Watch:
    def __init__(self, folder: Path, around: Around) -> None:
        self.root = os.path.abspath(folder)
        self.around = around
        self.files: dict[int, str] = {}
        self.original = {
            name: getattr(os, name) for name in ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "remove", "rmdir", "chmod")
        }
        self.original_open = builtins.open

    def wrappers(self) -> Iterator[tuple[Any, str, Any]]:
        yield os, "open", self.open
        yield os, "write", self.write
        yield os, "fsync", self.fsync
        for name in ("mkdir", "unlink", "remove", "rmdir", "chmod"):
            yield os, name, self.one_path({"remove": "unlink"}.get(name, name), self.original[name])
        for name in ("rename", "replace"):
            yield os, name, self.two_paths(self.original[name])
        # files that Python opens itself, and those that it makes of a descriptor, write beneath `os`
        yield os, "fdopen", self.file
        yield builtins, "open", self.file
        yield io, "open", self.file

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path relative to the folder; None for one outside."""
        if isinstance(path, int):
            return self.files.get(path)
        if dir_fd is not None and not os.path.isabs(path):
            above = self.files.get(dir_fd)
            return None if above is None else os.path.normpath(os.path.join(above, os.fspath(path)))
        absolute = os.path.abspath(path)
        if absolute != self.root and not absolute.startswith(self.root + os.sep):
            return None
        return os.path.relpath(absolute, self.root)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        def make() -> int:
            return int(self.original["open"](path, flags, mode, dir_fd=dir_fd))

        name = self.inside(path, dir_fd)
        if name is None:
            handle = make()
            self.files.pop(handle, None)
            return handle
        handle = int(self.around(Call(name="open", paths=(name,)), make)) if flags & _WRITING else make()
        self.files[handle] = name
        return handle

    def write(self, fd: int, data: Any) -> int:
        if fd not in self.files:
            return int(self.original["write"](fd, data))
        return int(self.around(Call(name="write", paths=(self.files[fd],), fd=fd, data=bytes(data)), lambda: self.original["write"](fd, data)))

    def fsync(self, fd: int) -> None:
        if fd not in self.files:
            self.original["fsync"](fd)
        else:
            self.around(Call(name="fsync", paths=(self.files[fd],), fd=fd), lambda: self.original["fsync"](fd))

    def one_path(self, name: str, original: Callable[..., None]) -> Callable[..., None]:
        def wrapper(path: Any, *arguments: Any, dir_fd: int | None = None, **keywords: Any) -> None:
            more = keywords if dir_fd is None else {**keywords, "dir_fd": dir_fd}
            inside = self.inside(path, dir_fd)
            if inside is None:
                original(path, *arguments, **more)
            else:
                self.around(Call(name=name, paths=(inside,)), lambda: original(path, *arguments, **more))

        return wrapper

    def two_paths(self, original: Callable[..., None]) -> Callable[..., None]:
        def wrapper(source: Any, target: Any) -> None:
            paths = (self.inside(source), self.inside(target))
            if paths == (None, None):
                original(source, target)
            else:
                assert None not in paths
                self.around(Call(name="rename", paths=paths), lambda: original(source, target))  # type: ignore[arg-type]

        return wrapper

    def file(self, file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        """A file that writes through `write`."""
        writes = set(mode) & set("wax+")
        if not writes or (self.inside(file) if not isinstance(file, int) else self.files.get(file)) is None:
            return self.original_open(file, mode, *arguments, **keywords)
        assert isinstance(file, int), "a store's files are opened by os.open"
        assert "b" in mode
        return io.BufferedWriter(_Raw(file, self))


class _Raw(io.RawIOBase):
    def __init__(self, fd: int, watch: _Watch) -> None:
        self._fd, self._watch = fd, watch

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        return self._watch.write(self._fd, bytes(data))

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)

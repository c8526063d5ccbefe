"""What the tests record of a store's calls is all that there is: strace sees the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.calls import Call, recorded
from tests.store.stores import runnable, tried_here

_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"\A(?:AT_FDCWD|\d+)<([^>]*)>")
_PATH = re.compile(r"(?:AT_FDCWD<[^>]*>, |\d+<([^>]*)>, )?\"([^\"]*)\"")
_DRAWN = re.compile(r"(\.incoming-|\.json\.|\.sig\.)\w+")
_RENAMES = ("rename", "renameat", "renameat2")
_ONE_PATH = {"mkdir": "mkdir", "mkdirat": "mkdir", "unlink": "unlink", "unlinkat": "unlink", "rmdir": "rmdir", "chmod": "chmod", "fchmodat": "chmod"}
_NEVER = ("link", "linkat", "symlink", "symlinkat", "truncate", "ftruncate", "fallocate", "pwrite64", "writev", "pwritev", "mknod", "mknodat")
_OTHERS = ("open", "openat", "openat2", "creat", "write", "fsync", "fdatasync", "sync_file_range", "copy_file_range", "sendfile", "fchmod")
TRACED = (*_RENAMES, *_ONE_PATH, *_NEVER, *_OTHERS)


def seen_by_strace(log: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """The calls below `folder` that succeeded, each with the names of what it concerns."""
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if not match or match[3].startswith("-"):
            continue
        name, arguments = match[1], match[2]
        paths = [path if path.startswith("/") else f"{above}/{path}" for above, path in _PATH.findall(arguments)]
        by_fd = _FD.match(arguments)
        if name in ("write", "fsync") and by_fd:
            paths = [by_fd[1]]
        inside = [_DRAWN.sub(r"\1X", str(Path(path).relative_to(folder))) for path in paths if Path(path).is_relative_to(folder)]
        if not inside:
            continue
        if name in _RENAMES:
            yield ("rename", *inside)
        elif name in _ONE_PATH:
            yield ("rmdir" if "AT_REMOVEDIR" in arguments else _ONE_PATH[name], inside[0])
        elif name in ("open", "openat"):
            if re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", arguments):
                yield "open", inside[0]
        else:
            yield name, inside[0]


def names(calls: list[Call]) -> list[tuple[str, ...]]:
    return [(call.name, *(_DRAWN.sub(r"\1X", path) for path in call.paths)) for call in calls]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace isn't installed")
def test_the_record_of_an_install_is_complete(tmp_path: Path) -> None:
    """The real command, its trial's child included, against what is recorded of the same installs in this process: a first one, an update."""
    artifacts = [runnable(tmp_path, version) for version in ("1.0.0", "2.0.0")]
    Path(f"{artifacts[1]}.sig").write_bytes(b"a signature")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    for number, artifact in enumerate(artifacts):
        log = tmp_path / f"{number}.log"
        install = [sys.executable, "-m", "edgecnn", "store", "install", artifact, "--store", tmp_path / "there" / "store"]
        traced = ["strace", "-f", "-y", "-s", "300", "-e", "trace=" + ",".join(f"?{name}" for name in TRACED), "-o", log, *install]
        done = subprocess.run(traced, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with tried_here(), recorded(tmp_path / "here") as calls:
            from edgecnn.store import install as install_here

            install_here(artifact, store=tmp_path / "here" / "store")
        assert len(calls) > 25
        assert list(seen_by_strace(log, tmp_path / "there")) == names(calls)

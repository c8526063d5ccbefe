"""What libraries print, warn and log while they work goes to the logger "edgecnn.build", not to the screen."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

log = logging.getLogger("edgecnn.build")
log.addHandler(logging.NullHandler())

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnx_ir", "onnxsim", "onnxruntime")


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name != log.name:
            log.info("%s: %s", record.name, record.getMessage())


class _Stream(io.TextIOBase):
    """A stand-in for a standard stream: this thread's text becomes log lines, other threads' (a live table's) goes where it always went."""

    def __init__(self, original: Any) -> None:
        self._original, self._owner, self._rest = original, threading.get_ident(), ""

    def write(self, text: str) -> int:
        if threading.get_ident() != self._owner:
            return int(self._original.write(text) or len(text))
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            log.info("%s", line.rstrip())
        return len(text)

    def flush(self) -> None:
        if threading.get_ident() != self._owner:
            self._original.flush()

    def finish(self) -> None:
        if self._rest.strip():
            log.info("%s", self._rest.rstrip())
        self._rest = ""

    def isatty(self) -> bool:
        return bool(self._original.isatty())

    def fileno(self) -> int:
        return int(self._original.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self._original, "encoding", "utf-8"))


@contextlib.contextmanager
def chatter_to_log() -> Iterator[None]:
    """Inside, this thread's prints, all warnings, and the log records of torch, onnx and their kin become INFO records of "edgecnn.build"."""
    forward = _Forward()
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    known = [found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger) and found not in loggers]
    loggers += [found for found in known if found.handlers and found.name.split(".")[0] in _LIBRARIES]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    try:
        for logger in loggers:
            logger.handlers, logger.propagate = [forward], False
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            warnings.simplefilter("default")
            yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        out.finish()
        err.finish()
        for warning in caught:
            log.info("%s: %s", warning.category.__name__, warning.message)

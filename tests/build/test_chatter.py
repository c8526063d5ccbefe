"""Libraries may say what they like; the screen stays the command's, and other threads keep theirs."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from edgecnn.build.chatter import chatter_to_log


def test_prints_warnings_and_log_records_become_records_of_ours(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("torch.some.part")
    with caplog.at_level(logging.INFO, logger="edgecnn.build"), chatter_to_log():
        print("one line\nand a half", end="")
        sys.stderr.write("an error\n")
        warnings.warn("take care", UserWarning, stacklevel=1)
        library.warning("a record %d", 7)
    assert [record.getMessage() for record in caplog.records] == [
        "one line",
        "an error",
        "torch.some.part: a record 7",
        "and a half",
        "UserWarning: take care",
    ]
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert capsys.readouterr() == ("", "")


def test_everything_is_as_before_afterwards_even_after_an_error() -> None:
    logger = logging.getLogger("onnxscript")
    before = (sys.stdout, sys.stderr, list(logger.handlers), logger.propagate)
    with pytest.raises(ZeroDivisionError), chatter_to_log():
        print(1 / 0)
    assert (sys.stdout, sys.stderr, list(logger.handlers), logger.propagate) == before


def test_what_was_said_before_an_error_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        warnings.warn("a hint", UserWarning, stacklevel=1)
        print("about to fail")
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, logger="edgecnn.build"), pytest.raises(ZeroDivisionError), chatter_to_log():
        fail()
    assert {"about to fail", "UserWarning: a hint"} <= {record.getMessage() for record in caplog.records}


def test_another_threads_table_still_reaches_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with chatter_to_log():
        thread = threading.Thread(target=lambda: print("the table", flush=True))
        thread.start()
        thread.join()
        print("the exporter")
    assert capsys.readouterr().out == "the table\n"


def test_a_logger_that_nobody_listens_to_stays_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with chatter_to_log():
        print("nobody hears this")
    assert capfd.readouterr() == ("", "")

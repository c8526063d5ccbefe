"""What the tests of pages do where no browser is: they fail and say how to get one, or are left out aloud."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.chromium import NAMES, find_chromium

ROOT = Path(__file__).parents[2]
A_PAGE = "tests/report/test_page.py::test_the_browser_s_guard_sees_a_request_and_an_error"


def pytest_run(*tests: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False)


def test_no_browser_is_a_failure_with_a_way_out() -> None:
    done = pytest_run(A_PAGE, EDGECNN_CHROMIUM="/nowhere/chromium", EDGECNN_NO_CHROMIUM="")
    assert done.returncode == 1
    assert "EDGECNN_CHROMIUM is /nowhere/chromium, which is no program" in done.stdout
    assert "apt install chromium" in done.stdout


def test_left_out_on_request_and_said_so() -> None:
    quick = "tests/report/test_page.py::test_what_is_no_picture_is_refused"
    done = pytest_run(A_PAGE, quick, EDGECNN_CHROMIUM="/nowhere/chromium", EDGECNN_NO_CHROMIUM="1")
    assert done.returncode == 0
    assert "EDGECNN_NO_CHROMIUM=1: the tests that look at pages in Chromium were left out" in done.stdout
    assert "5 passed, 1 deselected" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_is_found_by_its_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("EDGECNN_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(LookupError, match=r"no Chromium is on PATH .*apt install chromium.*EDGECNN_NO_CHROMIUM=1"):
        find_chromium()

"""What all tests share: seeded property tests, and the long campaigns that `tools/test --full` runs."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable

import pytest
from hypothesis import settings

pytest_plugins = ["tests.fixtures.chromium", "tests.fixtures.training"]

# the machine may be busy, and a property that fails must fail again tomorrow
settings.register_profile("edgecnn", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("full", deadline=None, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long campaigns at their stated counts")


def pytest_configure(config: pytest.Config) -> None:
    # a shell starts what runs in its background with Ctrl-C ignored, and the commands that tests interrupt would inherit that
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("EDGECNN_TRUST_KEY", "EDGECNN_STORE", "EDGECNN_KEY_PASSWORD"):  # a developer's own would change what commands do
        os.environ.pop(name, None)
    cache = tempfile.mkdtemp(prefix="edgecnn-tests-")  # what was measured before would hide whether it is measured now
    os.environ["EDGECNN_CACHE"] = cache
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    settings.load_profile("full" if config.getoption("--full") else "edgecnn")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Callable[..., int]:
    """campaign(sample=300, full=10_000): how many cases to run."""

    def count(*, sample: int, full: int) -> int:
        return full if request.config.getoption("--full") else sample

    return count

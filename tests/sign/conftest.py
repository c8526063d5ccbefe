from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.artifacts import color_artifact
from tests.fixtures.signing import Keys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys that nobody trusts."""
    return make_keys(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return color_artifact(tmp_path_factory.mktemp("packed") / "colors.edgecnn").read_bytes()


@pytest.fixture
def artifact(tmp_path: Path, packed: bytes) -> Path:
    path = tmp_path / "colors.edgecnn"
    path.write_bytes(packed)
    return path

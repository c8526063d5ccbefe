from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.stores import sample


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-1.0.0.edgecnn, -2.0.0 and -3.0.0, of rising sequences; 2.0.0 lies there with its signature."""
    folder = tmp_path_factory.mktemp("made")
    for number in (1, 2, 3):
        sample(folder, f"{number}.0.0", sequence=number, signed=number == 2)
    return folder

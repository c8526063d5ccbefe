"""The shipped networks in float32 and int8, and small ones of every kind, ready to be explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import ModelSpec
from edgecnn.report.explain.subject import Picture, Subject, open_subject, read_picture
from tests.fixtures.artifacts import tiny_artifact

MODELS = Path(__file__).parents[3] / "models"
SHIPPED = ("simplecnn-fashion", "resnet8-cifar10")
FORMS = ("float32", "int8")

Artifacts = Callable[[str, str], Path]
Open = Callable[..., Subject]
Make = Callable[[ModelSpec, bytes], Subject]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """artifacts("resnet8-cifar10", "float32"): the artifact; the float32 one is exported from the checkpoint."""
    folder = tmp_path_factory.mktemp("shipped")

    @cache
    def find(name: str, form: str) -> Path:
        if form == "int8":
            return next((MODELS / name).glob("*.edgecnn"))
        from edgecnn.build.export import export_module
        from edgecnn.build.source import open_source

        source = open_source(MODELS / name / "model.safetensors")
        return tiny_artifact(folder / f"{name}.edgecnn", spec=source.spec, model=export_module(source))

    return find


@pytest.fixture(scope="session")
def opened() -> Iterator[Open]:
    """opened(path): the artifact as a Subject."""
    with ExitStack() as stack:

        @cache
        def subject(path: Path) -> Subject:
            return open_subject(stack.enter_context(open_bundle(path)), name=path.name, threads=1)

        yield subject


@pytest.fixture
def made(tmp_path: Path, opened: Open) -> Make:
    """made(spec, graph): a Subject of a graph that is packed for it."""
    return lambda spec, model: opened(tiny_artifact(tmp_path / f"{spec.name}.edgecnn", spec=spec, model=model))


def sample(name: str) -> Path:
    """An image of a shipped model's samples."""
    return sorted(path for path in (MODELS / name / "samples").rglob("*") if path.suffix in (".png", ".jpg"))[0]


def picture_of(subject: Subject, source: Any) -> Picture:
    name = str(source) if isinstance(source, Path) else "noise.png"
    return read_picture(lambda: source, subject.spec.preprocess, name=name)


def noise(height: int = 20, width: int = 24, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

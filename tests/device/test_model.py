"""`edgecnn.load(...)` and what its Model says of images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgecnn
from edgecnn.device import host
from edgecnn.device.image import to_input
from edgecnn.device.model import Model
from edgecnn.errors import ArtifactRejected, ImageRejected, InputMissing, UsageError
from tests.fixtures.artifacts import COLORS, color_artifact, encode, solid


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return color_artifact(tmp_path_factory.mktemp("artifact") / "colors.edgecnn")


@pytest.fixture
def model(artifact: Path) -> Model:
    return edgecnn.load(artifact)


def test_an_image_is_told_from_wherever_it_comes(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "blue.png"
    path.write_bytes(encode(solid("blue")))
    for source in (path, str(path), path.read_bytes(), solid("blue"), Image.fromarray(solid("blue"))):
        found = model.predict(source)
        assert found.label == "blue"
        assert found.score > 0.99
        assert found.input == (str(path) if isinstance(source, (str, Path)) else None)


def test_the_spec_and_manifest_are_there(model: Model) -> None:
    assert model.spec.labels == COLORS
    assert model.manifest.spec is model.spec
    assert model.manifest.validated


def test_times_are_told_in_milliseconds(model: Model) -> None:
    ms = model.predict(encode(solid("red"))).ms
    assert 0 < ms.decode < 60_000
    assert 0 < ms.preprocess < 60_000
    assert 0 < ms.inference < 60_000


def test_the_top_is_as_long_as_asked(model: Model) -> None:
    assert [len(model.predict(solid("red"), top_k=k).top) for k in (1, 2, 5)] == [1, 2, 3]


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_a_batch_says_what_each_says_alone(tmp_path: Path, batch: int | str) -> None:
    model = edgecnn.load(color_artifact(tmp_path / "colors.edgecnn", batch=batch))
    colors = [COLORS[i % 3] for i in range(37)]
    found = model.predict_batch((solid(color) for color in colors), top_k=2)
    assert [prediction.label for prediction in found] == colors
    for prediction, color in zip(found, colors, strict=True):
        assert prediction.score == pytest.approx(model.predict(solid(color)).score, rel=1e-6)


def test_an_empty_batch_has_no_predictions(model: Model) -> None:
    assert model.predict_batch([]) == []


def test_logits_are_the_network_s_own(model: Model) -> None:
    x = np.concatenate([to_input(solid(color), model.spec.preprocess) for color in COLORS])
    np.testing.assert_allclose(model.logits(x), np.eye(3) * 10 - 5, atol=1e-5)
    with pytest.raises(UsageError, match="float32"):
        model.logits(x.astype(np.float64))


def test_what_cannot_be_read_is_said(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"nowhere\.jpg"):
        model.predict(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageRejected):
        model.predict(b"no image")
    with pytest.raises(ImageRejected):
        model.predict_batch([solid("red"), b"no image"])


def test_threads_are_the_caller_s_choice_within_what_is_allowed(artifact: Path) -> None:
    assert edgecnn.load(artifact, threads=1).session.engine.threads == 1
    with pytest.raises(UsageError, match=f"may use {host.available_cores()}"):
        edgecnn.load(artifact, threads=host.available_cores() + 1)


def test_a_missing_or_altered_artifact_is_refused(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        edgecnn.load(tmp_path / "nowhere.edgecnn")
    data = bytearray(artifact.read_bytes())
    data[data.index(b"GlobalAveragePool")] ^= 1
    altered = tmp_path / "altered.edgecnn"
    altered.write_bytes(data)
    with pytest.raises(ArtifactRejected, match="altered"):
        edgecnn.load(altered)


def test_an_artifact_packed_by_force_says_so_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture, artifact: Path) -> None:
    forced = color_artifact(tmp_path / "forced.edgecnn", force=True)
    with caplog.at_level(logging.WARNING, logger="edgecnn"):
        edgecnn.load(artifact)
        assert not caplog.records
        edgecnn.load(forced)
        edgecnn.load(forced)
    assert [record.getMessage() for record in caplog.records] == 2 * [
        f"{forced} was packed by force: its answers were not proved to be the source network's; don't rely on them."
    ]


@pytest.mark.parametrize("name", ["Model", "Prediction"])
def test_what_is_given_back_is_of_the_public_classes(model: Model, name: str) -> None:
    given: dict[str, Any] = {"Model": model, "Prediction": model.predict(solid("red"))}
    assert isinstance(given[name], getattr(edgecnn, name))

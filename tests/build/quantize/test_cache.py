"""What was measured before isn't measured again, and nothing else is taken for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from edgecnn.build.quantize import _cache, int8
from edgecnn.build.quantize._cache import measured
from edgecnn.build.quantize._graph import load

TENSORS = ["input", "t1", "logits"]


class Images:
    """A calibration that counts how often it is gone through. identity: None for one that doesn't say what it gives."""

    def __init__(self, images: np.ndarray, identity: str | None = "pictures") -> None:
        self.images, self.rounds = images, 0
        if identity is not None:
            self.identity = identity

    def __call__(self) -> Iterator[np.ndarray]:
        self.rounds += 1
        return iter([self.images])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path))
    return tmp_path / "ranges"


@pytest.fixture
def proto(graph: bytes) -> ModelProto:
    return load(graph, opset=13)


def same(a: Any, b: Any) -> bool:
    fields = ("low", "high", "counts", "zeros")
    return (a.names, a.flat, a.alike) == (b.names, b.flat, b.alike) and all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields)


@pytest.mark.parametrize("histograms", [False, True])
def test_the_second_time_no_image_is_read(proto, images, histograms):
    first, second = Images(images), Images(images)
    before, after = (measured(proto, TENSORS, calibration, histograms=histograms) for calibration in (first, second))
    assert (first.rounds, second.rounds) == (2 if histograms else 1, 0)
    assert same(before, after)


def test_without_an_identity_nothing_is_kept(proto, images, folder):
    for _ in range(2):
        calibration = Images(images, identity=None)
        measured(proto, TENSORS, calibration, histograms=False)
        assert calibration.rounds == 1
    assert not folder.exists()


def test_whatever_differs_is_measured(proto, images, make_residual, monkeypatch):
    measured(proto, TENSORS, Images(images), histograms=False)
    other = load(make_residual(size=12), opset=13)
    cropped = images[:, :, :12, :12]
    for graph, tensors, calibration, histograms in (
        (proto, TENSORS[:2], Images(images), False),
        (proto, TENSORS, Images(images), True),
        (proto, TENSORS, Images(2 * images, "others"), False),
        (other, TENSORS, Images(cropped), False),
    ):
        measured(graph, tensors, calibration, histograms=histograms)
        assert calibration.rounds >= 1
    changed = ModelProto.FromString(proto.SerializeToString())
    changed.graph.initializer[0].raw_data = bytes(len(changed.graph.initializer[0].raw_data))
    calibration = Images(images)
    assert not same(measured(changed, TENSORS, calibration, histograms=False), measured(proto, TENSORS, Images(images), histograms=False))
    assert calibration.rounds == 1
    monkeypatch.setattr(_cache, "__version__", "0.0.0")
    calibration = Images(images)
    measured(proto, TENSORS, calibration, histograms=False)
    assert calibration.rounds == 1


def test_a_broken_file_counts_as_missing_wherever_it_is_broken(proto, images, folder):
    """Cut anywhere, or any byte otherwise: what is given is what would be measured."""
    wanted = measured(proto, TENSORS, Images(images), histograms=True)
    (place,) = folder.iterdir()
    whole, rng = place.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:length] for length in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    for position in rng.integers(0, len(whole), 25):
        spoiled = bytearray(whole)
        spoiled[position] ^= int(rng.integers(1, 256))
        damaged += [bytes(spoiled)]
    for content in damaged:
        place.write_bytes(content)
        assert same(measured(proto, TENSORS, Images(images), histograms=True), wanted)


@pytest.mark.parametrize("name", ["low", "high", "counts", "zeros", "images"])
def test_a_whole_file_of_other_arrays_counts_as_missing(proto, images, folder, name):
    measured(proto, TENSORS, Images(images), histograms=True)
    (place,) = folder.iterdir()
    with np.load(place) as file:
        arrays = {key: file[key] for key in file.files}
    for spoiled in (
        {key: value for key, value in arrays.items() if key != name},
        {**arrays, name: arrays[name][:1]},
        {**arrays, "more": arrays[name]},
    ):
        with place.open("wb") as stream:
            np.savez(stream, **spoiled)
        calibration = Images(images)
        measured(proto, TENSORS, calibration, histograms=True)
        assert calibration.rounds == 2


def test_a_range_that_is_not_finite_counts_as_missing(proto, images, folder):
    measured(proto, TENSORS, Images(images), histograms=False)
    (place,) = folder.iterdir()
    with place.open("wb") as stream:
        np.savez(stream, low=np.full(3, np.nan), high=np.zeros(3), images=np.zeros(2, dtype=bool))
    calibration = Images(images)
    assert np.isfinite(measured(proto, TENSORS, calibration, histograms=False).low).all()
    assert calibration.rounds == 1


def test_the_oldest_go_when_there_are_too_many(proto, images, folder, monkeypatch):
    monkeypatch.setattr(_cache, "KEPT", 3)
    for number in range(4):
        measured(proto, TENSORS, Images(images, f"set {number}"), histograms=False)
        for path in folder.iterdir():  # each is an hour older than the next one
            os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))
    assert len(list(folder.iterdir())) == 3
    rounds = []
    for number in (1, 2, 3, 0):
        calibration = Images(images, f"set {number}")
        measured(proto, TENSORS, calibration, histograms=False)
        rounds.append(calibration.rounds)
    assert rounds == [0, 0, 0, 1]


def test_a_cache_that_cannot_be_written_is_done_without(proto, images, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGECNN_CACHE", str(tmp_path / "file" / "folder"))
    assert measured(proto, TENSORS, Images(images), histograms=False).names == tuple(TENSORS)


def test_an_export_from_the_cache_gives_the_same_bytes(graph, images):
    options: dict[str, Any] = {"ranges": "mse", "equalize": True, "correct_bias": True}
    first, second = (int8.quantize(graph, Images(images), **options).model for _ in range(2))
    assert first == second == int8.quantize(graph, Images(images, identity=None), **options).model

"""A graph that takes the image's bytes answers as the one that takes what normalize makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.pixels import pixel_spec, take_pixels
from edgecnn.device.image import normalize
from edgecnn.device.session import open_session
from edgecnn.errors import UsageError
from tests.fixtures.graphs import one_node

MODELS = sorted((Path(__file__).parent.parent.parent / "models").glob("*/*.edgecnn"))

finite = st.floats(-300, 300, width=32)


@settings(max_examples=30)
@given(
    means=st.tuples(finite, finite, finite),
    stds=st.tuples(*[st.floats(0.01, 300)] * 3),
    factor=st.sampled_from([1 / 255, 1.0, 1 / 128]),
    batch=st.sampled_from([1, 2, "batch"]),
)
def test_every_pixel_value_is_normalized_as_on_the_device(means: tuple[float, ...], stds: tuple[float, ...], factor: float, batch: int | str) -> None:
    pre = Preprocess(size=(16, 16), image_mean=means, image_std=stds, rescale_factor=factor)
    spec = make_spec(name="m", labels=tuple(f"l{i}" for i in range(3 * 256)), preprocess=pre, batch=batch)
    pixels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=-1)[None].repeat(1 if batch == "batch" else batch, axis=0)
    wanted = normalize(pixels, pre)
    changed = pixel_spec(spec)
    graph = one_node("Flatten", shape=spec.input.shape, result=spec.output.shape)
    found = open_session(take_pixels(graph, spec), changed).logits(normalize(pixels, changed.preprocess))
    largest = (255 * factor + np.abs(means)) / np.array(stds)
    apart = np.abs(found.reshape(wanted.shape).astype(np.float64) - wanted)
    assert (apart <= 2 * np.spacing(largest.astype(np.float32)).reshape(1, 3, 1, 1)).all()


@pytest.mark.parametrize("path", MODELS, ids=[path.parent.name for path in MODELS])
def test_the_shipped_models_answer_alike(path: Path) -> None:
    """To within a step of the input's quantization, which hardly ever falls otherwise: here it never does."""
    with open_bundle(path) as bundle:
        spec, model = bundle.manifest.spec, bundle.read("model.onnx")
    pixels = np.random.default_rng(1).integers(0, 256, (4, *spec.preprocess.input_size, spec.preprocess.depth), dtype=np.uint8)
    changed = pixel_spec(spec)
    assert changed.input.dtype == "uint8"
    wanted = open_session(model, spec, threads=1).logits(normalize(pixels, spec.preprocess))
    found = open_session(take_pixels(model, spec), changed, threads=1).logits(normalize(pixels, changed.preprocess))
    np.testing.assert_array_equal(found, wanted)


def test_a_float16_input_is_refused() -> None:
    spec = make_spec(name="m", labels=("a",), preprocess=Preprocess(size=(4, 4)))
    half = replace(spec, input=replace(spec.input, dtype="float16"))
    with pytest.raises(UsageError, match="takes float16; only a float32 input"):
        pixel_spec(half)

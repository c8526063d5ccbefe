"""What a model may claim to be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.codec import CodecError, canonical_json, decode, strict_json
from edgecnn.artifact.spec import CHANNELS, INTERPOLATIONS, RESIZE_MODES, ModelSpec, Postprocess, Preprocess, TensorSpec, make_spec

RGB = Preprocess(size=(32, 24))


def test_the_usual_spec_fits_together() -> None:
    spec = make_spec(name="cats", labels=("cat", "dog"), preprocess=RGB)
    assert spec.input == TensorSpec(name="input", dtype="float32", shape=(1, 3, 32, 24))
    assert spec.output == TensorSpec(name="logits", dtype="float32", shape=(1, 2))
    assert spec.postprocess.activation == "softmax"
    assert spec.batch == 1
    assert make_spec(name="cats", labels=("cat", "dog"), preprocess=RGB, batch="batch").batch is None


def test_several_labels_have_sigmoid_and_a_threshold_each() -> None:
    spec = make_spec(name="cats", labels=("cat", "dog"), preprocess=RGB, task="multi-label")
    assert spec.postprocess == Postprocess(activation="sigmoid", thresholds=(0.5, 0.5))


def test_the_network_sees_the_crop_in_the_depth_of_its_channels() -> None:
    pre = Preprocess(size=(256, 256), crop_size=(224, 200), channels="L", image_mean=(0.5,), image_std=(0.5,))
    assert (pre.depth, pre.input_size) == (1, (224, 200))
    assert make_spec(name="x", labels=("a",), preprocess=pre).input.shape == (1, 1, 224, 200)


def test_the_choices_are_listed() -> None:
    assert "letterbox" in RESIZE_MODES
    assert "bicubic" in INTERPOLATIONS
    assert CHANNELS == ("RGB", "BGR", "L")


PREPROCESS: dict[str, dict[str, Any]] = {
    "std of 0": {"image_std": (1.0, 0.0, 1.0)},
    "negative std": {"image_std": (1.0, -1.0, 1.0)},
    "mean of the wrong length": {"image_mean": (0.5,)},
    "infinite mean": {"image_mean": (math.inf, 0.0, 0.0)},
    "NaN std": {"image_std": (math.nan, 1.0, 1.0)},
    "no size": {"size": (0, 8)},
    "negative size": {"size": (-1, 8)},
    "gigantic size": {"size": (1 << 20, 8)},
    "crop outside": {"crop_size": (64, 8)},
    "empty crop": {"crop_size": (0, 8)},
    "rescale of 0": {"rescale_factor": 0.0},
    "infinite rescale": {"rescale_factor": math.inf},
    "grey with three means": {"channels": "L"},
    "lanczos without antialias": {"interpolation": "lanczos", "antialias": False},
}


@pytest.mark.parametrize("changes", PREPROCESS.values(), ids=PREPROCESS.keys())
def test_an_impossible_preprocessing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|doesn't fit|channels|always antialiases"):
        Preprocess(**{"size": (32, 32), **changes})


SPEC: dict[str, dict[str, Any]] = {
    "an upper-case name": {"name": "Cats"},
    "a name that is a path": {"name": "../cats"},
    "an empty name": {"name": ""},
    "a name of 65 letters": {"name": "a" * 65},
    "a version in words": {"version": "latest"},
    "a negative sequence": {"sequence": -1},
    "no labels": {"labels": ()},
    "a label twice": {"labels": ("cat", "cat")},
    "a blank label": {"labels": ("cat", " ")},
    "a label that moves the cursor": {"labels": ("cat", "\x1b[2J")},
    "a label of 201 letters": {"labels": ("cat", "d" * 201)},
    "thresholds for a single label": {"thresholds": (0.5, 0.5)},
    "one threshold for two labels": {"task": "multi-label", "thresholds": (0.5,)},
    "a threshold of 1": {"task": "multi-label", "thresholds": (0.5, 1.0)},
    "a batch by another name": {"batch": "n"},
    "a batch of 0": {"batch": 0},
}


@pytest.mark.parametrize("changes", SPEC.values(), ids=SPEC.keys())
def test_an_impossible_model_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make_spec(**{"name": "cats", "labels": ("cat", "dog"), "preprocess": RGB, **changes})


def _parts() -> dict[str, Any]:
    spec = make_spec(name="cats", labels=("cat", "dog"), preprocess=RGB)
    names = ("name", "task", "labels", "input", "output", "preprocess", "postprocess")
    return {name: getattr(spec, name) for name in names}


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "more outputs than labels": ({"output": TensorSpec(name="y", dtype="float32", shape=(1, 3))}, "2 labels don't match an output"),
    "an output of rank 4": ({"output": TensorSpec(name="y", dtype="float32", shape=(1, 2, 1, 1))}, "2 labels don't match an output"),
    "an input of another size": ({"input": TensorSpec(name="x", dtype="float32", shape=(1, 3, 24, 32))}, "doesn't match preprocess"),
    "an input of another depth": ({"input": TensorSpec(name="x", dtype="float32", shape=(1, 1, 32, 24))}, "doesn't match preprocess"),
    "different batches": ({"output": TensorSpec(name="y", dtype="float32", shape=(2, 2))}, "same batch"),
    "softmax for several labels": ({"task": "multi-label"}, "needs sigmoid"),
    "sigmoid for one label": ({"postprocess": Postprocess(activation="sigmoid")}, "needs softmax"),
}


@pytest.mark.parametrize(("changes", "message"), PARTS.values(), ids=PARTS.keys())
def test_parts_that_do_not_belong_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec(**{**_parts(), **changes})


@pytest.mark.parametrize("shape", [(1, "height"), ("n", 3), (1, 0), (1, -3)])
def test_only_the_batch_of_a_tensor_may_be_open(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(ValueError, match=r"only the first may be open|sizes are positive"):
        TensorSpec(name="x", dtype="float32", shape=shape)


labels = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20), min_size=1, max_size=8, unique=True).map(tuple)


@given(labels, st.integers(1, 64), st.integers(1, 64), st.sampled_from(["single-label", "multi-label"]), st.sampled_from([1, 4, "batch"]))
def test_any_spec_travels_whole(labels: tuple[str, ...], height: int, width: int, task: Any, batch: int | str) -> None:
    spec = make_spec(name="x", labels=labels, preprocess=Preprocess(size=(height, width)), task=task, batch=batch)
    assert decode(ModelSpec, strict_json(canonical_json(spec))) == spec


def test_an_unknown_word_in_a_stored_spec_is_refused() -> None:
    document = strict_json(canonical_json(make_spec(name="x", labels=("a",), preprocess=RGB)))
    document["preprocess"]["resize_mode"] = "squeeze"
    with pytest.raises(CodecError, match="'squeeze' is none of stretch, shortest-edge, letterbox"):
        decode(ModelSpec, document)

"""The layers that hurt most are those that make the most noise alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.search import layers
from edgecnn.build.search.lab import Lab, Task
from edgecnn.build.search.layers import most_sensitive
from edgecnn.build.search.records import Candidate, Goal
from tests.fixtures.onnx_nets import residual

DECIBELS = {"n0": 40.0, "n2": 15.0, "n4": 30.0, "n9": 25.0}
"""Of the answers with this layer alone quantized: three convolutions and a fully connected layer."""


@pytest.fixture
def lab(monkeypatch):
    spec = make_spec(name="net", labels=("a", "b", "c", "d", "e"), preprocess=Preprocess(size=(16, 16)))
    batches = [np.zeros((25, 3, 16, 16), dtype=np.float32)] * 10
    task = Task(
        network=None,
        model=residual(),
        spec=spec,
        calibration=lambda: iter(batches),
        calibration_images=250,
        validation=(),
        example=batches[0][:1],
        goal=Goal(max_drop=1),
    )
    found = Lab(task)
    monkeypatch.setattr(found, "quantized", lambda candidate: candidate)
    return found


def test_each_layer_is_measured_alone_and_the_noisiest_comes_first(lab, monkeypatch):
    def sqnr(reference, graphs, spec, calibration):
        seen.append(sum(len(batch) for batch in calibration()))
        alone = [next(name for name in DECIBELS if name not in graph.config["keep_float"]) for graph in graphs]
        assert all(len(graph.config["keep_float"]) == len(DECIBELS) - 1 for graph in graphs)
        assert all(graph.config["ranges"] == "mse" for graph in graphs)
        return [DECIBELS[name] for name in alone]

    seen: list[int] = []
    monkeypatch.setattr(layers, "sqnr", sqnr)
    assert most_sensitive(lab, Candidate(quantizer="int8", config={"ranges": "mse"})) == ("n2", "n9", "n4", "n0")
    assert all(layers.IMAGES <= images < 100 for images in seen)  # a part of the calibration images will do

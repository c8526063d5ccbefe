"""A file started in a process of its own: the steps add up, memory is beside a graph of one node, and a failure is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.device.bench import startup
from edgecnn.device.bench.startup import Failure, Startup, measure_startup
from edgecnn.device.limits import Outcome
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.graphs import color_classifier, one_node


@pytest.fixture(scope="module")
def base() -> Startup:
    found = measure_startup(None, threads=1)
    assert isinstance(found, Startup)
    return found


def test_the_steps_of_an_artifact_add_up(tmp_path: Path, base: Startup) -> None:
    found = measure_startup(color_artifact(tmp_path / "colors.edgecnn"), threads=1, base=base)
    assert isinstance(found, Startup)
    assert found.total_ms == pytest.approx(found.python_ms + found.import_ms + found.load_ms + found.first_ms)
    assert min(found.python_ms, found.import_ms, found.load_ms, found.first_ms) > 0
    assert found.loaded_mib is not None
    assert found.peak_mib is not None
    assert 10 < found.loaded_mib <= found.peak_mib
    assert (found.base_loaded_mib, found.base_peak_mib) == (base.loaded_mib, base.peak_mib)
    assert found.decode_ms is not None
    assert found.preprocess_ms is not None
    assert found.decode_ms > 0
    assert found.images > 0
    assert found.original is not None


def test_a_bare_graph_has_no_image_to_decode(tmp_path: Path) -> None:
    (tmp_path / "colors.onnx").write_bytes(color_classifier())
    found = measure_startup(tmp_path / "colors.onnx", threads=1)
    assert isinstance(found, Startup)
    assert (found.decode_ms, found.preprocess_ms, found.images, found.base_loaded_mib) == (None, None, 0, None)


def test_sizes_that_were_given_are_taken(tmp_path: Path) -> None:
    (tmp_path / "open.onnx").write_bytes(one_node(shape=("batch", 3, "height", "width")))
    assert isinstance(measure_startup(tmp_path / "open.onnx", threads=1, shapes={"": (1, 3, 8, 8)}), Startup)


def test_what_is_refused_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    found = measure_startup(tmp_path / "bad.onnx", threads=1)
    assert isinstance(found, Failure)
    assert found.reason
    assert not found.reason.endswith(".")


@pytest.mark.parametrize("output", ["", "no json", "[1]", '{"python_ms": "x"}', '{"python_ms": 1}'])
def test_a_child_that_told_nothing_is_a_failure(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "run_limited", lambda *_, **__: Outcome(failure="it was killed by SIGKILL", output=output))
    assert measure_startup(None, threads=1) == Failure(reason="it was killed by SIGKILL")

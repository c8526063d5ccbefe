"""onnxruntime's nodes come back as the artifact's layers, and the parts sum up to the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.graph import read_graph
from edgecnn.artifact.layers import layers
from edgecnn.device.bench import profile as module
from edgecnn.device.bench.opening import open_file
from edgecnn.device.bench.peak import Peak, measure_peak
from edgecnn.device.bench.profile import LayerCost, Profile, fold, profile_file, provider_that_ran
from edgecnn.errors import MissingHere, UsageError
from edgecnn.sign import open_trusted
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.graphs import color_classifier

MODELS = Path(__file__).parents[3] / "models"
RESNET = next((MODELS / "resnet8-cifar10").glob("*.edgecnn"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "measure_peak", lambda kinds, **_: Peak(threads=1, float32_gmacs=100.0, int8_gmacs=400.0, gb_per_s=20.0))


def test_every_product_of_a_real_net_is_found(quick: None) -> None:
    found = profile_file(RESNET, threads=1)
    with open_trusted(RESNET, None) as bundle:
        table = {layer.name: layer for layer in bundle.report().layers}
    products = {name for name, layer in table.items() if layer.macs}
    assert products <= {layer.name for layer in found.layers} <= set(table)
    assert sum(layer.macs or 0 for layer in found.layers) == sum(layer.macs or 0 for layer in table.values())
    assert [layer.ms for layer in found.layers] == sorted((layer.ms for layer in found.layers), reverse=True)
    assert all(layer.kind == "int8" for layer in found.layers if layer.macs)
    total = sum(layer.ms for layer in found.layers) + sum(found.others.values()) + found.between_ms
    assert total == pytest.approx(found.run_ms)
    assert set(found.others) <= {"Transpose", "ReorderOutput", "ReorderInput"}


def test_nothing_is_left_behind(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colors.onnx").write_bytes(color_classifier())
    found = profile_file(tmp_path / "colors.onnx", threads=1)
    assert {layer.name for layer in found.layers} >= {layer.name for layer in layers(read_graph(color_classifier())) if layer.macs}
    assert [path.name for path in tmp_path.iterdir()] == ["colors.onnx"]


def _event(name: str, took: int, operator: str = "Conv", **more: Any) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": took, "args": {"op_name": operator, **more}}


def _run(*events: dict[str, Any], took: int) -> list[dict[str, Any]]:
    return [*events, {"cat": "Session", "name": "model_run", "dur": took}]


def test_the_faster_half_counts_and_what_has_no_layer_is_other() -> None:
    graph = read_graph(color_classifier())
    table = layers(graph)
    product = next(layer for layer in table if layer.macs)
    warm = [event for _ in range(module.WARMUP) for event in _run(_event(product.name, 9999, "Gemm"), took=9999)]
    runs = []
    for took in (100, 5000, 100, 9000):  # two of four were disturbed
        runs += _run(
            _event("Transpose_token_3", 7, "Transpose"), _event(f"{product.name}_token_1", took, "Gemm", activation_size="40"), took=took + 20
        )
    found = fold([*warm, *runs, {"name": "odd", "dur": None}], graph, table)
    assert (found.runs, found.run_ms) == (2, pytest.approx(0.12))
    assert found.layers[0].name == product.name
    assert found.layers[0].ms == pytest.approx(0.1)
    assert found.layers[0].bytes == 40 + product.bytes
    assert found.others == {"Transpose": pytest.approx(0.007)}
    assert found.between_ms == pytest.approx(0.013)


def test_a_profile_without_runs_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no runs"):
        fold([], read_graph(color_classifier()), ())


def test_shares_are_of_the_peak_of_the_layer_s_own_numbers() -> None:
    costs = [
        LayerCost(name=kind, operator="Conv", ms=1.0, macs=50_000_000, bytes=10_000_000, kind=kind, provider="CPUExecutionProvider")  # type: ignore[arg-type]
        for kind in ("float32", "int8")
    ]
    found = Profile(layers=tuple(costs), others={}, run_ms=2.0, runs=1, peak=Peak(threads=1, float32_gmacs=100.0, int8_gmacs=400.0, gb_per_s=20.0))
    assert [found.share_of_peak(layer) for layer in found.layers] == [0.5, 0.125]
    assert costs[0].intensity == 5
    written = found.to_json_dict()
    assert (written["layers"][0]["gmacs_per_s"], written["layers"][1]["share_of_peak"]) == (50, 0.125)


def test_the_peak_of_this_cpu_is_measured_by_the_kernels_that_are_asked_for() -> None:
    found = measure_peak(["float32", "int8", "int8"], threads=1)
    assert found.float32_gmacs is not None
    assert found.int8_gmacs is not None
    assert min(found.float32_gmacs, found.int8_gmacs, found.gb_per_s) > 0
    assert measure_peak(["int8"], threads=1).float32_gmacs is None


def test_another_engine_has_no_profile(tmp_path: Path) -> None:
    with pytest.raises(MissingHere, match="profile with --engine ort"):
        profile_file(color_artifact(tmp_path / "colors.edgecnn"), threads=1, engine="other")


def test_a_provider_that_took_no_node_did_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_file(color_artifact(tmp_path / "colors.edgecnn"), threads=1)
    assert provider_that_ran(opened) == "CPUExecutionProvider"
    monkeypatch.setattr(opened.engine, "provider", "CUDAExecutionProvider")
    monkeypatch.setattr(module, "_events", lambda *_, **__: [_event("a", 1, provider="CPUExecutionProvider")])
    assert provider_that_ran(opened) == "CPUExecutionProvider"
    monkeypatch.setattr(module, "_events", lambda *_, **__: [])
    assert provider_that_ran(opened) == "CUDAExecutionProvider"
